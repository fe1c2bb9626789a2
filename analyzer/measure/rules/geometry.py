"""How operands are multiplied with each other, and the exact counts that follow from it.

A contraction (a matrix product, attention, a convolution) multiplies pairs of elements, one of each
operand. How many products an element takes part in is its *fan-out*. Shapes alone give the fan-outs
and with them the dense work; the events of a spiking layer are the sum over its non-zeros of their
fan-outs. Where all fan-outs are equal that is one multiplication; where they differ, as under the
padding of a convolution, non-zeros are counted apart along the *kept dims* of the operand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.sums import dot
from analyzer.measure.rules.taps import Axis, fan_outs, sums_by_tap
from analyzer.measure.rules.zero_weights import count_left

__all__ = [
    "Attended",
    "Convolution",
    "Counted",
    "FanOut",
    "Geometry",
    "Keep",
    "MatMul",
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
        """Axes of each operand along which :meth:`count` needs non-zeros counted apart.

        Args:
            lhs: First operand.
            rhs: Second operand.
            weights: Which of the two hold weights.
        """

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
        """Events in each timestep, where :meth:`holds_time` is not None.

        Args:
            lhs: First operand.
            rhs: Second operand.
            nonzeros: Of each that is an activation, in each timestep.
        """


@dataclass(frozen=True, slots=True)
class MatMul:
    """``[*batch, n, k] @ [*batch, k, m]``, both operands with the same batch axes."""

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """The inner axis matters for two activations; with a weight all fan-outs are equal."""
        return ((), ()) if any(weights) else _met(lhs.ndim)

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Each element of ``lhs`` is multiplied with m others."""
        return lhs.numel() * rhs.shape[-1]

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[*batch, n, m]``."""
        return lhs.shape[:-1].numel() * rhs.shape[-1]

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """An input is multiplied with one weight of every output channel."""
        channels = rhs.shape[-1] if weights[1] else lhs.shape[-2]
        return FanOut(channels, channels)

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Elements of ``lhs`` have fan-out m, of ``rhs`` n; pairs share their place along k."""
        n, m = lhs.tensor.shape[-2], rhs.tensor.shape[-1]
        left, right = lhs.activity, rhs.activity
        pair_events = pair_levels = 0
        if lhs.parameter and rhs.parameter:
            pair_events = left.elements * m
        elif not (lhs.parameter or rhs.parameter):
            if left.nonzeros == left.elements:
                pair_events = right.nonzeros * n
            elif right.nonzeros == right.elements:
                pair_events = left.nonzeros * m
            else:
                pair_events = dot(lhs.counts(), rhs.counts(), left.nonzeros * m)
            if not (left.values.real or right.values.real):
                most = left.nonzeros * m * MAX_LEVEL**2
                pair_levels = dot(lhs.levels(), rhs.levels(), most)
        counted = Counted(
            dense_macs=self.dense(lhs.tensor, rhs.tensor),
            lhs_events=left.nonzeros * m,
            lhs_levels=lhs.total_levels() * m,
            rhs_events=right.nonzeros * n,
            rhs_levels=rhs.total_levels() * n,
            pair_events=pair_events,
            pair_levels=pair_levels,
        )
        return count_left(counted, lhs, rhs, _met(lhs.tensor.ndim), dot)

    def holds_time(self, lhs: Side, rhs: Side) -> tuple[bool, bool] | None:
        """Both of batches of matrices; of two matrices the rows of the first, if of activations."""
        if lhs.tensor.ndim > 2:
            return True, True
        return (True, False) if rhs.parameter else None

    def events_by_step(self, lhs: Side, rhs: Side, nonzeros: StepNonzeros) -> StepEvents:
        """As :meth:`count`, timestep by timestep."""
        n, m = lhs.tensor.shape[-2], rhs.tensor.shape[-1]
        if rhs.parameter:
            return StepEvents(nonzeros[0] * m, 0, 0)
        if lhs.parameter:
            return StepEvents(0, nonzeros[1] * n, 0)
        left = lhs.activity.counts(lhs.tensor, lhs.keep, lhs.slices)
        right = rhs.activity.counts(rhs.tensor, rhs.keep, rhs.slices)
        pairs = lhs.by_step((left * right).sum(1))
        return StepEvents(nonzeros[0] * m, nonzeros[1] * n, pairs)


@dataclass(frozen=True, slots=True)
class Attended:
    """Attention weights times values, in a kernel that never stores the weights.

    The weights are what a softmax gives: real, and not zero wherever the mask allows. The counts
    are those of the same attention written as two matrix products: a spike among the values is
    multiplied with the weights of all queries, and products with masked weights are left out only
    where no operand is made of spikes.

    Attributes:
        allowed: bool ``[..., queries, keys]`` that broadcasts to the attention map, None for all.
    """

    allowed: Tensor | None

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Under a mask, the fan-out of a value is the number of queries that may attend to it."""
        return (), () if self.allowed is None else tuple(range(rhs.ndim - 1))

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Each attention weight is multiplied with every channel of one value."""
        return lhs.shape.numel() * rhs.shape[-1]

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[*heads, queries, width]``."""
        return lhs.shape[:-1].numel() * rhs.shape[-1]

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """As of any product of matrices."""
        return FanOut(rhs.shape[-1], rhs.shape[-1])

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """``lhs`` has the shape of the attention weights, and no values that could be read."""
        *heads, queries, keys = lhs.tensor.shape
        width = rhs.tensor.shape[-1]
        maps = math.prod(heads)
        dense = self.dense(lhs.tensor, rhs.tensor)
        if self.allowed is None:
            used = maps * queries * keys
            pair_events = rhs.activity.nonzeros * queries
        else:
            by_key = self.allowed.expand(*heads, queries, keys).sum(-2).reshape(-1).cpu().numpy()
            used = int(by_key.sum())
            pair_events = dot(rhs.counts(), by_key, rhs.activity.nonzeros * queries)
        events, levels = rhs.activity.nonzeros * queries, rhs.total_levels() * queries
        left = (events, pair_events, 0) if rhs.parameter else (dense, events, levels)
        if lhs.parameter and rhs.parameter:
            pair_events = dense
        return Counted(dense, used * width, 0, events, levels, pair_events, 0, *left)

    def holds_time(self, lhs: Side, rhs: Side) -> tuple[bool, bool] | None:
        """A mask is not told apart by timestep."""
        plain = self.allowed is None and not (lhs.parameter or rhs.parameter)
        return (True, True) if plain else None

    def events_by_step(self, lhs: Side, rhs: Side, nonzeros: StepNonzeros) -> StepEvents:
        """As :meth:`count`, timestep by timestep."""
        *heads, queries, keys = lhs.tensor.shape
        used = math.prod(heads) * queries * keys * rhs.tensor.shape[-1] // rhs.steps
        events = nonzeros[1] * queries
        return StepEvents(np.full(rhs.steps, used), events, events)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution in 1 to 3 dimensions, as ``aten::convolution`` describes it.

    Attributes:
        output: Spatial size of the output.
        stride: One figure per spatial axis, as all that follow.
        padding: Zeros added on both sides.
        dilation: Distance between neighbouring taps, the places of a kernel.
        groups: Channel groups.
        transposed: Whether it is a transposed convolution.
    """

    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Positions where fan-outs differ; for two activations the channels too."""
        if not any(weights):
            return self._met(lhs.ndim)
        spatial = _SPATIAL[lhs.ndim]
        of_input, of_tap = _fan_outs(self, lhs.shape[2:], rhs.shape[2:])
        return (
            () if isinstance(of_input.each, int) else spatial,
            () if weights[1] or isinstance(of_tap.each, int) else spatial,
        )

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """A whole kernel for each output, zeros of the padding included; transposed, each input."""
        if self.transposed:
            return lhs.numel() * rhs.shape[1:].numel()
        return lhs.shape[0] * math.prod(self.output) * rhs.numel()

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[B, C_out, *output]``."""
        return (
            lhs.shape[0] * self.fan_out(lhs, rhs, (False, True)).channels * math.prod(self.output)
        )

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """An input is multiplied with a whole kernel for every output channel of its group."""
        kernel = rhs.shape[2:].numel()
        if self.transposed:
            return FanOut(rhs.shape[1] * self.groups, rhs.shape[1] * kernel, self.groups)
        return FanOut(rhs.shape[0], rhs.shape[0] // self.groups * kernel, self.groups)

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Input ``[B, C_in, *S]``, weight ``[C_out, C_in/g, *K]`` (transposed: in and out swap)."""
        batch, inputs, *size = lhs.tensor.shape
        heads, inner, *kernel = rhs.tensor.shape
        of_input, of_tap = _fan_outs(self, tuple(size), tuple(kernel))
        channels = inner if self.transposed else heads // self.groups
        lhs_events, lhs_levels = (channels * n for n in lhs.events_and_levels(of_input))
        rhs_events = rhs_levels = pair_events = pair_levels = 0
        if not rhs.parameter:
            # Only inputs of a weight's own channel group count, and its shape holds no others.
            rhs_events, rhs_levels = (batch * n for n in rhs.events_and_levels(of_tap))
            if not lhs.parameter:
                pair_events = self._pairs(lhs, rhs, lhs.counts(), rhs.counts(), lhs_events)
                if not (lhs.activity.values.real or rhs.activity.values.real):
                    most = lhs_levels * MAX_LEVEL
                    pair_levels = self._pairs(lhs, rhs, lhs.levels(), rhs.levels(), most)
        elif lhs.parameter:
            each = of_input.each
            met = each * math.prod(size) if isinstance(each, int) else int(each.sum())
            pair_events = channels * batch * inputs * met
        counted = Counted(
            dense_macs=self.dense(lhs.tensor, rhs.tensor),
            lhs_events=lhs_events,
            lhs_levels=lhs_levels,
            rhs_events=rhs_events,
            rhs_levels=rhs_levels,
            pair_events=pair_events,
            pair_levels=pair_levels,
        )
        return count_left(
            counted, lhs, rhs, self._met(lhs.tensor.ndim), partial(self._pairs, lhs, rhs)
        )

    def _met(self, axes: int) -> tuple[Keep, Keep]:
        """Axes along which an input and a kernel meet: the first of a kernel holds its groups."""
        spatial = _SPATIAL[axes]
        return (1, *spatial), (0, *(() if self.transposed else (1,)), *spatial)

    def holds_time(self, lhs: Side, rhs: Side) -> tuple[bool, bool] | None:
        """The input, if it meets weights."""
        return (True, False) if rhs.parameter and not lhs.parameter else None

    def events_by_step(self, lhs: Side, rhs: Side, nonzeros: StepNonzeros) -> StepEvents:
        """As :meth:`count`, timestep by timestep."""
        of_input, _ = _fan_outs(self, tuple(lhs.tensor.shape[2:]), tuple(rhs.tensor.shape[2:]))
        channels = rhs.tensor.shape[1] if self.transposed else rhs.tensor.shape[0] // self.groups
        each = of_input.each
        if isinstance(each, int):
            return StepEvents(nonzeros[0] * (each * channels), 0, 0)
        counts = lhs.activity.counts(lhs.tensor, lhs.keep, lhs.slices)
        by_place = lhs.by_step(counts.reshape(lhs.slices, -1, len(each)).sum(1))
        return StepEvents(by_place @ each * channels, 0, 0)

    def axes(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[Axis, ...]:
        """Its spatial axes, for an input ``[B, C_in, *size]`` and taps ``[*kernel]``."""
        return tuple(
            Axis(
                size[i],
                kernel[i],
                self.output[i],
                self.stride[i],
                self.padding[i],
                self.dilation[i],
                self.transposed,
            )
            for i in range(len(self.output))
        )

    def _pairs(self, lhs: Side, rhs: Side, inputs: Array, taps: Array, most: int) -> int:
        """The sum of products over all inputs and taps that are multiplied with each other.

        Args:
            lhs: Input ``[B, C_in, *S]``.
            rhs: Kernel.
            inputs: Counts or levels of the input at each place of its kept dims, ``[C_in, *S]``.
            taps: Those of the kernel, ``[C_out, C_in/g, *K]``, transposed ``[C_in, *K]``.
            most: An integer that the result does not exceed.
        """
        size, kernel = lhs.tensor.shape[1:], rhs.tensor.shape[2:]
        by_tap = sums_by_tap(inputs.reshape(size), self.axes(size[1:], kernel))
        if not self.transposed:  # all output channels of a group read the same inputs
            outputs, *inner = rhs.tensor.shape
            taps = taps.reshape(self.groups, outputs // self.groups, math.prod(inner)).sum(1)
        return dot(by_tap.reshape(-1), taps.reshape(-1), most)


def _met(axes: int) -> tuple[Keep, Keep]:
    """Axes along which the operands of a matrix product meet: all but n and m."""
    return (*range(axes - 2), axes - 1), tuple(range(axes - 1))


_SPATIAL = tuple(tuple(range(2, axes)) for axes in range(6))


@lru_cache(maxsize=512)
def _fan_outs(
    geometry: Convolution, size: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[FanOutByPlace, FanOutByPlace]:
    """Of inputs ``[*size]`` and of taps ``[*kernel]``."""
    of_input, of_tap = fan_outs(geometry.axes(size, kernel))
    return FanOutByPlace.of(of_input), FanOutByPlace.of(of_tap)


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
