"""The arithmetic of counting: geometry gives dense work and fan-out, activity gives events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.sums import dot

__all__ = ["Attended", "Convolution", "Counted", "Geometry", "Keep", "MatMul", "Side"]

Array = NDArray[Any]
Keep = tuple[int, ...]


class Side(NamedTuple):
    """One operand as an operation reads it.

    Attributes:
        tensor: The view that the operation reads.
        activity: Statistics of its elements.
        parameter: Whether it holds weights.
        keep: Axes along which its fan-out differs.
        steps: Timesteps outermost in its first axis, 1 where time is not known.
    """

    tensor: Tensor
    activity: Activity
    parameter: bool
    keep: Keep = ()
    steps: int = 1

    def counts(self) -> Array:
        """Non-zeros along the kept axes, int64 with one axis."""
        return self._over_time(self.activity.counts(self.tensor, self.keep, self.steps))

    def events(self, fan_out: int | Array, most: int) -> int:
        """Sum of non-zeros, each times its fan-out.

        Args:
            fan_out: That of all elements, or of each kept place of a channel.
            most: A fan-out that none exceeds.
        """
        if isinstance(fan_out, int):
            return self.activity.nonzeros * fan_out
        return _weighted(self.counts(), fan_out, self.activity.nonzeros * most)

    def level_events(self, fan_out: int | Array, most: int) -> int:
        """Sum of absolute levels, each times its fan-out; 0 for reals."""
        if self.activity.values.real:
            return 0
        if self.activity.values.drives:  # a spike is one level
            return self.events(fan_out, most)
        if isinstance(fan_out, int):
            return self.total_levels() * fan_out
        return _weighted(self.levels(), fan_out, self.activity.nonzeros * MAX_LEVEL * most)

    def levels(self) -> Array:
        """Absolute levels along the kept axes; the values must be discrete."""
        return self._over_time(self.activity.levels(self.tensor, self.keep, self.steps))

    def total_levels(self) -> int:
        """Sum of absolute levels; 0 for reals."""
        values = self.activity.values
        if values.real:
            return 0
        return self.activity.nonzeros if values.drives else int(self.levels().sum())

    def _over_time(self, stepped: Array) -> Array:
        """Figures ``[steps, kept elements]`` along the kept axes; time is part of the first."""
        if 0 in self.keep or len(stepped) == 1:
            return stepped.reshape(-1)
        return np.asarray(stepped.sum(0))


class Counted(NamedTuple):
    """Exact work of one contraction, in plain integers (see ``facts.records.Contraction``)."""

    dense_macs: int
    lhs_events: int
    lhs_levels: int
    rhs_events: int
    rhs_levels: int
    pair_events: int
    pair_levels: int

    def times(self, n: int) -> Counted:
        """The same work done n times."""
        return Counted(*(n * count for count in self))


class FanOut(NamedTuple):
    """Output channels of a layer, weights that one input element meets, and channel groups."""

    channels: int
    fan_out: int
    groups: int = 1


class Geometry(Protocol):
    """How the elements of two operands meet."""

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Axes of each operand along which non-zeros must be counted apart.

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
        """How far an element of the input reaches where no border leaves any weight out."""

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Dense work and events, from shapes and activity."""


@dataclass(frozen=True, slots=True)
class MatMul:
    """``[*batch, n, k] @ [*batch, k, m]``, both operands with the same batch axes."""

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Two activations meet where k is the same; a weight meets all alike."""
        if any(weights):
            return (), ()
        axes = lhs.ndim
        return (*range(axes - 2), axes - 1), tuple(range(axes - 1))

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Each element of lhs meets m others."""
        return lhs.numel() * rhs.shape[-1]

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[*batch, n, m]``."""
        return lhs.shape[:-1].numel() * rhs.shape[-1]

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """Each input meets a weight of every output channel."""
        channels = rhs.shape[-1] if weights[1] else lhs.shape[-2]
        return FanOut(channels, channels)

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Each element of lhs meets m others, each of rhs n; pairs meet where k is the same."""
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
        return Counted(
            dense_macs=self.dense(lhs.tensor, rhs.tensor),
            lhs_events=left.nonzeros * m,
            lhs_levels=lhs.total_levels() * m,
            rhs_events=right.nonzeros * n,
            rhs_levels=rhs.total_levels() * n,
            pair_events=pair_events,
            pair_levels=pair_levels,
        )


@dataclass(frozen=True, slots=True)
class Attended:
    """Attention weights times values, where the weights were never written to memory.

    The weights are what a softmax gives: real, and non-zero wherever attending is allowed. The
    counts are those of the same attention written out: spikes among the values meet every query,
    and only where nothing drives are products with masked weights left out.

    Attributes:
        allowed: bool ``[..., queries, keys]`` that broadcasts to the attention map, None for all.
    """

    allowed: Tensor | None

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Under a mask, a value is used by as many queries as may attend to its key."""
        return (), () if self.allowed is None else tuple(range(rhs.ndim - 1))

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Each attention weight meets a value in each of its channels."""
        return lhs.shape.numel() * rhs.shape[-1]

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[*heads, queries, width]``."""
        return lhs.shape[:-1].numel() * rhs.shape[-1]

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """As any product of matrices."""
        return FanOut(rhs.shape[-1], rhs.shape[-1])

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """``lhs`` is a stand-in of the attention map's shape; only its shape is read."""
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
        if lhs.parameter and rhs.parameter:
            pair_events = dense
        return Counted(
            dense_macs=dense,
            lhs_events=used * width,
            lhs_levels=0,
            rhs_events=rhs.activity.nonzeros * queries,
            rhs_levels=rhs.total_levels() * queries,
            pair_events=pair_events,
            pair_levels=0,
        )


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution in 1 to 3 dimensions, as ``aten::convolution`` describes it.

    Attributes:
        output: Spatial size of the output.
        stride: One figure per spatial axis, as all that follow.
        padding: Zeros added on both sides.
        dilation: Distance of kernel taps.
        groups: Channel groups.
        transposed: Whether inputs scatter instead of outputs gathering.
    """

    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool

    def kept_dims(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> tuple[Keep, Keep]:
        """Positions whose fan-outs differ; of two activations the channels too."""
        spatial = _SPATIAL[lhs.ndim]
        if not any(weights):  # the first axis of a kernel holds its groups
            return (1, *spatial), (0, *(() if self.transposed else (1,)), *spatial)
        fan = _fan_out(self, lhs.shape[2:], rhs.shape[2:])
        return (
            () if isinstance(fan.of_input, int) else spatial,
            () if weights[1] or isinstance(fan.of_tap, int) else spatial,
        )

    def dense(self, lhs: Tensor, rhs: Tensor) -> int:
        """Each input scatters to, or each output gathers from, a kernel."""
        if self.transposed:
            return lhs.numel() * rhs.shape[1:].numel()
        return lhs.shape[0] * math.prod(self.output) * rhs.numel()

    def outputs(self, lhs: Tensor, rhs: Tensor) -> int:
        """``[B, C_out, *output]``."""
        return (
            lhs.shape[0] * self.fan_out(lhs, rhs, (False, True)).channels * math.prod(self.output)
        )

    def fan_out(self, lhs: Tensor, rhs: Tensor, weights: tuple[bool, bool]) -> FanOut:
        """Each input meets a kernel of every output channel of its group."""
        kernel = rhs.shape[2:].numel()
        if self.transposed:
            return FanOut(rhs.shape[1] * self.groups, rhs.shape[1] * kernel, self.groups)
        return FanOut(rhs.shape[0], rhs.shape[0] // self.groups * kernel, self.groups)

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Input ``[B, C_in, *S]``, weight ``[C_out, C_in/g, *K]`` (transposed: in and out swap)."""
        size, kernel = lhs.tensor.shape[2:], rhs.tensor.shape[2:]
        batch, inputs = lhs.tensor.shape[:2]
        fan = _fan_out(self, size, kernel)
        positions, taps = size.numel(), kernel.numel()
        channels = rhs.tensor.shape[1] if self.transposed else rhs.tensor.shape[0] // self.groups
        lhs_events = channels * lhs.events(fan.of_input, taps)
        lhs_levels = channels * lhs.level_events(fan.of_input, taps)
        rhs_events = rhs_levels = pair_events = pair_levels = 0
        if not rhs.parameter:
            # A weight meets the inputs of its own channel group only: already in its shape.
            rhs_events = batch * rhs.events(fan.of_tap, positions)
            rhs_levels = batch * rhs.level_events(fan.of_tap, positions)
            if not lhs.parameter:
                pair_events = self._pairs(lhs, rhs, lhs.counts(), rhs.counts(), lhs_events)
                if not (lhs.activity.values.real or rhs.activity.values.real):
                    most = lhs_levels * MAX_LEVEL
                    pair_levels = self._pairs(lhs, rhs, lhs.levels(), rhs.levels(), most)
        elif lhs.parameter:
            met = fan.of_input * positions if isinstance(fan.of_input, int) else fan.of_input.sum()
            pair_events = channels * batch * inputs * int(met)
        return Counted(
            dense_macs=self.dense(lhs.tensor, rhs.tensor),
            lhs_events=lhs_events,
            lhs_levels=lhs_levels,
            rhs_events=rhs_events,
            rhs_levels=rhs_levels,
            pair_events=pair_events,
            pair_levels=pair_levels,
        )

    def meetings(self, axis: int, size: int, kernel: int) -> Array:
        """Whether position i meets kernel tap k along one axis, int64 ``[size, kernel]``."""
        stride, padding, dilation = self.stride[axis], self.padding[axis], self.dilation[axis]
        position = np.arange(size)[:, None]
        tap = np.arange(kernel)[None, :] * dilation
        if self.transposed:
            landed = position * stride - padding + tap
            meets = (landed >= 0) & (landed < self.output[axis])
        else:
            start = position + padding - tap
            meets = (start >= 0) & (start % stride == 0) & (start // stride < self.output[axis])
        return np.asarray(meets, dtype=np.int64)

    def _pairs(self, lhs: Side, rhs: Side, inputs: Array, taps: Array, most: int) -> int:
        """Sum over all pairs of an input and a tap that meet of the product of their figures.

        Args:
            lhs: Input ``[B, C_in, *S]``.
            rhs: Kernel.
            inputs: Figures of the inputs by channel and position, flattened.
            taps: Figures of the kernel by its kept axes, flattened.
            most: An integer that the result does not exceed.
        """
        channels, *size = lhs.tensor.shape[1:]
        kernel = rhs.tensor.shape[2:]
        met = inputs.reshape(channels, *size)
        for axis, (positions, width) in enumerate(zip(size, kernel, strict=True)):
            # Sums over the positions of this axis that meet each tap, which becomes the last axis.
            met = np.tensordot(met, self.meetings(axis, positions, width), axes=(1, 0))
        if not self.transposed:  # a group's outputs all read the same inputs
            outputs, *inner = rhs.tensor.shape
            grouped = taps.reshape(self.groups, outputs // self.groups, math.prod(inner))
            taps = grouped.sum(1).reshape(-1)
        return dot(met.reshape(-1), taps, most)


_SPATIAL = tuple(tuple(range(2, axes)) for axes in range(6))


class _ByPlace(NamedTuple):
    """How often inputs and kernel taps meet: one figure where it is the same for all."""

    of_input: int | Array
    of_tap: int | Array


@lru_cache(maxsize=512)
def _fan_out(geometry: Convolution, size: tuple[int, ...], kernel: tuple[int, ...]) -> _ByPlace:
    """Fan-out of positions ``[*size]`` and taps ``[*kernel]``, flattened: separable by axis."""
    meets = [geometry.meetings(axis, size[axis], kernel[axis]) for axis in range(len(size))]
    of_input = of_tap = np.ones(1, np.int64)
    for along in meets:
        of_input = np.outer(of_input, along.sum(1)).reshape(-1)
        of_tap = np.outer(of_tap, along.sum(0)).reshape(-1)
    return _ByPlace(_alike(of_input), _alike(of_tap))


def _alike(fan: Array) -> int | Array:
    return int(fan[0]) if len(fan) and (fan == fan[0]).all() else fan


def _weighted(counts: Array, fan_out: Array, most: int) -> int:
    """Sum of counts, each times its fan-out.

    Args:
        counts: By channel, where channels are kept apart, and place.
        fan_out: By place.
        most: An integer that the sum does not exceed.
    """
    if len(counts) != len(fan_out):
        counts = counts.reshape(-1, len(fan_out)).sum(0)
    return dot(counts, fan_out, most)
