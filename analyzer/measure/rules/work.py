"""Operations on single elements, counted by kind, and what a rule for them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LOG_ADD_EXP", "Arguments", "Keywords", "Work", "WorkRule", "at", "first_size"]

Arguments = tuple[Any, ...]

Keywords = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """Element-wise operations of one call, by kind.

    Attributes:
        adds: Additions and subtractions.
        multiplies: Multiplications, also those by a constant such as 1/n.
        compares: What a comparator does: comparing, picking the larger, clipping, rounding, logic.
        specials: Exponentials, logarithms, roots, divisions, trigonometric functions, powers.
    """

    adds: int = 0
    multiplies: int = 0
    compares: int = 0
    specials: int = 0

    def times(self, n: int) -> Work:
        """The same work done n times."""
        return Work(self.adds * n, self.multiplies * n, self.compares * n, self.specials * n)

    def __add__(self, other: Work) -> Work:
        return Work(
            self.adds + other.adds,
            self.multiplies + other.multiplies,
            self.compares + other.compares,
            self.specials + other.specials,
        )


WorkRule = Callable[[Arguments, Any, Keywords], Work]
"""From the arguments, the result and the keyword arguments of a call to its work."""

LOG_ADD_EXP = Work(adds=2, compares=1, specials=2)
"""log(exp(a) + exp(b)) from the larger of the two, as it is computed without overflow."""


def at(args: Arguments, position: int) -> Any:
    """A positional argument, or None where it was left at its default."""
    return args[position] if len(args) > position else None


def first_size(out: Any) -> int:
    """Number of elements of a result, or of the first of several."""
    first = out[0] if isinstance(out, (tuple, list)) else out
    return int(first.numel())
