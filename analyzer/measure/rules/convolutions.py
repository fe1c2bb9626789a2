"""Convolutions: which inputs are multiplied with which taps of a kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.rules.geometry import (
    Array,
    Counted,
    FanOut,
    FanOutByPlace,
    Keep,
    Side,
    StepEvents,
    StepNonzeros,
)
from analyzer.measure.rules.sums import dot
from analyzer.measure.rules.taps import Axis, fan_outs, sums_by_tap
from analyzer.measure.rules.zero_weights import count_left

__all__ = ["Convolution"]


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
        settings = (size, kernel, self.output, self.stride, self.padding, self.dilation)
        along = zip(*settings, strict=True)
        return tuple(Axis._make((*figures, self.transposed)) for figures in along)

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


_SPATIAL = tuple(tuple(range(2, axes)) for axes in range(6))


@lru_cache(maxsize=512)
def _fan_outs(
    geometry: Convolution, size: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[FanOutByPlace, FanOutByPlace]:
    """Of inputs ``[*size]`` and of taps ``[*kernel]``."""
    of_input, of_tap = fan_outs(geometry.axes(size, kernel))
    return FanOutByPlace.of(of_input), FanOutByPlace.of(of_tap)
