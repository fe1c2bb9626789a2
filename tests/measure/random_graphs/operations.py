"""Every operation that a node of a graph may stand for, and the contractions that it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from random_graphs.contractions import (
    WEIGHT,
    Pair,
    attention_pairs,
    check_weights,
    convolution_pair,
    layer_pairs,
    linear_pair,
    matmul,
)
from random_graphs.graph import Step
from random_graphs.values import DTYPES

Pairs = Callable[..., list[Pair]]


class Op(NamedTuple):
    """What a node does, and which contractions that is by the definition of the operation."""

    run: Callable[..., Tensor]
    pairs: Pairs = lambda step, *args: []


def call(step: Step, x: Tensor) -> Tensor:
    return step.layer()(x)


def multi_head(step: Step, x: Tensor) -> Tensor:
    (need_weights,) = step.settings
    return step.layer()(x, x, x, need_weights=need_weights)[0]


def multi_head_pairs(step: Step, x: Tensor) -> list[Pair]:
    """Self-attention of ``[B, N, D]``, or ``[N, B, D]`` where not batch first."""
    layer, (need_weights,) = step.layer(), step.settings
    mixed = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    if not layer.batch_first:
        mixed = mixed.transpose(0, 1)
    q, k, v = (y.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for y in mixed.chunk(3, -1))
    after = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    inner = (0, *WEIGHT)
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
    if need_weights:
        products = [matmul(q, k.mT, (inner, inner)), matmul(weights, v, (inner, inner))]
    else:  # one kernel or two products, as PyTorch likes
        check_weights(weights)
        products = attention_pairs(q, k, v, (inner, inner, inner), None, False)
    pairs = [
        linear_pair(x, layer.in_proj_weight, ((0,), WEIGHT)),
        *products,
        linear_pair(after, layer.out_proj.weight, (inner, WEIGHT)),
    ]
    return [pair._replace(layer=0) for pair in pairs]


def loop(step: Step, x: Tensor, calls: list[Tensor] | None = None) -> Tensor:
    """A layer over timesteps: of the same input, of one slice each, or of its own last spikes."""
    steps, how = step.settings
    outputs, calls = [], [] if calls is None else calls
    for t in range(steps):
        calls.append(x[:, t % x.shape[1]] if how == "slices" else x)
        outputs.append(step.layer()(calls[-1]))
        if how == "feedback":
            x = (outputs[-1] > 0).to(x.dtype)
    return torch.stack(outputs).sum(0)


def loop_pairs(step: Step, x: Tensor) -> list[Pair]:
    calls: list[Tensor] = []
    loop(step, x, calls)
    pairs = [pair for call in calls for pair in layer_pairs(step.layer(), call)]
    if step.settings[1] == "feedback":
        pairs[1:] = [pair._replace(sources=((0, *WEIGHT), WEIGHT)) for pair in pairs[1:]]
    return pairs


def choice(x: Tensor, among: int) -> int:
    """The branch to take: it depends on the values of a tensor."""
    return int((x != 0).sum()) % among


def branch(step: Step, x: Tensor) -> Tensor:
    return step.layer(choice(x, 2))(x)


def branch_pairs(step: Step, x: Tensor) -> list[Pair]:
    taken = choice(x, 2)
    return layer_pairs(step.layer(taken), x, taken)


def fork(step: Step, x: Tensor) -> Tensor:
    """A branch in which no contraction tells which way it went."""
    return x.relu() if choice(x, 2) else (x * 2) - 1


def either_side(step: Step, x: Tensor, w: Tensor) -> Tensor:
    """A weight from the right, from the left, or element by element, as the values say."""
    which = choice(x, 3)
    if which == 0:
        return x @ w
    return (w @ x.mT).mT if which == 1 else x * w[0]


def either_side_pairs(step: Step, x: Tensor, w: Tensor) -> list[Pair]:
    which = choice(x, 3)
    if which == 0:
        return [matmul(x, w, ((0,), (1,)))]
    return [matmul(w, x.mT, ((1,), (0,)))] if which == 1 else []


def convolve(step: Step, x: Tensor, w: Tensor) -> Tensor:
    axes, stride, padding, dilation, groups = step.settings
    return getattr(F, f"conv{axes}d")(x, w, None, stride, padding, dilation, groups)


def convolve_pairs(step: Step, x: Tensor, w: Tensor) -> list[Pair]:
    _, stride, padding, dilation, groups = step.settings
    pads = [p for p in reversed(padding) for _ in range(2)]
    return [
        convolution_pair(
            x, w, ((0,), (1,)), stride=stride, pads=pads, dilation=dilation, groups=groups
        )
    ]  # fmt: skip


def allowed_by(mask: Tensor) -> Tensor:
    """The keys that attention may read: the first one always."""
    allowed = mask != 0
    allowed[..., 0] = True
    return allowed


def attend(step: Step, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor) -> Tensor:
    causal, grouped = step.settings
    bias = None if not mask else allowed_by(mask[0])
    # Strided and broadcast operands go another way through torch, as two plain products.
    if not len(q) == len(k) == len(v) or not (grouped or q.shape[1] == k.shape[1] == v.shape[1]):
        raise RuntimeError("batches or heads of queries and keys differ")
    q, k, v = (x.contiguous() for x in (q, k, v))
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, is_causal=causal, enable_gqa=grouped
    )


def attend_pairs(step: Step, q: Tensor, k: Tensor, v: Tensor, *mask: Tensor) -> list[Pair]:
    bias = None if not mask else allowed_by(mask[0])
    causal, _ = step.settings
    if q.shape[1] != k.shape[1]:  # PyTorch may write that out
        shared = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        values = torch.eye(k.shape[2], dtype=q.dtype).expand(*shared.shape[:3], -1)
        weights, masked = (
            F.scaled_dot_product_attention(x, shared, values, attn_mask=bias, is_causal=causal)
            for x in (q, torch.zeros_like(q))
        )
        check_weights(weights, masked)
    sources = tuple((i,) for i in range(3 + len(mask)))
    return attention_pairs(q, k, v, sources, bias, causal)


def einsum(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """Axes of one letter and of unlike sizes, 1 and another, would be sums and no contraction."""
    pattern = step.settings[0]
    one, other = pattern.split("->")[0].split(",")
    sizes = [*zip(one, a.shape, strict=False), *zip(other, b.shape, strict=False)]
    if len(dict(sizes)) != len(set(sizes)):
        raise RuntimeError("operands of einsum would be broadcast")
    return torch.einsum(pattern, a, b)


def einsum_pairs(step: Step, a: Tensor, b: Tensor) -> list[Pair]:
    pattern = step.settings[0]
    return [Pair("matmul", a, b, ((0,), (1,)), lambda x, y: torch.einsum(pattern, x, y))]


def with_batch(run: Callable[[Tensor, Tensor], Tensor]) -> Pairs:
    """Operands of a product after a summand."""
    return lambda step, _, a, b: [Pair("matmul", a, b, ((1,), (2,)), run)]


def created(step: Step) -> Tensor:
    """A tensor made in the forward pass."""
    shape, kind, dtype = step.settings
    if kind == "zero":
        return torch.zeros(shape, dtype=DTYPES[dtype])
    if kind == "ones":
        return torch.ones(shape, dtype=DTYPES[dtype])
    return torch.arange(int(np.prod(shape)), dtype=DTYPES[dtype]).view(shape)


def write_slice(step: Step, x: Tensor) -> Tensor:
    axis, value = step.settings
    x.select(axis, 0).fill_(value)
    return x


def write_data(step: Step, x: Tensor) -> Tensor:
    """A write that leaves no trace in the version of the tensor."""
    x.data.mul_(step.settings[0])
    return x


OPS: dict[str, Op] = {
    "parameter": Op(lambda s: getattr(s.module, f"p{s.index}")),
    "buffer": Op(lambda s: getattr(s.module, f"b{s.index}")),
    "created": Op(created),
    "Graph": Op(lambda s, *xs: s.layer()(*xs)),
    "layer": Op(call, lambda s, x: layer_pairs(s.layer(), x)),
    "embedding": Op(lambda s, x: s.layer()(x.long().abs() % s.settings[0])),
    "self_attention": Op(multi_head, multi_head_pairs),
    "loop": Op(loop, loop_pairs),
    "branch": Op(branch, branch_pairs),
    "fork": Op(fork),
    "either_side": Op(either_side, either_side_pairs),
    "linear": Op(
        lambda s, x, w: F.linear(x, w), lambda s, x, w: [linear_pair(x, w, ((0,), (1,)))]
    ),
    "matmul": Op(lambda s, a, b: a @ b, lambda s, a, b: [matmul(a, b, ((0,), (1,)))]),
    "squared": Op(lambda s, a: a @ a.mT, lambda s, a: [matmul(a, a.mT, ((0,), (0,)))]),
    "mm": Op(lambda s, a, b: torch.mm(a, b), lambda s, a, b: [matmul(a, b, ((0,), (1,)))]),
    "bmm": Op(lambda s, a, b: torch.bmm(a, b), lambda s, a, b: [matmul(a, b, ((0,), (1,)))]),
    "mv": Op(lambda s, a, b: torch.mv(a, b), lambda s, a, b: [matmul(a, b, ((0,), (1,)))]),
    "dot": Op(lambda s, a, b: torch.dot(a, b), lambda s, a, b: [matmul(a, b, ((0,), (1,)))]),
    "addmm": Op(lambda s, c, a, b: torch.addmm(c, a, b), with_batch(torch.matmul)),
    "baddbmm": Op(
        lambda s, c, a, b: torch.baddbmm(c, a, b, beta=0.5, alpha=2), with_batch(torch.matmul)
    ),
    "einsum": Op(einsum, einsum_pairs),
    "convolve": Op(convolve, convolve_pairs),
    "attention": Op(attend, attend_pairs),
    "add": Op(lambda s, a, b: a + b),
    "sub": Op(lambda s, a, b: a - b),
    "mul": Op(lambda s, a, b: a * b),
    "where": Op(lambda s, a, b: torch.where(a > 0, a, b)),
    "relu": Op(lambda s, x: F.relu(x)),
    "spike": Op(lambda s, x: (x > s.settings[0]).to(x.dtype)),
    "sign": Op(lambda s, x: x.sign()),
    "neg": Op(lambda s, x: -x),
    "scale": Op(lambda s, x: x * s.settings[0]),
    "shift": Op(lambda s, x: x + s.settings[0]),
    "quantize": Op(lambda s, x: (x * s.settings[0]).round() / s.settings[0]),
    "clamp": Op(lambda s, x: x.clamp(s.settings[0], 2)),
    "softmax": Op(lambda s, x: torch.softmax(x, s.settings[0])),
    "sigmoid": Op(lambda s, x: x.sigmoid()),
    "sum": Op(lambda s, x: x.sum(s.settings[0])),
    "cat": Op(lambda s, *xs: torch.cat(xs, s.settings[0])),
    "stack": Op(lambda s, *xs: torch.stack(xs)),
    "transpose": Op(lambda s, x: x.transpose(*s.settings)),
    "permute": Op(lambda s, x: x.permute(*s.settings)),
    "select": Op(lambda s, x: x.select(*s.settings)),
    "slice": Op(lambda s, x: x[(slice(None),) * s.settings[0] + (slice(*s.settings[1:]),)]),
    "expand": Op(lambda s, x: x.unsqueeze(s.settings[0]).expand(
        *x.shape[: s.settings[0]], s.settings[1], *x.shape[s.settings[0] :])),
    "flatten": Op(lambda s, x: x.flatten(*s.settings)),
    "unsqueeze": Op(lambda s, x: x.unsqueeze(*s.settings)),
    "squeeze": Op(lambda s, x: x.squeeze(*s.settings)),
    "unfold": Op(lambda s, x: x.unfold(*s.settings)),
    "flip": Op(lambda s, x: x.flip(*s.settings)),
    "diagonal": Op(lambda s, x: x.diagonal()),
    "contiguous": Op(lambda s, x: x.contiguous()),
    "channels_last": Op(lambda s, x: x.contiguous(memory_format=torch.channels_last)),
    "clone": Op(lambda s, x: x.clone()),
    "detach": Op(lambda s, x: x.detach()),
    "to": Op(lambda s, x: x.to(DTYPES[s.settings[0]])),
    "relu_": Op(lambda s, x: x.relu_()),
    "mul_": Op(lambda s, x: x.mul_(s.settings[0])),
    "shift_": Op(lambda s, x: x.add_(s.settings[0])),
    "zero_": Op(lambda s, x: x.zero_()),
    "clamp_": Op(lambda s, x: x.clamp_(s.settings[0], 2)),
    "write_slice_": Op(write_slice),
    "write_data_": Op(write_data),
    "add_": Op(lambda s, x, y: x.add_(y)),
    "copy_": Op(lambda s, x, y: x.copy_(y)),
}  # fmt: skip
