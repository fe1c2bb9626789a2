"""Work on complex numbers, in operations on their real and imaginary parts.

A product of two complex numbers is four multiplications and two additions. Only some operations
have such a rule; the others are refused, because their rules for real numbers would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.work import Arguments, Keywords, Work, WorkRule, first_size

__all__ = ["with_complex_numbers"]


def with_complex_numbers(rules: Mapping[str, WorkRule]) -> dict[str, WorkRule]:
    """Rules for real numbers, extended to complex ones or made to refuse them."""
    both = {name: _for_any(name, rules.get(name), work) for name, work in _COMPLEX.items()}
    both |= {name: _twice(rules[name]) for name in _PART_BY_PART}
    return {name: _for_reals(name, rule) for name, rule in rules.items()} | both


_COMPLEX: Mapping[str, tuple[Work, Work]] = MappingProxyType(
    {
        "add": (Work(adds=2), Work(adds=1)),
        "sub": (Work(adds=2), Work(adds=1)),
        "rsub": (Work(adds=2), Work(adds=1)),
        "mul": (Work(adds=2, multiplies=4), Work(multiplies=2)),
        "div": (Work(adds=3, multiplies=6, specials=2), Work(specials=2)),
        "exp": (Work(multiplies=2, specials=3),) * 2,
        "abs": (Work(adds=1, multiplies=2, specials=1),) * 2,
        "eq": (Work(compares=2),) * 2,
        "ne": (Work(compares=2),) * 2,
    }
)
"""Per element of the result: with two complex operands, and with a real one among them."""

_PART_BY_PART = ("sum", "mean")
"""Operations that do the same on real and on imaginary parts."""


def _for_reals(name: str, rule: WorkRule) -> WorkRule:
    """A rule that refuses complex operands, of which it knows nothing."""

    def real(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        if _complex_operands(args):
            raise AnalyzerError(
                f"operation {name} on complex numbers can not be counted: rewrite it on real and "
                "imaginary parts, or teach it with analyzer.rule."
            )
        return rule(args, out, kwargs)

    return real


def _for_any(name: str, real: WorkRule | None, works: tuple[Work, Work]) -> WorkRule:
    """A rule for real and complex operands."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        operands = _complex_operands(args)
        if operands:
            both = operands == 2 or (name == "div" and _is_complex(args[1]))
            return works[0 if both else 1].times(first_size(out))
        return Work() if real is None else real(args, out, kwargs)

    return rule


def _twice(rule: WorkRule) -> WorkRule:
    """A rule that does the same on real and on imaginary parts."""

    def both(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return rule(args, out, kwargs).times(2 if _is_complex(args[0]) else 1)

    return both


def _complex_operands(args: Arguments) -> int:
    return sum(_is_complex(value) for value in args[:2])


def _is_complex(value: Any) -> bool:
    return isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex())
