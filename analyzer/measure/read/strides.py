"""Loop nests over a tensor's memory, whatever the order of its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LoopNest", "as_looped", "extent", "loop_nest"]


class LoopNest(NamedTuple):
    """Three loops over the memory of a tensor: ``[chunks, rows, width]``, the innermost dense.

    Axes that are kept apart are in the chunks or in the width; axes that are summed are in the
    rows, and in the width where none is kept apart there.

    Attributes:
        chunks: Outermost parts, counted apart.
        rows: Parts of a chunk, summed.
        width: Elements of a row, next to each other in memory.
        chunk_pitch: Elements from one chunk to the next.
        row_pitch: Elements from one row to the next.
        inner: How many elements of a row are counted apart: all, or 1 where they are summed.
        dense: Whether the tensor fills one range of memory without gaps.
        split: Sizes of the axes that chunks and inner elements are made of.
        dropped: Which of these to sum afterwards.
        order: How to permute the rest into the order of the tensor's axes; empty if it is that.
        steps: Timesteps, outermost in the result.
    """

    chunks: int
    rows: int
    width: int
    chunk_pitch: int
    row_pitch: int
    inner: int
    dense: bool
    split: tuple[int, ...]
    dropped: tuple[int, ...]
    order: tuple[int, ...]
    steps: int

    @property
    def extent(self) -> int:
        """Elements from the first of the tensor to the last, in memory."""
        chunks, rows = (self.chunks - 1) * self.chunk_pitch, (self.rows - 1) * self.row_pitch
        return chunks + rows + self.width

    def fold(self, counts: NDArray[Any]) -> NDArray[np.int64]:
        """Counts ``[chunks, inner]`` as ``[steps, kept elements]``, int64."""
        # Tables are int32, and so would be the sums and products of what is made of them.
        counts = counts.astype(np.int64, copy=False)
        if self.dropped or self.order:
            counts = counts.reshape(self.split).sum(self.dropped).transpose(self.order)
        return counts.reshape(self.steps, -1)


def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first of a tensor to the last, in memory; 0 where it is empty."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


@lru_cache(maxsize=4096)
def loop_nest(
    shape: tuple[int, ...], stride: tuple[int, ...], keep: tuple[int, ...], steps: int = 1
) -> LoopNest | None:
    """The loop nest of a tensor; None where its strides fit into no three loops.

    Args:
        shape: Sizes of the axes.
        stride: Elements from one entry of an axis to the next.
        keep: Axes to count apart.
        steps: Timesteps, outermost in axis 0.
    """
    if steps > 1:
        rest = shape[0] // steps
        shape, stride = (steps, rest, *shape[1:]), (stride[0] * rest, *stride)
        keep = (0, *(axis + 1 for axis in keep))
    axes = sorted((a for a in range(len(shape)) if shape[a] != 1), key=lambda a: -stride[a])

    def merged(some: Sequence[int]) -> tuple[int, int] | None:
        """Size and pitch of some axes as one."""
        for outer, inner in pairwise(some):
            if stride[outer] != stride[inner] * shape[inner]:
                return None
        return math.prod(shape[a] for a in some), stride[some[-1]] if some else 1

    inside = len(axes)
    while inside and axes[inside - 1] in keep:
        inside -= 1
    outside = inside
    while outside and axes[outside - 1] not in keep:
        outside -= 1
    # Axes that are kept outside of a summed one are chunks, with the summed axes between them:
    # these are counted apart as well, and summed when the counts are folded.
    chunks, summed, inner = axes[:outside], axes[outside:inside], axes[inside:]
    tail = len(summed)
    if not inner:  # the innermost summed axes, as far as they are dense, are the width
        tail -= 1
        while tail > 0 and merged(summed[tail - 1 :]):
            tail -= 1
        tail = max(tail, 0)
    parts = merged(chunks), merged(summed[:tail]), merged(inner or summed[tail:])
    if None in parts:
        return None
    (n, chunk_pitch), (rows, row_pitch), (width, pitch) = parts  # type: ignore[misc]
    if pitch != 1:  # of an expanded axis, or of every second channel
        return None
    named = chunks + inner
    left = [a for a in named if a in keep]
    order = tuple(left.index(a) for a in sorted(left))
    dropped = tuple(i for i, a in enumerate(named) if a not in keep)
    plain = not dropped and list(order) == list(range(len(order)))
    everything = merged(axes)
    return LoopNest(
        chunks=n,
        rows=rows,
        width=width,
        chunk_pitch=chunk_pitch,
        row_pitch=row_pitch,
        inner=width if inner else 1,
        dense=everything is not None and everything[1] == 1,
        split=tuple(shape[a] for a in named),
        dropped=dropped,
        order=() if plain else order,
        steps=steps,
    )


def as_looped(tensor: Tensor, nest: LoopNest) -> Tensor:
    """The elements as ``[chunks, rows, width]``, without a copy."""
    sizes, pitches = (nest.chunks, nest.rows, nest.width), (nest.chunk_pitch, nest.row_pitch, 1)
    return tensor.detach().as_strided(sizes, pitches, tensor.storage_offset())
