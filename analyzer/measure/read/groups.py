"""Counts the non-zeros of a tensor by groups along its named axes, in one pass over its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import EinopsError
from einops.parsing import ParsedExpression
from numpy.typing import NDArray
from torch import Tensor

from analyzer.measure.read import jobs
from analyzer.measure.read.openmp import address, parts_of, run, safe_in_forks
from analyzer.measure.read.plain import nonzero_mask
from analyzer.measure.read.readable import compiled, compiled_address, ordinary
from analyzer.measure.read.strides import extent

__all__ = ["STRUCTURAL", "Grouping", "axes_of", "grouping", "kept"]

STRUCTURAL = ("C", "D", "h", "d")

Array = NDArray[Any]


class _Axis(NamedTuple):
    """One named axis of a tensor.

    Attributes:
        size: Its length.
        stride: Elements from one of its entries to the next, in memory.
        cells: What each of its indices adds to the number of the cell.
    """

    size: int
    stride: int
    cells: Array


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """How to count tensors of one shape by groups.

    A cell is what is in one group of each axis of groups, such as the third range of channels in
    the first range of timesteps. Rows are counted position by position into one row of counts for
    each cell that the outer axes tell apart; :meth:`fold` adds the positions up.

    Attributes:
        elements: Number of elements of each group, by axis of groups.
        cells: Groups along each axis.
        axes: Number of axes to loop over.
        outer: Their sizes, their strides, where the numbers of each begin in what follows, and the
            row of counts that each index adds.
        width: Elements next to each other in memory that are counted side by side; 0 where there
            are none, so that PyTorch's operations must count.
        inner: What each of these adds to the number of the cell.
        rows: What each row of counts adds to it.
        shape: Of the tensor, with one axis for each name.
        groups: Axis of groups, the cell of each index, and the position in ``shape``, by named
            axis.
        folds: The group of each cell, where these are not the same.
    """

    elements: Mapping[str, Array]
    cells: tuple[int, ...]
    axes: int
    outer: Array
    width: int
    inner: Array
    rows: Array
    shape: tuple[int, ...]
    groups: tuple[tuple[str, Array, int], ...]
    folds: Mapping[str, Array]

    @safe_in_forks
    def count(self, tensor: Tensor) -> Array:
        """Non-zeros of a tensor, in a form that adds up and that :meth:`fold` reads.

        Raises:
            AnalyzerError: Where the tensor has no values to be read.
        """
        word = _WORDS.get(tensor.dtype)
        place = compiled_address(tensor, extent(tensor.shape, tensor.stride()))
        loops = compiled() if place and self.width else None
        loop = loops.count_by_cell(*word) if loops is not None and word is not None else None
        if loop is None:
            by_axis = self._by_torch(ordinary(tensor))
            return np.concatenate([np.zeros(0, np.int64), *by_axis.values()])
        parts = parts_of(tensor.nbytes)
        counts = np.zeros((parts, len(self.rows), self.width), np.int32)
        outer = self.outer
        job = jobs.empty_job(0)
        job[jobs.PARTS], job[jobs.TABLE] = parts, address(counts)
        nest = [self.axes, len(self.rows), self.width, address(outer), len(outer)]
        job[jobs.DATA : jobs.TABLE] = [place, *nest]
        run(loop, job)
        first: Array = counts[0]
        return first

    def fold(self, counts: Array) -> dict[str, Array]:
        """Non-zeros of each group, int64, by axis of groups."""
        if counts.ndim == 1:
            ends = np.cumsum([len(elements) for elements in self.elements.values()])
            return dict(zip(self.elements, np.split(counts, ends[:-1]), strict=True))
        sums = np.zeros(math.prod(self.cells), np.int64)
        np.add.at(sums, _summed([self.rows, self.inner]), counts)
        by_axis = sums.reshape(self.cells)
        axes = range(len(self.cells))
        return {
            name: self._folded(name, by_axis.sum(tuple(other for other in axes if other != at)))
            for at, name in enumerate(self.elements)
        }

    def _folded(self, name: str, cells: Array) -> Array:
        """Counts of groups from those of cells, where these are not the same."""
        fold = self.folds.get(name)
        if fold is None:
            return cells
        groups = np.zeros(len(self.elements[name]), np.int64)
        np.add.at(groups, fold, cells)
        return groups

    def _by_torch(self, tensor: Tensor) -> dict[str, Array]:
        """The same by PyTorch's operations."""
        mask = nonzero_mask(tensor).reshape(self.shape)
        sums: dict[str, Array] = {}
        for at_cell, name in enumerate(self.elements):
            counts = np.zeros(self.cells[at_cell], np.int64)
            members = {at: cells for axis, cells, at in self.groups if axis == name}
            dims = [at for at in range(len(self.shape)) if at not in members]
            left = mask.sum(dims).cpu().numpy() if dims else mask.cpu().numpy()
            np.add.at(counts, _summed([members[at] for at in sorted(members)]), left)
            sums[name] = self._folded(name, counts)
        return sums


def grouping(
    layout: str,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    sizes: Mapping[str, int],
    groups: Mapping[str, int],
) -> Grouping:
    """Plans how to count tensors of one shape.

    Raises:
        ValueError: Where the layout does not fit the shape.
    """
    named = _named(layout, shape, stride, sizes)
    names = list(named)
    cells: list[int] = []
    elements: dict[str, Array] = {}
    added: list[tuple[str, Array, int]] = []
    folds: dict[str, Array] = {}
    total = math.prod(shape)
    for axis, wanted in groups.items():
        members = kept(axis, names)
        if not members:
            continue
        lengths = [named[name][0] for name in members]
        by_position = _groups_of(axis, lengths, wanted)
        number = int(by_position.max()) + 1
        share = total // math.prod(lengths)
        elements[axis] = np.bincount(by_position.reshape(-1), minlength=number) * share
        parts = _additive(by_position)
        if parts is None:  # a cell for each position, as for ranges of heads times channels
            folds[axis] = by_position.reshape(-1)
            number = by_position.size
            pitch = [math.prod(lengths[at + 1 :]) for at in range(len(lengths))]
            parts = [np.arange(n) * step for n, step in zip(lengths, pitch, strict=True)]
        cells.append(number)
        for name, part in zip(members, parts, strict=True):
            added.append((axis, part, names.index(name)))
    pitches = [math.prod(cells[at + 1 :]) for at in range(len(cells))]
    pitch_of = dict(zip(elements, pitches, strict=True))
    by_name = {name: np.zeros(size, np.int64) for name, (size, _) in named.items()}
    for axis, part, at in added:
        by_name[names[at]] = part * pitch_of[axis]
    axes = [_Axis(*named[name], by_name[name]) for name in names]
    loops, outer, width, inner, rows = _loops(axes)
    return Grouping(
        elements, tuple(cells), loops, outer, width, inner, rows,
        tuple(axis.size for axis in axes), tuple(added), folds,
    )  # fmt: skip


@lru_cache(maxsize=256)
def axes_of(layout: str) -> tuple[str, ...]:
    """The names of all axes in a layout, those in parentheses too."""
    return tuple(layout.replace("(", " ").replace(")", " ").split())


def kept(axis: str, names: Sequence[str]) -> list[str]:
    """The named axes that are divided into groups along ``axis``, such as ``spatial``."""
    if axis == "temporal":
        return [n for n in names if n == "T"]
    if axis == "structural":
        return [n for n in names if n in STRUCTURAL]
    return ["H", "W"] if "H" in names and "W" in names else [n for n in names if n == "N"]


def _named(
    layout: str, shape: tuple[int, ...], stride: tuple[int, ...], sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Size and stride of each named axis."""
    try:
        parts = ParsedExpression(layout).composition
    except EinopsError as error:
        raise ValueError(str(error)) from None
    if len(parts) != len(shape):
        raise ValueError("another number of axes")
    named: dict[str, tuple[int, int]] = {}
    for members, size, step in zip(parts, shape, stride, strict=True):
        known = math.prod(sizes.get(name, 1) for name in members)
        unknown = [name for name in members if name not in sizes]
        if len(unknown) > 1 or known == 0 or size % known or (not unknown and size != known):
            raise ValueError("another size")
        lengths = [sizes.get(name, size // known) for name in members]
        for at, name in enumerate(members):
            named[name] = lengths[at], step * math.prod(lengths[at + 1 :])
    return named


def _groups_of(axis: str, lengths: list[int], number: int) -> Array:
    """The group of each position: ranges of a line, or windows of a map.

    Positions N make a map where they fill a square.
    """
    size = math.prod(lengths)
    side = math.isqrt(size)
    if axis == "spatial" and (len(lengths) == 2 or side * side == size):
        rows, columns = lengths if len(lengths) == 2 else (side, side)
        down, across = _ranges(rows, number), _ranges(columns, number)
        return _summed([down * (int(across.max()) + 1), across]).reshape(lengths)
    return _ranges(size, number).reshape(lengths)


def _ranges(size: int, number: int) -> Array:
    """The range that each position is in, of a number of ranges of about the same length."""
    parts = np.array_split(np.arange(size), min(number, size))
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _additive(groups: Array) -> list[Array] | None:
    """An array for each axis, whose sums are the groups; None where there are none such."""
    parts = []
    for axis in range(groups.ndim):
        index = tuple(slice(None) if at == axis else 0 for at in range(groups.ndim))
        parts.append(groups[index])
    return parts if np.array_equal(_summed(parts), groups) else None


def _summed(parts: list[Array]) -> Array:
    """The sums of one number of each array, with an axis for each array."""
    return reduce(np.add.outer, parts, np.zeros((), np.int64))


def _loops(axes: list[_Axis]) -> tuple[int, Array, int, Array, Array]:
    """Orders the axes as memory does; the innermost are counted side by side.

    Returns:
        ``axes``, ``outer``, ``width``, ``inner`` and ``rows`` of a :class:`Grouping`.
    """
    # An expanded axis has stride 0 and shows the same memory again and again: it comes outermost.
    order = sorted((a for a in axes if a.size > 1), key=lambda a: -(a.stride or math.inf))
    inner, width = np.zeros(1, np.int64), 1
    if order and order[-1].stride != 1:
        return 0, np.zeros(0, np.int64), 0, inner, inner
    while order and order[-1].stride == width and width * order[-1].size <= jobs.SIDE_BY_SIDE:
        axis = order.pop()
        inner = np.add.outer(axis.cells, inner).reshape(-1)
        width *= axis.size
    if order and width == 1:  # a single axis is longer than that
        axis = order.pop()
        inner, width = axis.cells, axis.size
    if math.prod(axis.size for axis in order) > jobs.MOST:
        width = 0
    distinct = [np.unique(axis.cells, return_inverse=True) for axis in order]
    rows = _summed([values for values, _ in distinct]).reshape(-1)
    # The number of a row is made up as that of a cell is: the last axis runs fastest.
    numbers = [len(values) for values, _ in distinct]
    steps = [row * math.prod(numbers[at + 1 :]) for at, (_, row) in enumerate(distinct)]
    sizes = [axis.size for axis in order]
    begins = [sum(sizes[:at]) for at in range(len(sizes))]
    figures = (*sizes, *(axis.stride for axis in order), *begins, *chain.from_iterable(steps))
    return len(order), np.array(figures, np.int64), width, inner, rows


_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WORDS: Mapping[torch.dtype, tuple[int, bool]] = MappingProxyType(
    {dtype: (dtype.itemsize, dtype in _FLOATS) for dtype in (*_FLOATS, *_WHOLE)}
)
"""Bytes of a word, and whether its first bit is a sign, which zero may have, too."""
