"""One pass over the elements of a tensor: how many are not zero, where, and how far they reach.

A tensor on a CPU is read as sign-magnitude words: for floats their own bits. Magnitudes of floats
are ordered like the floats, so comparing words finds the largest and the least magnitude, NaN and
infinity among them, at the speed of memory. Elsewhere the same is done in PyTorch's operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.read.openmp import FOUND, HEAD, address, parts_of, run
from analyzer.measure.read.strides import LoopNest, as_looped, loop_nest

__all__ = [
    "PreparedReader",
    "Statistics",
    "TensorLayout",
    "compiled",
    "is_read_as_it_lies",
    "level_sums",
    "read_statistics",
]

_FOLD = 4096
_SHORT = 64
"""Elements of a chunk, a part, below which one thread counts it."""

Array = NDArray[Any]
Words = tuple[int, Callable[[int], float]]
"""Bytes of a word, and what turns the word of a magnitude back into a number."""


class Statistics(NamedTuple):
    """What one pass found.

    Attributes:
        table: Non-zeros as they were counted, ``[chunks, inner]``.
        walk: How the tensor was walked through.
        nonzeros: Their sum.
        negatives: How many elements are below zero.
        peak: Largest magnitude, exact; NaN or infinity where an element is.
        least: Smallest magnitude that is not zero; 0 where all are zero.
    """

    table: Array
    walk: LoopNest
    nonzeros: int
    negatives: int
    peak: float
    least: float

    def counts(self) -> Array:
        """Non-zeros as ``[steps, kept elements]``, int64."""
        return self.walk.fold(self.table)


def read_statistics(tensor: Tensor, walk: LoopNest) -> Statistics:
    """Counts the non-zeros of ``[chunks, rows, width]``, and much beside, in one pass.

    Args:
        tensor: Of any real dtype, not empty.
        walk: How to walk through it.
    """
    if tensor.device.type != "cpu":
        return _on_device(tensor, walk)
    words = _WORDS.get(tensor.dtype)
    if words is None and tensor.is_floating_point():  # of 8 bits
        return read_statistics(tensor.float(), walk)
    tensor = tensor if words else _as_words(tensor)
    return PreparedReader(walk, words or (8, int), tensor.nbytes)(tensor)


class PreparedReader:
    """Reads tensors that lie in memory as one did: what is alike is made once.

    Args:
        walk: How to walk through them.
        words: Bytes of a word, and what decodes one.
        size: Bytes of them.
        reals: Whether neither signs nor the least magnitude matter, which is quicker; for walks
            that keep no inner elements apart.
    """

    __slots__ = ("_decode", "_loop", "_order", "_table", "_walk")

    def __init__(self, walk: LoopNest, words: Words, size: int, *, reals: bool = False) -> None:
        digits, self._decode = words
        what = "reals" if reals else "all"
        self._loop, self._order, self._table = _order(walk, what, digits, parts_of(size))
        self._walk = walk

    def __call__(self, tensor: Tensor) -> Statistics:
        """What is in a tensor."""
        order = self._order.copy()
        order[3] = tensor.data_ptr()
        if self._table is not None:
            table: Array = np.zeros(self._table, np.int32)
            order[9] = address(table)
        run(self._loop, order)
        nonzeros, negatives, peak, least = order[HEAD : HEAD + FOUND].tolist()
        if self._table is None:
            table = order[HEAD + FOUND : HEAD + FOUND + self._walk.chunks, None]
        elif table.shape[1] != self._walk.inner:  # as wide as the tensor, it may be
            table = table.reshape(self._walk.chunks, -1, self._walk.inner).sum(1, dtype=np.int64)
        top = self._decode(peak)
        low = top if least == peak else self._decode(least)
        return Statistics(table, self._walk, nonzeros, negatives, top, low)


class TensorLayout(NamedTuple):
    """How a tensor lies in memory.

    Attributes:
        shape: Its shape.
        stride: Its strides.
        dtype: Its dtype.
        readable: Whether its elements are all that is to be read.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    readable: bool

    @classmethod
    def of(cls, tensor: Tensor) -> TensorLayout:
        """That of a tensor."""
        readable = tensor.device.type == "cpu" and not tensor.is_neg() and tensor.numel() > 0
        return cls(tensor.shape, tensor.stride(), tensor.dtype, readable)

    def stand(self) -> Tensor:
        """A tensor that lies so and holds nothing."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")

    def look(self, keep: tuple[int, ...], steps: int, *, reals: bool) -> PreparedReader | None:
        """How to read tensors that lie so; None where each takes more than a look.

        Args:
            keep: Axes along which to count apart.
            steps: Timesteps along the first axis.
            reals: Whether they will count as reals, mostly without a zero: then counted as a whole.
        """
        walk = loop_nest(self.shape, self.stride, () if reals else keep, steps)
        words = _WORDS.get(self.dtype)
        if walk is None or words is None or not self.readable:
            return None
        size = self.shape.numel() * self.dtype.itemsize
        return PreparedReader(walk, words, size, reals=reals and walk.inner == 1)

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor of the same shape lies so, too."""
        same = tensor.stride() == self.stride and tensor.dtype is self.dtype
        return same and tensor.is_cpu and not tensor.is_neg()


def is_read_as_it_lies(dtype: torch.dtype) -> bool:
    """Whether tensors of a dtype are read as they lie, not turned into another first."""
    return dtype in _WORDS


def level_sums(
    tensor: Tensor, walk: LoopNest, step: float, epsilon: float
) -> tuple[Array, float | None]:
    """Sums absolute levels, the multiples of a step, over what a walk sums.

    Args:
        tensor: Of any real dtype.
        walk: How to walk through it.
        step: What one level is worth.
        epsilon: Relative rounding that each element may carry.

    Returns:
        int64 ``[chunks, inner]``, and the first magnitude that is no multiple of the step: the sums
        mean nothing if there is one.
    """
    whole = tensor.dtype == torch.float32
    if walk.inner == 1 and tensor.dtype == torch.float32 and tensor.device.type == "cpu":
        loop, template, _ = _order(walk, "levels", 4, parts_of(tensor.nbytes))
        order = template.copy()
        order[3] = tensor.data_ptr()
        order[9:10].view(np.float64)[0] = step
        run(loop, order)
        whole = not order[HEAD]  # none is odd
        if whole:
            return order[HEAD + FOUND : HEAD + FOUND + walk.chunks, None], None
    values = as_looped(tensor, walk).reshape(-1)
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.float()
    elif not values.is_floating_point():
        values = values.double()
    flat = values.cpu().numpy()
    chunks, inner = walk.chunks, walk.inner
    rows = len(flat) // (chunks * inner)
    folds = _folds(rows, inner)
    shaped = flat.reshape(chunks, rows // folds, inner * folds)
    sums: Array = np.zeros((chunks, inner * folds), np.int32)
    odd = -1
    loops = compiled()
    if not (whole and loops.whole_levels(shaped, sums, np.float32(step))):
        sums = np.zeros((chunks, inner * folds))
        odd = loops.levels(shaped, sums, step, epsilon)
    folded = sums.reshape(chunks, folds, inner).sum(1).astype(np.int64)
    return folded, None if odd < 0 else float(abs(flat[odd]))


@cache
def compiled() -> ModuleType:
    """The compiled loops: their compiler loads when something is first read, not before."""
    return import_module("analyzer.measure.read.kernels")


def _as_words(tensor: Tensor) -> Tensor:
    """Integers as signs and magnitudes, in int64 that must be read as words, not as numbers."""
    whole = tensor.to(torch.int64)
    lowest = torch.iinfo(torch.int64).min
    if bool((whole == lowest).any()):
        raise AnalyzerError(f"an integer is {lowest}, whose magnitude fits no integer.")
    return whole.abs() ^ ((whole < 0).to(torch.int64) << 63)


@lru_cache(maxsize=1024)
def _order(
    walk: LoopNest, what: str, digits: int, parts: int
) -> tuple[int, NDArray[np.int64], tuple[int, int] | None]:
    """The loop for a walk, all that its order says of each tensor, and the size of its table."""
    chunks, rows, width, chunk_pitch, row_pitch, inner, *_ = walk
    loops = compiled()
    behind = FOUND
    table = None
    if inner == 1:
        behind += chunks
        if rows * width < _SHORT * parts:
            parts = 1  # the counts of all parts are as much work
        loop = loops.by_level() if what == "levels" else loops.by_chunk(digits, what == "reals")
    else:
        folds = _folds(rows, inner) if row_pitch == inner else 1
        rows, width, row_pitch = rows // folds, inner * folds, row_pitch * folds
        table = chunks, width
        loop = loops.by_position(digits)
    order = np.zeros(HEAD + parts * behind, np.int64)
    order[2], order[4:9] = parts, (chunks, rows, width, chunk_pitch, row_pitch)
    return loop, order, table


@lru_cache(maxsize=1024)
def _as_float32(word: int) -> float:
    return float(np.uint32(word).view(np.float32))


def _as_bfloat16(word: int) -> float:
    return _as_float32(word << 16)


def _as_float16(word: int) -> float:
    return float(np.uint16(word).view(np.float16))


def _as_float64(word: int) -> float:
    return float(np.uint64(word).view(np.float64))


_WORDS: Mapping[torch.dtype, Words] = MappingProxyType(
    {
        torch.float32: (4, _as_float32),
        torch.float64: (8, _as_float64),
        torch.float16: (2, _as_float16),
        torch.bfloat16: (2, _as_bfloat16),
        torch.bool: (1, int),
    }
)


def _folds(rows: int, inner: int) -> int:
    """How many rows to count side by side, so that the innermost loop is long enough."""
    folds = 1
    while inner * folds * 2 <= _FOLD and rows % (folds * 2) == 0:
        folds *= 2
    return folds


def _on_device(tensor: Tensor, walk: LoopNest) -> Statistics:
    walked = as_looped(tensor, walk)
    counts = (walked != 0).sum(1) if walk.inner > 1 else (walked != 0).sum((1, 2))[:, None]
    size = walked.abs() if walked.dtype != torch.bool else walked.to(torch.uint8)
    top = float("inf") if size.is_floating_point() else torch.iinfo(size.dtype).max
    figures = (counts.sum(), (walked < 0).sum(), size.amax(), size.where(size != 0, top).amin())
    nonzeros, negatives, peak, least = (x.item() for x in figures)
    return Statistics(
        counts.cpu().numpy(), walk, int(nonzeros), int(negatives), peak, least if nonzeros else 0.0
    )
