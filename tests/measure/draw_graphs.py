"""Hypothesis strategies: random graphs of ``random_graphs``, and batches of data for them.

A graph grows node by node. Each proposal is tried on sample values; what torch refuses, what gets
large, and what is not finite is left out, so that any graph drawn is one that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from random_graphs import (
    DTYPES,
    DYADIC,
    KINDS,
    LEAVES,
    OPS,
    Graph,
    GraphModule,
    Layer,
    Node,
    Step,
    fill,
    storage,
)
from torch import Tensor

LARGEST = 4096
HOMES = ("attribute", "list", "dict")


@dataclass(frozen=True)
class Batch:
    """Data of one forward pass: its size, and kind, seed and shape per sample of each input."""

    size: int
    inputs: tuple[tuple[str, int, tuple[int, ...], str], ...]
    strided: bool = False

    def tensors(self) -> list[Tensor]:
        """Fresh tensors, so that a model may write on them."""
        tensors = [
            fill(kind, (self.size, *tail), dtype, seed) for kind, seed, tail, dtype in self.inputs
        ]
        return [laid_out_backwards(x) for x in tensors] if self.strided else tensors


def laid_out_backwards(x: Tensor) -> Tensor:
    """The same values with the first axis innermost in memory and gaps between elements."""
    holder = torch.zeros(*reversed(x.shape), 2, dtype=x.dtype)
    view = holder.select(-1, 0).permute(*reversed(range(x.ndim)))
    return view.copy_(x)


@dataclass(frozen=True)
class Case:
    """A graph and the batches that pass through it."""

    graph: Graph
    batches: tuple[Batch, ...]

    def model(self) -> GraphModule:
        return GraphModule(self.graph).eval()

    def __repr__(self) -> str:
        return "\n".join([repr(self.graph), *map(repr, self.batches)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


class Draft:
    """A graph that grows, and its values on sample data.

    Attributes:
        per_sample: Whether only what treats samples alike and alone, exactly, may be drawn.
    """

    def __init__(
        self,
        draw: Callable[..., Any],
        values: list[Tensor],
        per_sample: bool,
        fixed: set[int] | None = None,
        seed: int = 0,
        depth: int = 0,
    ) -> None:
        self.draw = draw
        self.values = list(values)
        self.inputs = len(values)
        self.per_sample = per_sample
        self.fixed = fixed or set()
        self.depth = depth
        self.seed = seed
        self.nodes: list[Node] = []
        self.layers: list[Layer] = []
        self.module = GraphModule(Graph(len(values), ()), seed).eval()

    @property
    def graph(self) -> Graph:
        return Graph(self.inputs, tuple(self.nodes), tuple(self.layers))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def kind(self) -> str:
        return self.choose(DYADIC if self.per_sample else ("real", *KINDS))

    def pick(self, fits: Callable[[Tensor], bool] = lambda x: True) -> int | None:
        """One of the values so far that fits."""
        found = [
            i
            for i, x in enumerate(self.values)
            if fits(x) and not (self.per_sample and storage(x) in self.fixed)
        ]
        return self.choose(found) if found else None

    def axis(self, x: Tensor) -> int:
        return self.integer(1 if self.per_sample else 0, x.ndim - 1)

    def per_axis(self, axes: int, low: int, high: int) -> tuple[int, ...]:
        return tuple(self.integer(low, high) for _ in range(axes))

    def leaf(self, shape: tuple[int, ...], dtype: torch.dtype) -> int | None:
        """A new parameter, buffer or tensor made in the forward pass."""
        name = str(dtype).removeprefix("torch.")
        op = self.choose(("parameter", "buffer") if self.per_sample else tuple(LEAVES))
        kind = self.choose(("zero", "ones", "range")) if op == "created" else self.kind()
        settings = (tuple(shape), kind, name) if op == "created" else (kind, tuple(shape), name)
        if op != "created":
            settings = (name, kind, tuple(shape))
        return len(self.values) - 1 if self.try_node(Node(op, (), settings)) else None

    def operand(self, shape: tuple[int, ...], dtype: torch.dtype) -> int | None:
        """A value of a shape: one that is there, or a new leaf."""
        there = self.pick(lambda x: x.shape == shape and x.dtype == dtype)
        if there is not None and not self.per_sample and self.flag():
            return there
        return self.leaf(shape, dtype)

    def try_node(self, node: Node, *layers: Layer) -> bool:
        """Adds a node, with layers of its own, where it runs; says whether it does."""
        first = len(self.layers)
        own = tuple(range(first, first + len(layers)))
        node = Node(node.op, node.inputs, node.settings, node.layers + own)
        index = len(self.nodes)
        kept = [(x, x.detach().clone()) for x in self.values]
        inputs = [self.values[i] for i in node.inputs]
        try:
            for i, layer in zip(own, layers, strict=True):
                self.module.add_layer(i, layer)
            self.module.add_leaf(index, node)
            with torch.no_grad():
                out = OPS[node.op].run(Step(self.module.eval(), index, node), *inputs)
            # Some kernels take convolutions without a result, others refuse them.
            vanished = out.numel() == 0 and all(x.numel() for x in inputs)
            sane = not vanished and all(_is_sane(x) for x in (*self.values, out))
        except (
            RuntimeError,
            ValueError,
            IndexError,
            NotImplementedError,
            TypeError,
            ZeroDivisionError,
        ):
            sane = False
        if not sane:
            self.module.drop_layers(first)
            for x, before in kept:
                if not torch.equal(x, before):
                    x.copy_(before)
            return False
        self.layers += layers
        self.nodes.append(node)
        self.values.append(out)
        if node.op in ("parameter", "buffer"):
            self.fixed.add(storage(out))
        return True


def _is_sane(x: Tensor) -> bool:
    finite = not x.is_floating_point() or bool(x.isfinite().all())
    return isinstance(x, Tensor) and x.numel() <= LARGEST and finite and x.ndim <= 6


def is_float(x: Tensor) -> bool:
    return x.is_floating_point() and x.ndim > 0


def has_axes(*counts: int) -> Callable[[Tensor], bool]:
    return lambda x: x.ndim in counts


def float_with(*counts: int) -> Callable[[Tensor], bool]:
    return lambda x: x.is_floating_point() and x.ndim in counts


# Proposals: each tries to add one node.


def linear_layer(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    settings = [("in_features", x.shape[-1]), ("out_features", d.integer(1, 5))]
    tied = [
        j for j, other in enumerate(d.layers)
        if other.kind == "Linear" and other.settings[:1] == tuple(settings[:1])
        and ("dtype", x.dtype) in other.settings
    ]  # fmt: skip
    tie = None
    if tied and d.flag():
        tie = d.choose(tied)
        settings = list(d.layers[tie].settings[:2])
    settings += [("bias", d.flag()), ("dtype", x.dtype)]
    d.try_node(
        Node("layer", (i,)), Layer("Linear", tuple(settings), d.kind(), d.choose(HOMES), tie)
    )


def convolution_layer(d: Draft) -> None:
    i = d.pick(float_with(*((3, 4, 5) if d.per_sample else (2, 3, 4, 5))))
    if i is None:
        return
    x = d.values[i]
    batched = x.ndim > 2 and (d.per_sample or x.ndim == 5 or d.integer(0, 5) > 0)
    axes = x.ndim - (2 if batched else 1)
    channels = x.shape[1 if batched else 0]
    transposed = d.integer(0, 3) == 0
    groups = d.choose([g for g in (1, 2, 3, 4) if channels % g == 0] or [1])
    stride, dilation = d.per_axis(axes, 1, 3), d.per_axis(axes, 1, 2)
    settings: list[tuple[str, Any]] = [
        ("in_channels", channels),
        ("out_channels", groups * d.integer(1, 3)),
        ("kernel_size", d.per_axis(axes, 1, 3)),
        ("stride", stride),
        ("padding", d.per_axis(axes, 0, 2)),
        ("dilation", dilation),
        ("groups", groups),
        ("bias", d.flag()),
        ("dtype", x.dtype),
    ]
    if transposed:
        settings.append(("output_padding", d.per_axis(axes, 0, 1)))
    else:
        if d.integer(0, 4) == 0:
            settings[3:5] = [("stride", (1,) * axes), ("padding", d.choose(("same", "valid")))]
        mode = d.choose(("zeros", "zeros", "zeros", "circular", "reflect", "replicate"))
        settings.append(("padding_mode", mode))
    kind = f"Conv{'Transpose' if transposed else ''}{axes}d"
    d.try_node(Node("layer", (i,)), Layer(kind, tuple(settings), d.kind(), d.choose(HOMES)))


def other_layer(d: Draft) -> None:
    i = d.pick(is_float)
    if i is None:
        return
    x = d.values[i]
    size, dtype = x.shape[-1], ("dtype", x.dtype)
    layers = [Layer("ReLU"), Layer("Identity"), Layer("ReLU", (("inplace", True),))]
    if storage(x) in d.fixed:
        layers.pop()
    if x.ndim > 2:
        axes = min(x.ndim - 2, 3)
        window = (("kernel_size", (2,) * axes), ("stride", (1,) * axes))
        layers += [Layer(f"AvgPool{axes}d", window), Layer(f"MaxPool{axes}d", window)]
    if not d.per_sample:
        layers.append(Layer("LayerNorm", (("normalized_shape", size), dtype)))
        if x.ndim in (2, 3, 4, 5):
            axes = max(x.ndim - 2, 1)
            layers.append(Layer(f"BatchNorm{axes}d", (("num_features", x.shape[1]), dtype)))
        layers.append(Layer("Softmax", (("dim", -1),)))
        layers.append(Layer("GELU"))
    d.try_node(Node("layer", (i,)), d.choose(layers))


def again(d: Draft) -> None:
    """A layer that was called before, on another value or the same one."""
    callable_ = [j for j, n in enumerate(d.nodes) if n.op == "layer"]
    if not callable_:
        return
    node = d.nodes[d.choose(callable_)]
    taken = d.values[node.inputs[0]]
    i = d.pick(lambda x: x.ndim == taken.ndim and x.dtype == taken.dtype and is_float(x))
    writes = ("inplace", True) in d.layers[node.layers[0]].settings
    if i is not None and not (writes and storage(d.values[i]) in d.fixed):
        d.try_node(Node("layer", (i,), (), node.layers))


def nested(d: Draft) -> None:
    if d.depth >= 2 or len(d.values) == 0:
        return
    chosen = tuple(d.pick() for _ in range(d.integer(1, 2)))
    layer_seed = d.seed + 1000 * len(d.layers)
    values = d.values
    kept = [(x, x.detach().clone()) for x in values]
    inner = Draft(
        d.draw, [values[i] for i in chosen], d.per_sample, d.fixed, layer_seed, d.depth + 1
    )
    grow(inner, 4)
    for x, before in kept:
        if not torch.equal(x, before):
            x.copy_(before)
    if inner.nodes:
        d.try_node(Node("Graph", chosen), Layer("Graph", home=d.choose(HOMES), graph=inner.graph))


def embedding(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > 0)
    if i is not None:
        settings = (("num_embeddings", 6), ("embedding_dim", d.integer(1, 4)))
        d.try_node(Node("embedding", (i,), (6,)), Layer("Embedding", settings, d.kind()))


def self_attention(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim == 3 and x.dtype == torch.float32 and min(x.shape) > 1)
    if i is None:
        return
    size = d.values[i].shape[-1]
    settings = (
        ("embed_dim", size),
        ("num_heads", 2 if size % 2 == 0 and d.flag() else 1),
        ("bias", d.flag()),
        ("batch_first", d.flag()),
    )
    layer = Layer("MultiheadAttention", settings, home=d.choose(HOMES))
    d.try_node(Node("self_attention", (i,), (d.flag(),)), layer)


def square_layer(d: Draft, x: Tensor) -> Layer:
    size = x.shape[-1]
    settings = (("in_features", size), ("out_features", size), ("dtype", x.dtype))
    return Layer("Linear", settings, d.kind(), d.choose(HOMES))


def loop(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > 1)
    if i is not None:
        x, how = d.values[i], d.choose(("same", "slices", "feedback"))
        if how != "slices" or (x.ndim > 2 and x.shape[1] > 0):
            d.try_node(Node("loop", (i,), (d.integer(1, 4), how)), square_layer(d, x))


def branch(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > 1)
    if i is not None:
        one = square_layer(d, d.values[i])
        d.try_node(Node("branch", (i,)), one, d.choose((one, Layer("ReLU"))))


def fork(d: Draft) -> None:
    i = d.pick(is_float)
    if i is not None:
        d.try_node(Node("fork", (i,)))


def either_side(d: Draft) -> None:
    i = d.pick(float_with(2))
    if i is None:
        return
    x = d.values[i]
    w = d.operand((x.shape[-1],) * 2, x.dtype)
    if w is not None:
        d.try_node(Node("either_side", (i, w)))


def functional_linear(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    w = d.operand((d.integer(1, 4), x.shape[-1]), x.dtype)
    if w is not None:
        d.try_node(Node("linear", (i, w)))


def product(d: Draft) -> None:
    """``a @ b`` of any rank with broadcasting, or a named product of a fixed rank."""
    i = d.pick(lambda x: 0 < x.ndim < 5 and x.ndim > d.per_sample)
    if i is None:
        return
    a = d.values[i]
    names = ["matmul", "matmul", "squared"] if a.ndim > 1 + d.per_sample else ["matmul"]
    if not d.per_sample:
        names += {1: ["dot"], 2: ["mm", "addmm", "mv"], 3: ["bmm", "baddbmm"]}.get(a.ndim, [])
    op = d.choose(names)
    if op == "squared":
        d.try_node(Node(op, (i,)))
        return
    k, m = a.shape[-1], d.integer(1, 4)
    shapes: list[tuple[int, ...]] = {
        "mm": [(k, m)], "addmm": [(k, m)], "mv": [(k,)], "dot": [(k,)],
        "bmm": [(a.shape[0], k, m)], "baddbmm": [(a.shape[0], k, m)],
    }.get(op, [(k, m)])  # fmt: skip
    if op == "matmul" and not d.per_sample:
        batch = tuple(d.choose((1, n)) for n in a.shape[:-2])
        shapes = [(k, m), (k,), (*batch, k, m), (2, *(1 for _ in batch), k, m)]
    b = d.operand(d.choose(shapes), a.dtype)
    if b is None:
        return
    if op in ("addmm", "baddbmm"):
        c = d.operand((*a.shape[:-1], m), a.dtype)
        if c is not None:
            d.try_node(Node(op, (c, i, b)))
        return
    left = op == "matmul" and a.ndim == 2 and d.values[b].ndim == 2 and d.flag()
    d.try_node(Node(op, (b, i) if left else (i, b)))


def any_two(d: Draft) -> None:
    """``a @ b`` of two values that happen to fit."""
    i = d.pick(lambda x: x.ndim > 1)
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.ndim > 1 and b.shape[-2] == a.shape[-1] and b.dtype == a.dtype)
    if j is not None and not d.per_sample:
        d.try_node(Node("matmul", (i, j)))


EINSUMS = {
    2: ("ij,jk->ik", "ij,kj->ik"),
    3: ("bij,jk->bik", "bij,bjk->bik", "bij,bkj->bik", "bij,bkj->bki", "bij,kij->bk", "bij,bij->b"),
    4: ("bhnd,bhmd->bhnm", "bhnd,bhdm->bhnm", "tbcn,dc->tbdn", "bhnd,hde->bhne", "bhnd,bhne->bhde"),
}


def einsum(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim in EINSUMS)
    if i is None or d.per_sample:
        return
    a = d.values[i]
    pattern = d.choose(EINSUMS[a.ndim])
    left, right = pattern.split("->")[0].split(",")
    sizes = dict(zip(left, a.shape, strict=True))
    shape = tuple(sizes.setdefault(axis, d.integer(1, 4)) for axis in right)
    summed = set(left) - set(pattern.split("->")[1])
    if any(sizes[axis] == 1 for axis in summed):  # torch multiplies there and sums nothing
        return
    b = d.operand(shape, a.dtype)
    if b is not None:
        d.try_node(Node("einsum", (i, b), (pattern,)))


def functional_convolution(d: Draft) -> None:
    i = d.pick(float_with(3, 4, 5))
    if i is None:
        return
    x = d.values[i]
    axes, channels = x.ndim - 2, x.shape[1]
    groups = d.choose([g for g in (1, 2, 3) if channels % g == 0] or [1])
    shape = (groups * d.integer(1, 2), channels // groups, *d.per_axis(axes, 1, 3))
    w = d.operand(shape, x.dtype)
    if w is not None:
        settings = (axes, d.per_axis(axes, 1, 2), d.per_axis(axes, 0, 2), d.per_axis(axes, 1, 2))
        d.try_node(Node("convolve", (i, w), (*settings, groups)))


def attention(d: Draft) -> None:
    i = d.pick(lambda x: float_with(4)(x) and min(x.shape) > 0 and x.shape[-2] > 1)
    if i is None:
        return
    q = d.values[i]
    B, H, N, D = q.shape
    heads = d.choose([h for h in range(1, H + 1) if H % h == 0])
    keys = N if d.flag() else d.integer(2, 4)
    k = d.operand((B, heads, keys, D), q.dtype)
    v = d.operand((B, heads, keys, D), q.dtype)
    if k is None or v is None:
        return
    causal = d.flag()
    mask = ()
    if not causal and d.flag():
        shape = d.choose(((N, keys), (B, H, N, keys), (B, 1, 1, keys)))
        found = d.leaf(shape, q.dtype)
        mask = () if found is None else (found,)
    d.try_node(Node("attention", (i, k, v, *mask), (causal, heads != H)))


def elementwise(d: Draft) -> None:
    i = d.pick()
    if i is None:
        return
    x = d.values[i]
    exact = ["relu", "spike", "sign", "neg", "scale", "shift", "quantize", "clamp"]
    op = d.choose(exact if d.per_sample else [*exact, "sigmoid", "softmax"])
    integral = not x.is_floating_point()
    settings: tuple[Any, ...] = {
        "spike": (d.choose((0, 0 if integral else 0.25)),),
        "scale": (d.choose((2, -1, 3) if integral or d.per_sample else (0.5, 2, 1 / 3, 0.1)),),
        "shift": (d.choose((1, -1)),),
        "quantize": (d.choose((2, 4) if d.per_sample else (1, 2, 3, 7)),),
        "clamp": (d.choose((-1, 0)),),
        "softmax": (-1,),
    }.get(op, ())
    d.try_node(Node(op, (i,), settings))


def pairwise(d: Draft) -> None:
    """Residual sums and the like of two values of one shape."""
    i = d.pick()
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.shape == a.shape and b.dtype == a.dtype)
    d.try_node(Node(d.choose(("add", "sub", "mul", "where")), (i, j)))


def in_place(d: Draft) -> None:
    i = d.pick(lambda x: storage(x) not in d.fixed and x.ndim > 0)
    if i is None:
        return
    x = d.values[i]
    op = d.choose(
        ("relu_", "mul_", "shift_", "zero_", "clamp_", "write_slice_", "write_data_", "add_",
         "copy_")
    )  # fmt: skip
    if op in ("add_", "copy_"):
        j = d.pick(lambda y: y.shape == x.shape and y.dtype == x.dtype)
        d.try_node(Node(op, (i, j)))
        return
    settings = {
        "mul_": (2,), "shift_": (1,), "clamp_": (d.choose((-1, 0)),), "write_data_": (2,),
    }.get(op, ())  # fmt: skip
    if op == "write_slice_":
        if x.ndim <= d.per_sample:
            return
        settings = (d.axis(x), d.choose((0, 1, 2)))
    d.try_node(Node(op, (i,), settings))


def view(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    first = int(d.per_sample)
    op = d.choose(
        ("transpose", "slice", "select", "expand", "unsqueeze", "flatten", "squeeze", "contiguous",
         "clone", "detach", "flip", "unfold", "permute", "channels_last", "diagonal")
    )  # fmt: skip
    if d.per_sample and op in ("diagonal",):
        return
    axis = d.axis(x)
    order = [*range(first), *d.draw(st.permutations(range(first, x.ndim)))]
    start = d.integer(0, 2)
    settings: tuple[Any, ...] = {
        "transpose": (axis, d.axis(x)),
        "slice": (axis, start, start + d.integer(1, 4), d.integer(1, 2)),
        "select": (axis, d.integer(0, 1)),
        "expand": (d.integer(first, x.ndim), d.integer(1, 3)),
        "unsqueeze": (axis,),
        "flatten": (first, -1),
        "squeeze": (axis,),
        "flip": (axis,),
        "unfold": (axis, 2, 1),
        "permute": tuple(order),
    }.get(op, ())
    if op == "squeeze" and x.shape[axis] != 1:
        return
    d.try_node(Node(op, (i,), settings))


def reduction(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is not None:
        d.try_node(Node("sum", (i,), (d.axis(d.values[i]),)))


def joined(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.shape == a.shape and b.dtype == a.dtype)
    if d.per_sample or d.flag():
        d.try_node(Node("cat", (i, j), (d.axis(a),)))
    else:
        d.try_node(Node("stack", (i, j)))


def cast(d: Draft) -> None:
    i = d.pick()
    if i is not None:
        d.try_node(Node("to", (i,), (d.choose(("float32",) if d.per_sample else DTYPES),)))


PROPOSALS: tuple[Callable[[Draft], None], ...] = (
    linear_layer, convolution_layer, convolution_layer, product, elementwise, in_place, view,
    pairwise, functional_linear, other_layer, attention, einsum, nested, again, loop, branch, fork,
    either_side, any_two, functional_convolution, self_attention, embedding, reduction, joined,
    cast,
)  # fmt: skip
MIXING = (
    self_attention, attention, branch, fork, either_side, embedding, functional_convolution,
)  # fmt: skip
"""What looks at all samples at once, or whose arithmetic hangs on the size of a batch."""


def grow(d: Draft, most: int) -> None:
    """Adds up to a number of nodes."""
    proposals = [p for p in PROPOSALS if not (d.per_sample and p in MIXING)]
    wanted = d.integer(1, most)
    for _ in range(2 * wanted):
        if len(d.nodes) >= wanted:
            return
        d.choose(proposals)(d)


@st.composite
def cases(draw: Callable[..., Any], per_sample: bool = False, most_batches: int = 3) -> Case:
    """A graph and its data.

    Args:
        draw: Given by hypothesis.
        per_sample: Whether every sample's values must be the same in whatever batch it comes.
        most_batches: Largest number of batches.
    """
    kinds = st.sampled_from(DYADIC if per_sample else KINDS)
    shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4 if not per_sample else 3)
    dtypes = st.sampled_from(
        ["float32"] if per_sample else ["float32", "float32", "float32", *DTYPES]
    )
    inputs = draw(st.lists(st.tuples(shapes.map(tuple), dtypes), min_size=1, max_size=2))
    if prod(sum((s for s, _ in inputs), ())) > LARGEST:
        inputs = [(s[:2], t) for s, t in inputs]

    def batch(size: int) -> Batch:
        parts = [(draw(kinds), draw(st.integers(0, 99)), s, t) for s, t in inputs]
        return Batch(size, tuple(parts), not per_sample and draw(st.integers(0, 7)) == 0)

    first = batch(draw(st.integers(1, 3)))
    draft = Draft(draw, first.tensors(), per_sample)
    grow(draft, 12)
    batches = [first]
    for _ in range(draw(st.integers(0, most_batches - 1))):
        same_size = draw(st.booleans())
        size = first.size if same_size else draw(st.integers(1 if per_sample else 0, 4))
        batches.append(batch(size))
    graph = draft.graph
    batches[1:] = [
        b if runs(graph, b) else Batch(first.size, b.inputs, b.strided) for b in batches[1:]
    ]
    return Case(graph, tuple(batches))


def runs(graph: Graph, batch: Batch) -> bool:
    """Whether torch takes a batch of this size."""
    try:
        with torch.no_grad():
            GraphModule(graph).eval()(*batch.tensors())
    except (RuntimeError, IndexError, ZeroDivisionError):
        return False
    return True
