"""The class of the values of a tensor: zero, binary, ternary, graded or real.

The class decides whether the tensor holds spikes. Classes of several batches join.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["DRIVING", "KINDS", "MAX_LEVEL", "Values", "common_step"]

MAX_LEVEL = 255
"""Largest number of steps a graded value may be away from zero."""

KINDS = ("", "zero", "binary", "ternary", "graded", "real")
"""The classes, each with all values of those before it; the first is that of no values."""

DRIVING = frozenset({"zero", "binary", "ternary"})
"""Classes whose non-zeros drive an operation as spikes do."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a tensor held: integers ``low..high`` times one ``step``, or real numbers.

    ``low <= 0 <= high`` always, so the class follows from the two: ``(0, 0)`` is zero, ``(0, 1)``
    and ``(-1, 0)`` are binary, ``(-1, 1)`` is ternary, and all else is graded.

    Attributes:
        peak: Largest magnitude; 0 of reals. It is stored in place of the step because a maximum
            joins exactly, and a step computed from rounded values would depend on the order.
        low: Lowest level.
        high: Highest level.
        epsilon: Relative rounding error that a value may carry: that of the dtype, and 0 in 16
            bits, where neighbouring levels could not be told apart.
        real: Whether the values are no multiples of one step.
    """

    peak: float = 0.0
    low: int = 0
    high: int = 0
    epsilon: float = 0.0
    real: bool = False

    @property
    def step(self) -> float:
        """The distance of two levels; 0 where all values are zero, or reals."""
        return self.peak / (max(-self.low, self.high) or 1)

    @property
    def kind(self) -> str:
        """``zero``, ``binary``, ``ternary``, ``graded`` or ``real``."""
        if self.real:
            return "real"
        spread = (self.low, self.high)
        if spread == (0, 0):
            return "zero"
        if spread in ((0, 1), (-1, 0)):
            return "binary"
        return "ternary" if spread == (-1, 1) else "graded"

    @property
    def bits(self) -> int | None:
        """Bits of an integer that holds every level, signed if one is negative; None of reals."""
        if self.real:
            return None
        signed = self.low < 0
        return max(signed + max(-self.low - 1, self.high).bit_length(), 1)

    @property
    def drives(self) -> bool:
        """Whether the non-zeros of these values act as spikes."""
        return self.kind in DRIVING

    def join(self, other: Values) -> tuple[Values, int, int]:
        """The values of two tensors together.

        Returns:
            The joined values, and the integers by which levels counted in this and in the other
            step must be multiplied to be levels of the joined step (1 where the join is real).
        """
        if self == other:  # as nearly all are
            return self, 1, 1
        epsilon = max(self.epsilon, other.epsilon)
        if self.real or other.real:
            return Values(epsilon=epsilon, real=True), 1, 1
        if self.kind == "zero" or other.kind == "zero":
            some = other if self.kind == "zero" else self
            return Values(some.peak, some.low, some.high, epsilon), 1, 1
        ratio = common_step(self.step, other.step, epsilon)
        if ratio is None:
            return Values(epsilon=epsilon, real=True), 1, 1
        mine, theirs = ratio
        low = min(self.low * mine, other.low * theirs)
        high = max(self.high * mine, other.high * theirs)
        if max(-low, high) > MAX_LEVEL:
            return Values(epsilon=epsilon, real=True), 1, 1
        return Values(max(self.peak, other.peak), low, high, epsilon), mine, theirs


def common_step(a: float, b: float, epsilon: float) -> tuple[int, int] | None:
    """Smallest integers ``(i, j)``, at most 255 each, with ``a / i == b / j`` up to rounding.

    Args:
        a: A positive step.
        b: Another.
        epsilon: Relative rounding error that each of the two may carry.

    Returns:
        The pair, or None where the two have no common step.
    """
    if a == b:
        return 1, 1
    quotient = a / b
    if not 1 / (2 * MAX_LEVEL) < quotient < 2 * MAX_LEVEL:
        return None
    if quotient <= 1:
        near = Fraction(quotient).limit_denominator(MAX_LEVEL)
    else:
        near = 1 / Fraction(1 / quotient).limit_denominator(MAX_LEVEL)
    if near <= 0 or max(near.numerator, near.denominator) > MAX_LEVEL:
        return None
    if abs(quotient - float(near)) > (2 * epsilon + 1e-15) * quotient:
        return None
    return near.numerator, near.denominator
