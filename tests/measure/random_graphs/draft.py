"""A graph that grows node by node, each tried on sample values.

What torch refuses, what gets large, and what is not finite is left out, so that any graph drawn
is one that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from random_graphs.graph import Graph, Layer, Node, Step
from random_graphs.module import GraphModule
from random_graphs.operations import OPS
from random_graphs.oracle import LEAVES, storage
from random_graphs.values import DYADIC, KINDS

LARGEST = 4096
"""Most elements of any value."""


class Draft:
    """A graph that grows, and its values on sample data.

    Attributes:
        proposals: Functions that each try to add one node.
        per_sample: Whether only what treats samples alike and alone, exactly, may be drawn.
    """

    def __init__(
        self,
        draw: Callable[..., Any],
        values: list[Tensor],
        proposals: Sequence[Callable[[Draft], None]],
        per_sample: bool,
        fixed: set[int] | None = None,
        seed: int = 0,
        depth: int = 0,
    ) -> None:
        self.draw = draw
        self.values = list(values)
        self.inputs = len(values)
        self.proposals = proposals
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

    def grow(self, most: int) -> None:
        """Adds up to a number of nodes."""
        wanted = self.integer(1, most)
        for _ in range(2 * wanted):
            if len(self.nodes) >= wanted:
                return
            self.choose(self.proposals)(self)

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


def float_with(*axes: int) -> Callable[[Tensor], bool]:
    """Whether a tensor of floating point has one of these numbers of axes."""
    return lambda x: x.is_floating_point() and x.ndim in axes
