"""Matrix products and attention: which elements of two operands are multiplied with each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.rules.geometry import Counted, FanOut, Keep, Side, StepEvents, StepNonzeros
from analyzer.measure.rules.sums import dot
from analyzer.measure.rules.zero_weights import count_left

__all__ = ["Attended", "MatMul"]


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


def _met(axes: int) -> tuple[Keep, Keep]:
    """Axes along which the operands of a matrix product meet: all but n and m."""
    return (*range(axes - 2), axes - 1), tuple(range(axes - 1))
