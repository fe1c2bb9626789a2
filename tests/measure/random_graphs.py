"""Random models as data: graphs, modules made of them, and their contractions.

A graph says what runs, so what is counted follows from it without watching anything run:
:func:`contractions` walks the graph, computes every value by the same calls and notes the operands
of each contraction. Nothing of the package is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from oracles import Seen, UndecidedError, total, value_class
from torch import Tensor, nn
from torch.nn import functional as F

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16,
        torch.bool, torch.int64, torch.int32, torch.int8,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A submodule: a class of torch.nn with its arguments, or a graph.

    Attributes:
        kind: Name in ``torch.nn``, or ``Graph``.
        settings: Keyword arguments.
        weights: Kind of values of its parameters.
        home: Where the module is registered: ``attribute``, ``list`` or ``dict``.
        tied: Index of an earlier layer that it shares its weight with.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()
    weights: str = "real"
    home: str = "attribute"
    tied: int | None = None
    graph: Graph | None = None

    def __str__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.settings)
        tie = "" if self.tied is None else f", weight of layer {self.tied}"
        return f"{self.kind}({arguments})  # {self.weights} weights, in {self.home}{tie}"


@dataclass(frozen=True)
class Node:
    """One step: an operation on earlier values, with its settings and the layers that it calls."""

    op: str
    inputs: tuple[int, ...] = ()
    settings: tuple[Any, ...] = ()
    layers: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [f"x{i}" for i in self.inputs]
        parts += [f"layer{i}" for i in self.layers] + [repr(s) for s in self.settings]
        return f"{self.op}({', '.join(parts)})"


@dataclass(frozen=True)
class Graph:
    """Values ``x0, x1, ...``: the inputs, then one per node. The last one is returned."""

    inputs: int
    nodes: tuple[Node, ...]
    layers: tuple[Layer, ...] = ()

    def lines(self) -> Iterator[str]:
        for i, layer in enumerate(self.layers):
            yield f"layer{i} = {layer}"
            if layer.graph is not None:
                yield from (f"    {line}" for line in layer.graph.lines())
        for i, node in enumerate(self.nodes, self.inputs):
            yield f"x{i} = {node}"

    def __repr__(self) -> str:
        return "\n".join([f"graph of {self.inputs} inputs:", *self.lines()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis would show the fields instead."""
        printer.text(repr(self))


class GraphModule(nn.Module):
    """A graph as a module. Values are dropped after their last use, as in a written-out model."""

    def __init__(self, graph: Graph, seed: int = 0) -> None:
        super().__init__()
        self.graph = graph
        self.items = nn.ModuleList()
        self.named = nn.ModuleDict()
        self.parts: list[str] = []
        self.seed = seed
        for i, layer in enumerate(graph.layers):
            self.add_layer(i, layer)
        for i, node in enumerate(graph.nodes):
            self.add_leaf(i, node)
        uses = [n.inputs for n in graph.nodes]
        self.last_use = {x: i for i, inputs in enumerate(uses) for x in inputs}

    def add_leaf(self, i: int, node: Node) -> None:
        """Makes the parameter or buffer that a node stands for, if it does."""
        if node.op not in ("parameter", "buffer"):
            return
        dtype, kind, shape = node.settings
        value = fill(kind, shape, dtype, self.seed + i)
        if node.op == "parameter":
            trained = value.is_floating_point()
            self.register_parameter(f"p{i}", nn.Parameter(value, requires_grad=trained))
        else:
            self.register_buffer(f"b{i}", value)

    def add_layer(self, i: int, layer: Layer) -> None:
        """Makes a submodule, the same for the same seed."""
        seed = self.seed + 1000 * i
        torch.manual_seed(seed)
        if layer.graph is not None:
            module: nn.Module = GraphModule(layer.graph, seed)
        else:
            module = getattr(nn, layer.kind)(**dict(layer.settings))
            for j, (name, parameter) in enumerate(module.named_parameters()):
                if name.endswith("weight"):
                    values = fill(layer.weights, tuple(parameter.shape), "float64", seed + j)
                    parameter.data = values.to(parameter.dtype)
                elif layer.weights in DYADIC:
                    parameter.data = (parameter.data * 4).round() / 4
        if layer.tied is not None:
            module.weight = self.layer(layer.tied).weight
        if layer.home == "list":
            self.parts.append(f"items.{len(self.items)}")
            self.items.append(module)
        elif layer.home == "dict":
            self.parts.append(f"named.key{i}")
            self.named[f"key{i}"] = module
        else:
            self.parts.append(f"layer{i}")
            setattr(self, f"layer{i}", module)

    def drop_layers(self, first: int) -> None:
        """Takes back what was added from a number on."""
        for path in reversed(self.parts[first:]):
            home, _, name = path.rpartition(".")
            del self.get_submodule(home)._modules[name]
        del self.parts[first:]

    def layer(self, i: int) -> nn.Module:
        return self.get_submodule(self.parts[i])

    def forward(self, *args: Tensor, **named: Tensor) -> Tensor:
        values: list[Tensor | None] = [*args, *named.values()]
        for i, node in enumerate(self.graph.nodes):
            values.append(OPS[node.op].run(Step(self, i, node), *(values[x] for x in node.inputs)))
            for x in node.inputs:
                if self.last_use[x] == i:
                    values[x] = None
        return values[-1]


class Step(NamedTuple):
    """A node about to run."""

    module: GraphModule
    index: int
    node: Node

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.node.settings

    def layer(self, i: int = 0) -> nn.Module:
        return self.module.layer(self.node.layers[i])


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


WEIGHT = (-1,)
"""The source of what is no input of a node but a weight of its layer."""
Pairs = Callable[..., list[Pair]]


class Op(NamedTuple):
    """What a node does, and which contractions that is by the definition of the operation."""

    run: Callable[..., Tensor]
    pairs: Pairs = lambda step, *args: []


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
    """Every input meets every tap, also those that land in the border that padding cuts off."""
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
    """A branch that hangs on the values of a tensor."""
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


def allowed_by(mask: Tensor) -> Tensor:
    """Where attention may look: the first key always."""
    allowed = mask != 0
    allowed[..., 0] = True
    return allowed


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


def check_weights(weights: Tensor, masked: Tensor | None = None) -> None:
    """Those of one kernel are reals; written out they may be all alike, or too small to be seen."""
    if not weights.isfinite().all():
        return
    vanished = (weights == 0) if masked is None else (weights == 0) & (masked != 0)
    if vanished.any() or value_class(weights)[0] != "real":
        raise UndecidedError(weights)


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


def fill(kind: str, shape: tuple[int, ...], dtype: str, seed: int) -> Tensor:
    """Values of a kind, the same for the same arguments."""
    rng = np.random.default_rng([seed, len(shape), *shape])
    fire = (rng.random(shape) < 0.4).astype(np.float64)
    sign = rng.integers(0, 2, shape) * 2.0 - 1
    level = rng.integers(0, 5, shape).astype(np.float64)
    values = {
        "zero": lambda: np.zeros(shape),
        "negative-zero": lambda: -np.zeros(shape),
        "ones": lambda: np.ones(shape),
        "binary": lambda: fire,
        "scaled": lambda: fire * 0.3,
        "negative": lambda: fire * -1.5,
        "ternary": lambda: fire * sign,
        "ternary-scaled": lambda: fire * sign * 0.7,
        "graded": lambda: level,
        "graded-signed": lambda: level * sign,
        "quarters": lambda: level / 4,
        "thirds": lambda: level * sign / 3,
        "sevenths": lambda: level / 7,
        "levels-255": lambda: with_extremes(rng.integers(0, 256, shape).astype(np.float64), 255),
        "levels-256": lambda: with_extremes(rng.integers(0, 257, shape).astype(np.float64), 256),
        "real": lambda: rng.standard_normal(shape) * 0.5,
        "real-sparse": lambda: rng.standard_normal(shape) * fire,
    }[kind]()
    return torch.from_numpy(np.asarray(values)).to(DTYPES[dtype])


def with_extremes(values: np.ndarray, largest: int) -> np.ndarray:
    if values.size > 1:
        values.flat[0], values.flat[-1] = largest, 1
    return values


KINDS = (
    "binary", "zero", "ones", "scaled", "negative", "ternary", "ternary-scaled", "graded",
    "graded-signed", "quarters", "thirds", "sevenths", "levels-255", "levels-256", "real",
    "real-sparse", "negative-zero",
)  # fmt: skip
DYADIC = (
    "binary", "zero", "ones", "negative", "ternary", "graded", "graded-signed", "quarters"
)  # fmt: skip
"""Kinds whose sums and products are exact in float32, so in any order."""


def call(step: Step, x: Tensor) -> Tensor:
    return step.layer()(x)


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


@dataclass
class Origin:
    """What a tensor depends on: the input, weights, something made in the forward pass."""

    varies: bool = False
    created: bool = False
    weight: bool = False

    def become(self, parts: list[Origin]) -> Origin:
        self.varies = any(p.varies for p in parts)
        self.created = not self.varies and any(p.created for p in parts)
        self.weight = not self.varies and any(p.weight for p in parts)
        return self

    @property
    def fixed(self) -> bool:
        return not (self.varies or self.created)


LEAVES = {
    "parameter": Origin(weight=True),
    "buffer": Origin(),
    "created": Origin(created=True),
}


def contractions(model: GraphModule, args: list[Tensor]) -> list[Seen]:
    """All contractions of one forward pass, told from the graph alone, in their order."""
    names = {id(module): name for name, module in reversed([*model.named_modules()])}
    seen: list[Seen] = []
    with torch.no_grad():
        _walk(model, list(args), [Origin(varies=True) for _ in args], names, len(args[0]), seen)
    return seen


def _walk(
    module: GraphModule,
    values: list[Tensor],
    origins: list[Origin],
    names: dict[int, str],
    samples: int,
    seen: list[Seen],
) -> tuple[Tensor, Origin]:
    for i, node in enumerate(module.graph.nodes):
        step, op = Step(module, i, node), OPS[node.op]
        inputs = [values[x] for x in node.inputs]
        parts = [origins[x] for x in node.inputs]
        if node.op == "Graph":
            out, origin = _walk(step.layer(), inputs, parts, names, samples, seen)
        else:
            for pair in op.pairs(step, *inputs):
                runs = module if pair.layer is None else step.layer(pair.layer)
                seen.append(_noted(pair, parts, names[id(runs)], samples))
            out = op.run(step, *inputs)
            called = node.layers
            if node.op == "branch":
                called = called[choice(inputs[0], 2) :][:1]
            if any([*module.layer(i).parameters()] for i in called):
                parts.append(LEAVES["parameter"])
            origin = _origin(node, inputs, parts, out)
        values.append(out)
        origins.append(origin)
    return values[-1], origins[-1]


def _origin(node: Node, inputs: list[Tensor], parts: list[Origin], out: Tensor) -> Origin:
    """Views share the origin of what they view, so that a write changes it for all of them."""
    if node.op in LEAVES:
        return Origin().become([LEAVES[node.op]])
    same = [o for x, o in zip(inputs, parts, strict=False) if storage(x) == storage(out)]
    if node.op.endswith("_"):
        return same[0].become(parts)
    return same[0] if same else Origin().become(parts)


def storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _noted(pair: Pair, parts: list[Origin], path: str, samples: int) -> Seen:
    parts = [*parts, LEAVES["parameter"]]
    one, other = (Origin().become([parts[i] for i in source]) for source in pair.sources)
    weights = (
        one.weight or (other.varies and not one.varies),
        other.weight or (one.varies and not other.varies),
    )
    op = "linear" if pair.op == "matmul" and any(weights) else pair.op
    lhs, rhs = pair.lhs.detach().clone(), pair.rhs.detach().clone()
    dense = pair.dense
    if dense is None:
        dense = total(pair.run(*(torch.ones_like(x, dtype=torch.float64) for x in (lhs, rhs))))
    fixed = one.fixed and other.fixed
    return Seen(
        path, op, lhs, rhs, (True, True) if fixed else weights, pair.run, dense,
        pair.softmax_lhs, samples if fixed else 1,
    )  # fmt: skip
