"""The contractions that one operation runs, by the definition of the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from oracles import UndecidedError, total, value_class
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHT = (-1,)
"""The source of what is no input of a node but a weight of its layer."""

Positions = tuple[int, ...]

Sources = tuple[Positions, Positions]


class Pair(NamedTuple):
    """One contraction of a node.

    ``sources`` says what each operand comes from: positions among the node's inputs, or WEIGHT.
    ``layer`` is the position of the layer that runs it among those of the node, None for none.
    """

    op: str
    lhs: Tensor
    rhs: Tensor
    sources: Sources
    run: Callable[[Tensor, Tensor], Tensor]
    dense: int | None = None
    softmax_lhs: bool = False
    layer: int | None = None


def matmul(lhs: Tensor, rhs: Tensor, sources: Sources) -> Pair:
    return Pair("matmul", lhs, rhs, sources, torch.matmul)


def linear_pair(x: Tensor, weight: Tensor, sources: Sources) -> Pair:
    return matmul(x, weight.T, sources)


def convolution_pair(
    x: Tensor,
    w: Tensor,
    sources: Sources,
    *,
    stride: tuple[int, ...],
    pads: list[int],
    dilation: tuple[int, ...],
    groups: int,
) -> Pair:
    """Padding is read by the dense operation and is no event."""
    axes = w.ndim - 2
    convolve = getattr(F, f"conv{axes}d")

    def run(a: Tensor, b: Tensor, fill: float = 0.0) -> Tensor:
        a = F.pad(a, pads, value=fill)
        return convolve(a, b, None, stride, 0, dilation, groups)

    dense = total(run(*(torch.ones_like(t, dtype=torch.float64) for t in (x, w)), fill=1.0))
    return Pair(f"conv{axes}d", x, w, sources, run, dense)


def transposed_pair(
    x: Tensor,
    w: Tensor,
    sources: Sources,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Pair:
    """Every input meets every kernel element, also for outputs that the padding cuts off."""
    axes = w.ndim - 2
    convolve = getattr(F, f"conv_transpose{axes}d")

    def run(a: Tensor, b: Tensor) -> Tensor:
        return convolve(a, b, None, stride, padding, output_padding, groups, dilation)

    ones = (torch.ones_like(t, dtype=torch.float64) for t in (x, w))
    dense = total(convolve(*ones, None, stride, 0, 0, groups, dilation))
    return Pair(f"conv_transpose{axes}d", x, w, sources, run, dense)


def attention_pairs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sources: tuple[Positions, ...],
    mask: Tensor | None,
    causal: bool,
) -> list[Pair]:
    """Queries times keys, a softmax, its result times values; masked weights are zero."""
    of_q, of_k, of_v, *of_mask = sources
    if k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    shape = (*q.shape[:-1], k.shape[-2])
    allowed = torch.ones(shape, dtype=torch.bool)
    if causal:
        allowed = allowed.tril()
    if mask is not None:
        allowed = allowed & mask
    return [
        Pair("attention_qk", q, k.mT, (of_q, of_k), torch.matmul),
        Pair(
            "attention_av",
            allowed.double(),
            v,
            (sum(of_mask, of_q + of_k), of_v),
            torch.matmul,
            softmax_lhs=True,
        ),
    ]


def layer_pairs(layer: nn.Module, x: Tensor, position: int = 0) -> list[Pair]:
    sources = ((0,), WEIGHT)
    pairs = []
    if isinstance(layer, nn.Linear):
        pairs = [linear_pair(x, layer.weight, sources)]
    elif isinstance(layer, nn.modules.conv._ConvTransposeNd):
        settings = {
            name: getattr(layer, name)
            for name in ("stride", "padding", "output_padding", "dilation", "groups")
        }
        pairs = [transposed_pair(x, layer.weight, sources, **settings)]
    elif isinstance(layer, nn.modules.conv._ConvNd):
        pads = list(layer._reversed_padding_repeated_twice)
        if layer.padding_mode != "zeros":
            x, pads = F.pad(x, pads, mode=layer.padding_mode), [0] * len(pads)
        elif pads[::2] != pads[1::2]:  # "same" for an even kernel is such a padding beforehand
            even = [min(pads[i : i + 2]) for i in range(0, len(pads), 2) for _ in range(2)]
            x, pads = F.pad(x, [p - e for p, e in zip(pads, even, strict=True)]), even
        settings = {name: getattr(layer, name) for name in ("stride", "dilation", "groups")}
        pairs = [convolution_pair(x, layer.weight, sources, pads=pads, **settings)]
    return [pair._replace(layer=position) for pair in pairs]


def check_weights(weights: Tensor, masked: Tensor | None = None) -> None:
    """Those of one kernel are reals; written out they may be all alike, or too small to be seen."""
    if not weights.isfinite().all():
        return
    vanished = (weights == 0) if masked is None else (weights == 0) & (masked != 0)
    if vanished.any() or value_class(weights)[0] != "real":
        raise UndecidedError(weights)
