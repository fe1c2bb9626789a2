"""The spikes that drive a contraction, summed over its products: a count that has a gradient.

Each product counts the spikes that meet there. Summed with float64 that is the exact count of
``rules.geometry`` on spikes, and it is a sum over tensors of the graph, so gradients flow into
these.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.values import Values
from analyzer.measure.rules.convolutions import Convolution
from analyzer.measure.rules.geometry import Geometry
from analyzer.measure.rules.matrices import Attended, MatMul
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.taps import fan_outs

__all__ = ["Count", "Cut", "Spikes", "Spiking", "figure"]


class Spikes(NamedTuple):
    """How an operand counts as spikes.

    Attributes:
        step: The size of one spike.
        sign: 1 or -1 where all spikes have this sign, 0 where they have both.
    """

    step: float = 1.0
    sign: int = 1

    @classmethod
    def of(cls, values: Values, by_level: bool) -> Spikes | None:
        """From the values that an operand holds; None where they are no spikes."""
        if values.real or not (by_level or values.drives):
            return None
        sign = 0 if values.low < 0 < values.high else -1 if values.low < 0 else 1
        return cls(values.step or 1.0, sign)

    def whole(self, x: Tensor) -> Tensor:
        """Spikes at each place, float64."""
        return (x.double() if self.sign else x.double().abs()) / (self.step * (self.sign or 1))

    def summed(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Spikes summed over some axes, float64."""
        total = (x if self.sign else x.abs()).sum(axes, dtype=torch.float64)
        return total / (self.step * (self.sign or 1))


class Cut(NamedTuple):
    """How operands are taken apart by timestep.

    Attributes:
        steps: Timesteps.
        outer: Of each operand, how often they come one after another in its first axis; 0 where it
            is the same at every timestep.
    """

    steps: int
    outer: tuple[int, int]

    def of(self, lhs: Tensor, rhs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Both operands at each timestep."""
        for step in range(self.steps):
            left, right = (
                x.unflatten(0, (outer, self.steps, -1))[:, step].flatten(0, 1) if outer else x
                for x, outer in zip((lhs, rhs), self.outer, strict=True)
            )
            yield left, right


Spiking = tuple[Spikes | None, Spikes | None]
"""How each operand counts as spikes, None where it does not."""


class Count(NamedTuple):
    """One contraction that spikes drive.

    Attributes:
        path: Of the module that ran it.
        parts: Of each timestep that is told apart, or of all as one: how the operands count, and
            the count; that is None of fractions of spikes.
        cut: How timesteps are told apart, None where they are not.
        times: How often it counts: once for each sample where it is one for all of them.
    """

    path: str
    parts: tuple[tuple[Spiking, int | None], ...]
    cut: Cut | None
    times: int


def figure(product: Product, count: Count) -> Tensor:
    """The count of a contraction, float64, with the gradient of a sum over its spikes."""
    operands = [(product.lhs, product.rhs)]
    if count.cut is not None:
        operands = list(count.cut.of(product.lhs, product.rhs))
    total = torch.zeros((), dtype=torch.float64, device=product.rhs.device)
    for (lhs, rhs), (spikes, exact) in zip(operands, count.parts, strict=True):
        if not any(spikes):
            continue
        if exact is not None and not (lhs.requires_grad or rhs.requires_grad):
            total = total + exact
            continue
        linear = _sum(product.geometry, lhs, rhs, *spikes)
        total = total + (linear if exact is None else _Exactly.apply(linear, exact))
    return count.times * total


def _sum(
    geometry: Geometry, lhs: Tensor, rhs: Tensor, left: Spikes | None, right: Spikes | None
) -> Tensor:
    """Sum over the products of a contraction of the spikes that meet there, float64.

    Args:
        geometry: Which elements are multiplied.
        lhs: First operand.
        rhs: Second operand.
        left: How the first counts as spikes; None where it is not made of any: then it counts as
            ones.
        right: The same of the second.
    """
    if isinstance(geometry, Convolution):
        return _sum_of_convolution(geometry, lhs, rhs, left, right)
    if not isinstance(geometry, MatMul | Attended):
        raise AnalyzerError(
            f"SynOps has no gradient for contractions of geometry {type(geometry).__name__}: "
            "describe the operation with analyzer.products."
        )
    if left is not None and right is not None:
        return (left.summed(lhs, (-2,)) * right.summed(rhs, (-1,))).sum()
    if left is not None:
        return left.summed(lhs, tuple(range(lhs.ndim))) * rhs.shape[-1]
    assert right is not None
    return right.summed(rhs, tuple(range(rhs.ndim))) * lhs.shape[-2]


def _sum_of_convolution(
    geometry: Convolution, x: Tensor, kernel: Tensor, left: Spikes | None, right: Spikes | None
) -> Tensor:
    """Input ``[B, C_in, *S]``, kernel ``[C_out, C_in/g, *K]`` (transposed: in and out swap)."""
    size, taps = tuple(x.shape[2:]), tuple(kernel.shape[2:])
    if left is not None and right is not None:
        added = [axis.output - axis.least for axis in geometry.axes(size, taps)]
        return torch.convolution(
            left.whole(x),
            right.whole(kernel),
            None,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.transposed,
            added if geometry.transposed else [0] * len(size),
            geometry.groups,
        ).sum()
    of_input, of_tap = _fan_outs(geometry, size, taps)
    if left is not None:
        channels = kernel.shape[1] if geometry.transposed else len(kernel) // geometry.groups
        met = left.summed(x, (0, 1)).reshape(-1)
        return met @ of_input.to(x.device) * channels
    assert right is not None
    met = right.summed(kernel, (0, 1)).reshape(-1)
    return met @ of_tap.to(x.device) * len(x)


@lru_cache(maxsize=512)
def _fan_outs(
    geometry: Convolution, size: tuple[int, ...], taps: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Fan-outs within one channel, of inputs and of taps, float64."""
    of_input, of_tap = fan_outs(geometry.axes(size, taps))
    return torch.from_numpy(of_input).double(), torch.from_numpy(of_tap).double()


class _Exactly(torch.autograd.Function):
    """An exact figure in the forward pass, with the gradient of another in the backward pass."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, exact: int) -> Tensor:
        return torch.full_like(linear, float(exact))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None
