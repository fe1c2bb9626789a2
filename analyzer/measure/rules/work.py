"""Work on single elements, counted by kind: what rules for such operations return.

Contractions (products of matrices, convolutions, attention) are described by ``rules.products``;
all other arithmetic is a :class:`Work`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LOG_ADD_EXP", "Arguments", "Keywords", "Work", "WorkRule", "at", "first_size"]

Arguments = tuple[Any, ...]

Keywords = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """Arithmetic of one call that is no contraction, by kind.

    A rule given to :func:`analyzer.rule` returns it for what an operation does element by element:

    >>> import analyzer
    >>> leaky_integrate = analyzer.Work(adds=1, multiplies=1)  # v = decay * v + input
    >>> fire = analyzer.Work(compares=1)  # v >= threshold
    >>> (leaky_integrate + fire).times(100)  # of 100 neurons
    Work(adds=100, multiplies=100, compares=100, specials=0)

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
