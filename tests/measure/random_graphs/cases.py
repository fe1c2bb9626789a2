"""Hypothesis strategies: random graphs, and batches of data for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from random_graphs.draft import LARGEST, Draft
from random_graphs.draw_elementwise import (
    cast,
    elementwise,
    fork,
    in_place,
    joined,
    pairwise,
    reduction,
    view,
)  # fmt: skip
from random_graphs.draw_layers import (
    again,
    branch,
    convolution_layer,
    embedding,
    linear_layer,
    loop,
    nested,
    other_layer,
    self_attention,
)  # fmt: skip
from random_graphs.draw_products import (
    any_two,
    attention,
    einsum,
    either_side,
    functional_convolution,
    functional_linear,
    product,
)  # fmt: skip
from random_graphs.graph import Graph
from random_graphs.module import GraphModule
from random_graphs.values import DTYPES, DYADIC, KINDS, fill


@dataclass(frozen=True)
class Batch:
    """Data of one forward pass: its size, and kind, seed and shape per sample of each input."""

    size: int
    inputs: tuple[tuple[str, int, tuple[int, ...], str], ...]
    strided: bool = False

    def tensors(self) -> list[Tensor]:
        """New tensors, so that a model may write on them."""
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


PROPOSALS: tuple[Callable[[Draft], None], ...] = (
    linear_layer, convolution_layer, convolution_layer, product, elementwise, in_place, view,
    pairwise, functional_linear, other_layer, attention, einsum, nested, again, loop, branch, fork,
    either_side, any_two, functional_convolution, self_attention, embedding, reduction, joined,
    cast,
)  # fmt: skip

MIXING = (
    self_attention, attention, branch, fork, either_side, embedding, functional_convolution,
)  # fmt: skip
"""What reads all samples at once, or whose arithmetic depends on the size of a batch."""


SIZES = (1, 7, 11)
"""Sizes of batches: no axis of a graph has one of these by accident, which could not be told apart
from the axis of the samples."""


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

    first = batch(draw(st.sampled_from(SIZES)))
    proposals = [p for p in PROPOSALS if not (per_sample and p in MIXING)]
    draft = Draft(draw, first.tensors(), proposals, per_sample)
    draft.grow(12)
    batches = [first]
    for _ in range(draw(st.integers(0, most_batches - 1))):
        same_size = draw(st.booleans())
        size = (
            first.size if same_size else draw(st.sampled_from(SIZES if per_sample else (0, *SIZES)))
        )
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
