"""Non-zeros of a tensor by groups along its named axes, in one pass over its memory."""

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

from analyzer.measure.read.openmp import address, parts_of, run
from analyzer.measure.read.statistics import compiled

__all__ = ["STRUCTURAL", "Grouping", "axes_of", "grouping", "kept"]

STRUCTURAL = ("C", "D", "h", "d")

_LONGEST = 4096
"""Positions that are counted side by side at most: their counts stay in the fastest cache."""

Array = NDArray[Any]


class _Axis(NamedTuple):
    """One named axis of a tensor: how long it is, where its elements lie, and in which groups."""

    size: int
    stride: int
    ids: Array


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """How to count one kind of tensor by groups.

    Attributes:
        elements: Of each group, by axis of groups.
        cells: Groups along each axis; a cell is what lies in one group of each.
        axes: How many axes to loop over.
        outer: Their sizes, strides, where the rows of each begin in what follows, and the row of
            counts that each index adds.
        width: Elements next to each other that are counted side by side; 0 where the memory of
            the tensor has none, so that PyTorch must count.
        inner: The cell that each of these adds.
        rows: The cell that each row of counts adds.
        shape: Of the tensor with one axis a name.
        groups: The cell of each element along each of these.
        folds: The group of each cell, where a group is no cell.
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

    def count(self, tensor: Tensor) -> Array:
        """Non-zeros of a tensor, in a form that adds up and that :meth:`fold` reads."""
        word = _WORDS.get(tensor.dtype)
        plain = tensor.device.type == "cpu" and not tensor.is_neg()
        if not self.width or word is None or not plain:
            return np.concatenate([np.zeros(0, np.int64), *self._by_torch(tensor).values()])
        parts = parts_of(tensor.nbytes)
        counts = np.zeros((parts, len(self.rows), self.width), np.int32)
        size = (self.axes, len(self.rows), self.width, address(self.outer), len(self.outer))
        order = np.array([0, 0, parts, tensor.data_ptr(), *size, address(counts)])
        run(compiled().by_cell(*word), order)
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
        """Groups of cells, where these are not one and the same."""
        fold = self.folds.get(name)
        if fold is None:
            return cells
        groups = np.zeros(len(self.elements[name]), np.int64)
        np.add.at(groups, fold, cells)
        return groups

    def _by_torch(self, tensor: Tensor) -> dict[str, Array]:
        mask = (tensor != 0).reshape(self.shape)
        sums: dict[str, Array] = {}
        for at_cell, name in enumerate(self.elements):
            found = np.zeros(self.cells[at_cell], np.int64)
            mine = [(at, ids) for axis, ids, at in self.groups if axis == name]
            dims = [at for at in range(len(self.shape)) if at not in {at for at, _ in mine}]
            left = mask.sum(dims).cpu().numpy() if dims else mask.cpu().numpy()
            places = _summed([ids for _, ids in sorted(mine, key=lambda pair: pair[0])])
            np.add.at(found, places, left)
            sums[name] = self._folded(name, found)
        return sums


def grouping(
    layout: str,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    sizes: Mapping[str, int],
    groups: Mapping[str, int],
) -> Grouping:
    """Plans how to count tensors of one shape.

    Args:
        layout: Names of the axes, in einops notation.
        shape: Of the tensor.
        stride: Of the tensor.
        sizes: Of axes whose size is known.
        groups: How many groups to make along ``temporal``, ``spatial`` and ``structural``.

    Raises:
        ValueError: Where the layout does not fit the shape.
    """
    named = _named(layout, shape, stride, sizes)
    names = list(named)
    found = {axis: kept(axis, names) for axis in groups}
    cells: list[int] = []
    elements: dict[str, Array] = {}
    ids: dict[str, Array] = {name: np.zeros(size, np.int64) for name, (size, _) in named.items()}
    of_axis: list[tuple[str, Array, int]] = []
    folds: dict[str, Array] = {}
    total = math.prod(shape)
    for axis, members in found.items():
        if not members:
            continue
        lengths = [named[name][0] for name in members]
        by_position = _groups_of(axis, lengths, groups[axis])
        number = int(by_position.max()) + 1
        share = total // math.prod(lengths)
        elements[axis] = np.bincount(by_position.reshape(-1), minlength=number) * share
        parts = _additive(by_position)
        if parts is None:  # a cell for each position, as the groups of heads times channels
            folds[axis] = by_position.reshape(-1)
            number = by_position.size
            pitch = [math.prod(lengths[at + 1 :]) for at in range(len(lengths))]
            parts = [np.arange(n) * step for n, step in zip(lengths, pitch, strict=True)]
        cells.append(number)
        for name, part in zip(members, parts, strict=True):
            of_axis.append((axis, part, names.index(name)))
    pitches = [math.prod(cells[at + 1 :]) for at in range(len(cells))]
    pitch_of = dict(zip(elements, pitches, strict=True))
    for axis, part, at in of_axis:
        ids[names[at]] = part * pitch_of[axis]
    axes = [_Axis(*named[name], ids[name]) for name in names]
    loops, outer, width, inner, rows = _walk(axes)
    return Grouping(
        elements, tuple(cells), loops, outer, width, inner, rows,
        tuple(axis.size for axis in axes), tuple(of_axis), folds,
    )  # fmt: skip


@lru_cache(maxsize=256)
def axes_of(layout: str) -> tuple[str, ...]:
    """The axes that a layout names, grouped ones too."""
    return tuple(layout.replace("(", " ").replace(")", " ").split())


def kept(axis: str, names: Sequence[str]) -> list[str]:
    """The named axes that groups along an axis are made of."""
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
    found: dict[str, tuple[int, int]] = {}
    for members, size, step in zip(parts, shape, stride, strict=True):
        known = math.prod(sizes.get(name, 1) for name in members)
        unknown = [name for name in members if name not in sizes]
        if len(unknown) > 1 or known == 0 or size % known or (not unknown and size != known):
            raise ValueError("another size")
        lengths = [sizes.get(name, size // known) for name in members]
        for at, name in enumerate(members):
            found[name] = lengths[at], step * math.prod(lengths[at + 1 :])
    return found


def _groups_of(axis: str, lengths: list[int], number: int) -> Array:
    """The group of each position: ranges of a line, or windows of a map (a square one for N)."""
    size = math.prod(lengths)
    side = math.isqrt(size)
    if axis == "spatial" and (len(lengths) == 2 or side * side == size):
        rows, columns = lengths if len(lengths) == 2 else (side, side)
        down, across = _ranges(rows, number), _ranges(columns, number)
        return _summed([down * (int(across.max()) + 1), across]).reshape(lengths)
    return _ranges(size, number).reshape(lengths)


def _ranges(size: int, number: int) -> Array:
    parts = np.array_split(np.arange(size), min(number, size))
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _additive(groups: Array) -> list[Array] | None:
    """One array an axis, which add up to the groups; None where none do."""
    parts = []
    for axis in range(groups.ndim):
        index = tuple(slice(None) if at == axis else 0 for at in range(groups.ndim))
        parts.append(groups[index])
    return parts if np.array_equal(_summed(parts), groups) else None


def _summed(parts: list[Array]) -> Array:
    """The sums of one figure of each, along an axis each."""
    return reduce(np.add.outer, parts, np.zeros((), np.int64))


def _walk(axes: list[_Axis]) -> tuple[int, Array, int, Array, Array]:
    """Orders the axes as memory does; what lies densest is counted side by side."""
    # An axis of stride 0, one that is expanded, shows the same memory again: outermost.
    order = sorted((a for a in axes if a.size > 1), key=lambda a: -(a.stride or math.inf))
    inner, width = np.zeros(1, np.int64), 1
    if order and order[-1].stride != 1:
        return 0, np.zeros(0, np.int64), 0, inner, inner
    while order and order[-1].stride == width and width * order[-1].size <= _LONGEST:
        axis = order.pop()
        inner = np.add.outer(axis.ids, inner).reshape(-1)
        width *= axis.size
    if order and width == 1:  # one axis, longer than may be
        axis = order.pop()
        inner, width = axis.ids, axis.size
    places = [np.unique(axis.ids, return_inverse=True) for axis in order]
    rows = _summed([values for values, _ in places]).reshape(-1)
    # The row of an index is made up as the cells of rows are: the last axis runs fastest.
    numbers = [len(values) for values, _ in places]
    steps = [row * math.prod(numbers[at + 1 :]) for at, (_, row) in enumerate(places)]
    sizes = [axis.size for axis in order]
    begins = [sum(sizes[:at]) for at in range(len(sizes))]
    figures = (*sizes, *(axis.stride for axis in order), *begins, *chain.from_iterable(steps))
    return len(order), np.array(figures, np.int64), width, inner, rows


_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WORDS: Mapping[torch.dtype, tuple[int, bool]] = MappingProxyType(
    {dtype: (dtype.itemsize, dtype in _FLOATS) for dtype in (*_FLOATS, *_WHOLE)}
)
"""Bytes of a word, and whether its first bit is a sign that zero may have."""
