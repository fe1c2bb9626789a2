"""How operands are multiplied with each other, and the exact counts that follow from it.

A contraction (a matrix product, attention, a convolution) multiplies pairs of elements, one of each
operand. How many products an element takes part in is its *fan-out*. Shapes alone give the fan-outs
and with them the dense work; the events of a spiking layer are the sum over its non-zeros of their
fan-outs. Where all fan-outs are equal that is one multiplication; where they differ, as under the
padding of a convolution, non-zeros are counted apart along the *kept dims* of the operand.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray
from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.sums import dot

__all__ = [
    "Counted",
    "FanOut",
    "FanOutByPlace",
    "Geometry",
    "Keep",
    "Side",
    "StepEvents",
    "StepNonzeros",
]

Array = NDArray[Any]
Keep = tuple[int, ...]


class FanOutByPlace(NamedTuple):
    """Fan-outs of the elements of an operand within one channel.

    Attributes:
        each: One figure where all are equal, else one for each place, int64.
        most: An integer that none exceeds.
    """

    each: int | Array
    most: int

    @classmethod
    def of(cls, each: Array) -> FanOutByPlace:
        """From one figure for each place."""
        most = int(each.max(initial=0))
        return cls(most if len(each) and (each == most).all() else each, most)


class Side(NamedTuple):
    """One operand of a contraction, with the statistics of its elements.

    Attributes:
        tensor: The view that the operation reads; of its values only what ``activity`` lacks.
        activity: Statistics of its elements.
        parameter: Whether it holds weights, which are never counted as events.
        keep: Its kept dims: axes along which non-zeros are counted apart.
        steps: Timesteps in its first axis, 1 where time is not known.
        reads: How many samples it stands for, being one for all of them; else 1.
        outer: How often these timesteps come one after another in that axis: as often as there are
            samples where these are outermost, else once.
    """

    tensor: Tensor
    activity: Activity
    parameter: bool
    keep: Keep = ()
    steps: int = 1
    reads: int = 1
    outer: int = 1

    @property
    def slices(self) -> int:
        """Parts of its first axis that are counted apart."""
        return self.steps * self.outer

    def by_step(self, by_slice: Array) -> Array:
        """Figures ``[slices, ...]`` summed to ``[steps, ...]``."""
        if self.outer == 1:
            return by_slice
        summed: Array = by_slice.reshape(self.outer, self.steps, *by_slice.shape[1:]).sum(0)
        return summed

    def counts(self) -> Array:
        """Non-zeros at each place of the kept dims, flattened to one axis, int64."""
        return self._over_time(self.activity.counts(self.tensor, self.keep, self.slices))

    def levels(self) -> Array:
        """Absolute levels at each place of the kept dims; the values must be discrete."""
        return self._over_time(self.activity.levels(self.tensor, self.keep, self.slices))

    def nonzeros_by_step(self) -> Array:
        """Non-zeros in each timestep, int64 ``[steps]``."""
        counts: Array = self.activity.counts(self.tensor, self.keep, self.slices)
        return self.by_step(counts[:, 0] if counts.shape[1] == 1 else counts.sum(1))

    def total_levels(self) -> int:
        """The sum of all absolute levels; 0 for reals."""
        values = self.activity.values
        if values.real:
            return 0
        return self.activity.nonzeros if values.drives else int(self.levels().sum())

    def events_and_levels(self, fan_outs: FanOutByPlace) -> tuple[int, int]:
        """The sums of non-zeros and of absolute levels, each times its fan-out; no levels of reals.

        Args:
            fan_outs: Of all elements, or of each place of the last kept dims.
        """
        each = fan_outs.each
        if isinstance(each, int):
            return self.activity.nonzeros * each, self.total_levels() * each
        most = self.activity.nonzeros * fan_outs.most
        events = _weighted(self.counts(), each, most)
        values = self.activity.values
        if values.drives:  # a spike is one level
            return events, events
        return events, 0 if values.real else _weighted(self.levels(), each, most * MAX_LEVEL)

    def _over_time(self, stepped: Array) -> Array:
        """Figures ``[steps, places]`` summed over time, unless the axis that holds it is kept."""
        if 0 in self.keep or len(stepped) == 1:
            return stepped.reshape(-1)
        summed: Array = stepped.sum(0)
        return summed


class Counted(NamedTuple):
    """Exact work of one contraction, in plain integers.

    Attributes:
        dense_macs: Multiply-accumulates when nothing is skipped.
        lhs_events: Products in which the element of the first operand is not zero.
        lhs_levels: The same, each as often as the level of that element; 0 for reals.
        rhs_events: As ``lhs_events``, of the second operand.
        rhs_levels: As ``lhs_levels``, of the second operand.
        pair_events: Products of two elements that are both not zero.
        pair_levels: The same, each as often as the product of both levels.
        left_macs: Of a layer, products whose weight is not zero, padding included.
        left_events: Of these, those whose other factor is not zero either.
        left_levels: The same, each as often as the level of that factor.
    """

    dense_macs: int
    lhs_events: int
    lhs_levels: int
    rhs_events: int
    rhs_levels: int
    pair_events: int
    pair_levels: int
    left_macs: int = 0
    left_events: int = 0
    left_levels: int = 0

    def times(self, n: int) -> Counted:
        """The same work done n times."""
        return Counted(*(n * count for count in self))


StepNonzeros = tuple[Any, Any]
"""Non-zeros of both operands in each timestep, int64 ``[steps]``; None of one without time."""


class StepEvents(NamedTuple):
    """Events in each timestep, int64 ``[steps]``, or 0 of weights.

    Attributes:
        lhs: Products in which the element of the first operand is not zero.
        rhs: The same of the second.
        pairs: Products of two elements that are both not zero; 0 unless both are activations.
    """

    lhs: Array | int
    rhs: Array | int
    pairs: Array | int


class FanOut(NamedTuple):
    """The shape of a layer, as hardware models ask for it.

    Attributes:
        channels: Output channels.
        fan_out: Weights that an input element is multiplied with, far from any border.
        groups: Channel groups.
    """

    channels: int
    fan_out: int
    groups: int = 1


class Geometry(Protocol):
    """Which elements of two operands are multiplied with each other."""

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Axes of each operand along which :meth:`count` needs non-zeros counted apart."""

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Multiply-accumulates when nothing is zero, from shapes alone."""

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """Elements of the result."""

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """The layer's shape: its channels, and the fan-out of an input far from any border."""

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Dense work and events, from the shapes and statistics of both operands."""

    def holds_time(self, lhs: Side, rhs: Side) -> tuple[bool, bool] | None:
        """Which first axes hold time where that of an activation does.

        None where the work of a timestep is not that of these parts of the operands.
        """

    def events_by_step(self, lhs: Side, rhs: Side, nonzeros: StepNonzeros) -> StepEvents:
        """Events in each timestep, where :meth:`holds_time` is not None."""


def _weighted(counts: Array, fan_out: Array, most: int) -> int:
    """The sum of counts, each times its fan-out.

    Args:
        counts: ``[channels * places]``, or ``[places]`` where channels were not kept apart.
        fan_out: ``[places]``.
        most: An integer that the sum does not exceed.
    """
    if len(counts) != len(fan_out):
        counts = counts.reshape(-1, len(fan_out)).sum(0)
    return dot(counts, fan_out, most)
