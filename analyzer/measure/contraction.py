"""The arithmetic of counting: geometry gives dense work and fan-out, activity gives events."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.measure.activity import Activity

__all__ = ["Attended", "Convolution", "Counted", "Geometry", "MatMul", "Side"]


@dataclass(frozen=True, slots=True)
class Side:
    """One operand as an operation reads it.

    Attributes:
        tensor: The view that the operation reads.
        activity: Statistics of its elements.
        parameter: Whether it holds weights.
    """

    tensor: Tensor
    activity: Activity
    parameter: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Exact work of one contraction, all plain integers (see ``analyzer.facts.Contraction``)."""

    dense_macs: int
    lhs_events: int
    lhs_levels: int
    rhs_events: int
    rhs_levels: int
    pair_events: int
    pair_levels: int

    def times(self, n: int) -> Counted:
        """The same work done n times."""
        return Counted(*(n * count for count in astuple(self)))


class Geometry(Protocol):
    """How the elements of two operands meet."""

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Dense work and events, from shapes and activity."""


@dataclass(frozen=True, slots=True)
class MatMul:
    """``[*batch, n, k] @ [*batch, k, m]``, both operands with the same batch axes."""

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Each element of lhs meets m others, each of rhs n; pairs meet where k is the same."""
        n, m = lhs.tensor.shape[-2], rhs.tensor.shape[-1]
        pair_events = pair_levels = 0
        if not (lhs.parameter or rhs.parameter):
            over_k = (*range(lhs.tensor.ndim - 2), lhs.tensor.ndim - 1)
            over_rows = tuple(range(rhs.tensor.ndim - 1))
            left = lhs.activity.map(lhs.tensor, over_k)
            right = rhs.activity.map(rhs.tensor, over_rows)
            pair_events = int((left * right).sum())
            if not (lhs.activity.values.real or rhs.activity.values.real):
                left = lhs.activity.level_map(lhs.tensor, over_k)
                right = rhs.activity.level_map(rhs.tensor, over_rows)
                pair_levels = int((left * right).sum())
        return Counted(
            dense_macs=lhs.tensor.numel() * m,
            lhs_events=lhs.activity.nonzeros * m,
            lhs_levels=_levels(lhs) * m,
            rhs_events=rhs.activity.nonzeros * n,
            rhs_levels=_levels(rhs) * n,
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

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """``lhs`` is a stand-in of the attention map's shape; only its shape is read."""
        queries, keys = lhs.tensor.shape[-2:]
        width = rhs.tensor.shape[-1]
        heads = lhs.tensor.shape[:-2]
        if self.allowed is None:
            used = torch.full((*heads, keys), queries, device=rhs.tensor.device)
        else:
            used = self.allowed.expand(*heads, queries, keys).sum(-2)
        over_keys = tuple(range(rhs.tensor.ndim - 1))
        return Counted(
            dense_macs=math.prod(heads) * queries * keys * width,
            lhs_events=int(used.sum()) * width,
            lhs_levels=0,
            rhs_events=rhs.activity.nonzeros * queries,
            rhs_levels=_levels(rhs) * queries,
            pair_events=int((rhs.activity.map(rhs.tensor, over_keys)[0] * used).sum()),
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

    def count(self, lhs: Side, rhs: Side) -> Counted:
        """Input ``[B, C_in, *S]``, weight ``[C_out, C_in/g, *K]`` (transposed: in and out swap)."""
        size, kernel = lhs.tensor.shape[2:], rhs.tensor.shape[2:]
        batch = lhs.tensor.shape[0]
        meets = [self._meetings(axis, size[axis], kernel[axis]) for axis in range(len(size))]
        if self.transposed:
            fan_channels = rhs.tensor.shape[1]
            dense = lhs.tensor.numel() * fan_channels * math.prod(kernel)
        else:
            fan_channels = rhs.tensor.shape[0] // self.groups
            taps = rhs.tensor.numel()
            dense = batch * math.prod(self.output) * taps
        spatial = tuple(range(2, lhs.tensor.ndim))
        by_position = [m.sum(1) for m in meets]
        lhs_events = fan_channels * self._weighted(
            lhs.activity.map(lhs.tensor, spatial), by_position
        )
        lhs_levels = 0
        if not lhs.activity.values.real:
            levels = lhs.activity.level_map(lhs.tensor, spatial)
            lhs_levels = fan_channels * self._weighted(levels, by_position)
        rhs_events = rhs_levels = pair_events = pair_levels = 0
        if not rhs.parameter:
            by_tap = [m.sum(0) for m in meets]
            # A weight meets the inputs of its own channel group only: already in its shape.
            rhs_events = batch * self._weighted(rhs.activity.map(rhs.tensor, spatial), by_tap)
            if not rhs.activity.values.real:
                levels = rhs.activity.level_map(rhs.tensor, spatial)
                rhs_levels = batch * self._weighted(levels, by_tap)
            if not lhs.parameter:
                pair_events = self._pairs(lhs.tensor != 0, rhs.tensor != 0)
                if not (lhs.activity.values.real or rhs.activity.values.real):
                    pair_levels = self._pairs(
                        (lhs.tensor / lhs.activity.values.step).abs().round()
                        if lhs.activity.nonzeros
                        else lhs.tensor,
                        (rhs.tensor / rhs.activity.values.step).abs().round()
                        if rhs.activity.nonzeros
                        else rhs.tensor,
                    )
        return Counted(
            dense, lhs_events, lhs_levels, rhs_events, rhs_levels, pair_events, pair_levels
        )

    def _meetings(self, axis: int, size: int, kernel: int) -> NDArray[np.int64]:
        """How often position i meets kernel tap k along one axis, int64 ``[size, kernel]``."""
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

    def _weighted(self, counts: Tensor, fan_out: list[NDArray[np.int64]]) -> int:
        """Sum over positions of counts ``[1, *S]`` times the product of the fan-out per axis."""
        total = counts[0].cpu().numpy()
        for weights in reversed(fan_out):
            total = total @ weights
        return int(total)

    def _pairs(self, lhs: Tensor, rhs: Tensor) -> int:
        """Sum of the convolution of two non-negative tensors, exact in float64."""
        return int(
            torch.ops.aten.convolution(
                lhs.to(torch.float64),
                rhs.to(torch.float64),
                None,
                list(self.stride),
                list(self.padding),
                list(self.dilation),
                self.transposed,
                self._output_padding(lhs, rhs),
                self.groups,
            )
            .sum()
            .round()
        )

    def _output_padding(self, lhs: Tensor, rhs: Tensor) -> list[int]:
        if not self.transposed:
            return [0] * len(self.output)
        return [
            out - ((size - 1) * s - 2 * p + d * (k - 1) + 1)
            for out, size, s, p, d, k in zip(
                self.output,
                lhs.shape[2:],
                self.stride,
                self.padding,
                self.dilation,
                rhs.shape[2:],
                strict=True,
            )
        ]


def _levels(side: Side) -> int:
    """Sum of absolute levels of an operand; its non-zeros where they are all one step."""
    values = side.activity.values
    if values.real:
        return 0
    if values.drives:
        return side.activity.nonzeros
    return int(side.activity.level_map(side.tensor, ()).sum())
