"""Numbers that count what is done with them, so that an equation states its own cost.

A :class:`Scalar` depends on the input; a plain ``float`` is a constant of the neuron. The rules:

- What only combines constants is computed once, for all inputs, and costs nothing.
- Adding 0 and multiplying by 0, 1 or -1 cost nothing, unless the constant is learned.
- Dividing by a constant is one multiplication, by its reciprocal.
- A spike selects. Multiplying by one is no multiplication, as in a contraction that spikes drive,
  and neither is choosing one of two values by it.
- A sign is flipped for free, as is a spike's complement, and so is an absolute value taken.
- Functions cost what their element-wise operations cost: see :mod:`analyzer.measure.rules`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from analyzer.measure.rules.work import Work

__all__ = [
    "Learned",
    "Number",
    "Scalar",
    "Tally",
    "absolute",
    "both",
    "clamp",
    "either",
    "exp",
    "lookup",
    "maximum",
    "number",
    "relu",
    "restarted",
    "rounded",
    "select",
    "setting",
    "settings",
    "sigmoid",
    "sign",
    "tanh",
]


@dataclass(slots=True)
class Tally:
    """Operations counted so far, by kind."""

    adds: int = 0
    multiplies: int = 0
    compares: int = 0
    specials: int = 0

    def work(self) -> Work:
        """What was counted, as a value."""
        return Work(self.adds, self.multiplies, self.compares, self.specials)


class Learned(float):
    """A constant that training moves: it costs the same whatever its value is just now."""


class Scalar:
    """A value that depends on the input, in an equation of one neuron.

    Args:
        value: Its value; it decides no count.
        tally: Where operations on it are counted, the same for all scalars of an equation.
        spike: Whether it is one of {0, 1} or {-1, 0, 1}.
    """

    __slots__ = ("spike", "tally", "value")

    def __init__(self, value: float, tally: Tally, *, spike: bool = False) -> None:
        self.value = value
        self.tally = tally
        self.spike = spike

    def __repr__(self) -> str:
        return f"Scalar({self.value})"

    def of(self, value: float, *, spike: bool = False, **counts: int) -> Scalar:
        """A value made from this one by operations, given as their number by kind."""
        for kind, n in counts.items():
            setattr(self.tally, kind, getattr(self.tally, kind) + n)
        return Scalar(value, self.tally, spike=spike)

    def __neg__(self) -> Scalar:
        return self.of(-self.value, spike=self.spike)

    def __add__(self, other: Number) -> Scalar:
        if _is(other, 0):
            return self
        return self.of(self.value + _value(other), adds=1)

    __radd__ = __add__

    def __sub__(self, other: Number) -> Scalar:
        if _is(other, 0):
            return self
        signed = self.spike and isinstance(other, Scalar) and other.spike
        return self.of(self.value - _value(other), spike=signed, adds=1)

    def __rsub__(self, other: float) -> Scalar:
        if _is(other, 0):
            return -self
        complement = self.spike and other == 1
        return self.of(other - self.value, spike=complement, adds=0 if complement else 1)

    def __mul__(self, other: Number) -> Number:
        if _is(other, 0):
            return 0.0
        if _is(other, 1):
            return self
        if _is(other, -1):
            return -self
        selects = self.spike or (isinstance(other, Scalar) and other.spike)
        both = self.spike and isinstance(other, Scalar) and other.spike
        value = self.value * _value(other)
        return self.of(value, spike=both, multiplies=0 if selects else 1)

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Number:
        if isinstance(other, Scalar):
            return self.of(self.value / other.value, specials=1)
        if _is(other, 1):
            return self
        return self.of(self.value / other, multiplies=0 if self.spike else 1)

    def __rtruediv__(self, other: float) -> Scalar:
        return self.of(other / self.value, specials=1)

    def __ge__(self, other: Number) -> Scalar:
        return self.of(self.value >= _value(other), spike=True, compares=1)

    def __gt__(self, other: Number) -> Scalar:
        return self.of(self.value > _value(other), spike=True, compares=1)

    def __le__(self, other: Number) -> Scalar:
        return self.of(self.value <= _value(other), spike=True, compares=1)

    def __lt__(self, other: Number) -> Scalar:
        return self.of(self.value < _value(other), spike=True, compares=1)


Number = Scalar | float
"""A quantity of an equation: depends on the input, or is a constant of the neuron."""


def _value(x: Number) -> float:
    return x.value if isinstance(x, Scalar) else x


def _is(x: Number, value: int) -> bool:
    return not isinstance(x, (Scalar, Learned)) and x == value


def restarted(x: Number, tally: Tally) -> Scalar:
    """The same value as the state of a new update, counted elsewhere."""
    return Scalar(_value(x), tally, spike=isinstance(x, Scalar) and x.spike)


def setting(value: Any) -> float:
    """A constant of a neuron from a number or tensor; not a number where its elements differ."""
    if not isinstance(value, torch.Tensor):
        return float(value)
    flat = value.detach().flatten()
    if not len(flat) or value.is_meta or bool((flat != flat[0]).any()):
        return math.nan
    return float(flat[0])


def settings(table: torch.Tensor) -> list[float]:
    """The constants in a table of one axis; not numbers where it has no values."""
    return [math.nan] * len(table) if table.is_meta else [float(x) for x in table.tolist()]


def number(value: Any) -> float:
    """The same; :class:`Learned` where it is a parameter."""
    return Learned(setting(value)) if isinstance(value, nn.Parameter) else setting(value)


def select(spike: Number, chosen: Number, other: Number) -> Number:
    """``chosen`` where the neuron spikes, else ``other``: no arithmetic."""
    if not isinstance(spike, Scalar):
        return chosen if spike else other
    return spike.of(_value(chosen if spike.value else other))


def both(a: Number, b: Number) -> Number:
    """Whether the neuron meets both conditions: counted as a comparison, like the operation."""
    return _logic(a, b, min(_value(a), _value(b)))


def either(a: Number, b: Number) -> Number:
    """Whether the neuron meets a condition: counted as a comparison, like the operation."""
    return _logic(a, b, max(_value(a), _value(b)))


def _logic(a: Number, b: Number, value: float) -> Number:
    found = next((x for x in (a, b) if isinstance(x, Scalar)), None)
    return value if found is None else found.of(value, spike=True, compares=1)


def exp(x: Number) -> Number:
    """The exponential: one special function."""
    try:
        value = math.exp(_value(x))
    except OverflowError:
        value = math.inf
    return x.of(value, specials=1) if isinstance(x, Scalar) else value


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)): an exponential, an addition, a division."""
    return 1 / (1 + exp(-x))


def tanh(x: Number) -> Number:
    """The hyperbolic tangent, from one exponential."""
    value = math.tanh(_value(x))
    return x.of(value, adds=2, specials=2) if isinstance(x, Scalar) else value


def absolute(x: Number) -> Number:
    """The absolute value: drops a sign bit."""
    return x.of(abs(x.value), spike=x.spike) if isinstance(x, Scalar) else abs(x)


def relu(x: Number) -> Number:
    """The positive part: one comparison."""
    return maximum(x, 0.0)


def maximum(x: Number, bound: float) -> Number:
    """The larger of both: one comparison."""
    value = max(_value(x), bound)
    return x.of(value, compares=1) if isinstance(x, Scalar) else value


def clamp(x: Number, low: float, high: float) -> Number:
    """The nearest value in a range: two comparisons."""
    value = min(max(_value(x), low), high)
    return x.of(value, compares=2) if isinstance(x, Scalar) else value


def rounded(x: Number, *, down: bool = False) -> Number:
    """The nearest integer, or the next one towards zero: one comparison."""
    value = _value(x)
    if math.isfinite(value):
        value = float(math.trunc(value) if down else round(value))
    return x.of(value, compares=1) if isinstance(x, Scalar) else value


def sign(x: Number) -> Number:
    """-1, 0 or 1: one comparison, and used as a spike."""
    value = float((_value(x) > 0) - (_value(x) < 0))
    return x.of(value, spike=True, compares=1) if isinstance(x, Scalar) else value


def lookup(x: Number, bounds: Sequence[float], rows: Sequence[Sequence[float]]) -> list[Number]:
    """The row of a table for the interval of ``x``: the comparisons of a binary search."""
    row = rows[bisect_left(bounds, _value(x))]
    if not isinstance(x, Scalar):
        return list(row)
    x.of(0.0, compares=len(bounds).bit_length())
    return [x.of(value) for value in row]
