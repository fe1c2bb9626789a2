"""Statistics of a tensor in one pass: its non-zeros, where they are, and the magnitudes' range.

A tensor on a CPU is read by compiled loops, as words of a sign and a magnitude: for floats their
own bits. All others are read by PyTorch's operations, which give the same integers.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.facts.values import MAX_LEVEL
from analyzer.measure.read import jobs, plain
from analyzer.measure.read.openmp import parts_of, run
from analyzer.measure.read.readable import compiled, compiled_address, ordinary
from analyzer.measure.read.strides import LoopNest, loop_nest

__all__ = [
    "PreparedReader",
    "Statistics",
    "is_read_in_place",
    "level_sums",
    "prepared_reader",
    "read_statistics",
]

_SHORT = 64
"""Elements of a chunk for each part below which one thread counts it."""

Array = NDArray[Any]
Table = Array | jobs.Job | ctypes.Array[ctypes.c_int32]
"""Counts ``[chunks, inner]``, a job that holds those of chunks, or a table that a loop wrote."""

Words = tuple[int, Callable[[int], float]]
"""Bytes of a word, and what turns the word of a magnitude back into a number."""


class Statistics(NamedTuple):
    """What one pass over a tensor finds.

    Attributes:
        nonzeros: Number of elements that are not zero.
        negatives: Number of elements below zero.
        peak: Largest magnitude, exact; NaN or infinity where an element is.
        least: Smallest magnitude that is not zero; 0 where all are zero.
        nest: The loop nest.
        table: Non-zeros along the loop nest, as they were counted.
    """

    nonzeros: int
    negatives: int
    peak: float
    least: float
    nest: LoopNest
    table: Table

    def counts(self) -> Array:
        """Non-zeros as ``[steps, kept elements]``, int64."""
        return self.nest.fold(_counts(self.table, self.nest))


def read_statistics(tensor: Tensor, nest: LoopNest) -> Statistics:
    """Reads a tensor once.

    Args:
        tensor: Of any real dtype, not empty.
        nest: The loop nest of its shape and strides.

    Raises:
        AnalyzerError: Where it holds no values, or an integer whose magnitude fits no int64.
    """
    words = _WORDS.get(tensor.dtype)
    if words is None and tensor.is_floating_point():  # of 8 bits
        return read_statistics(ordinary(tensor).float(), nest)
    if not compiled_address(tensor, nest.extent):
        return _plain(tensor, nest)
    if words is None:
        # Its signs and magnitudes are no numbers any more, so nothing else may read them.
        tensor, words = _signs_and_magnitudes(tensor), (8, int)
    reader = _prepared(nest, words, tensor.nbytes)
    return _plain(tensor, nest) if reader is None else reader(tensor)


class PreparedReader(NamedTuple):
    """Reads tensors of one layout again and again: what is the same for all is prepared once.

    Made by :func:`prepared_reader`.

    Attributes:
        nest: The loop nest of their shape and strides.
        decode: Turns the word of a magnitude back into a number.
        job: What compiled code is to do.
    """

    nest: LoopNest
    decode: Callable[[int], float]
    job: _Prepared

    def __call__(self, tensor: Tensor) -> Statistics:
        """Reads a tensor of that layout."""
        nest, decode, prepared = self
        place = compiled_address(tensor, nest.extent)
        if not place:
            return _plain(tensor, nest)
        job, table = _run(prepared, nest, place)
        nonzeros, negatives, peak, least = job[jobs.HEAD : jobs.HEAD + jobs.FOUND]
        top = decode(peak)
        low = top if least == peak else decode(least)
        return Statistics(nonzeros, negatives, top, low, nest, table)


@lru_cache(maxsize=4096)
def prepared_reader(
    shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype,
    keep: tuple[int, ...], steps: int, reals: bool, threads: int,
) -> PreparedReader | None:  # fmt: skip
    """Prepares the reading of tensors of one layout; None where that takes a copy of each.

    Args:
        shape: Their shape.
        stride: Their strides.
        dtype: Their dtype.
        keep: Axes along which to count apart.
        steps: Timesteps outermost in the first axis.
        reals: Whether they count as reals whatever they hold, mostly without a zero: then only the
            number of non-zeros and the largest magnitude are found, which is quicker.
        threads: How many threads PyTorch has now, which decides in how many parts they are read.
    """
    nest = loop_nest(shape, stride, () if reals else keep, steps)
    words = _WORDS.get(dtype)
    if nest is None or words is None:
        return None
    size = shape.numel() * dtype.itemsize
    return _prepared(nest, words, size, reals=reals and nest.inner == 1)


def is_read_in_place(dtype: torch.dtype) -> bool:
    """Whether tensors of a dtype are read where they are, not converted to another dtype first."""
    return dtype in _WORDS


def level_sums(
    tensor: Tensor, nest: LoopNest, step: float, epsilon: float
) -> tuple[Array, float | None]:
    """Sums absolute levels, the multiples of a step, over what a loop nest sums.

    Args:
        tensor: Of any real dtype, finite, with at most 255 levels.
        nest: The loop nest of its shape and strides.
        step: What one level is worth.
        epsilon: Relative rounding that each element may carry.

    Returns:
        Sums ``[chunks, inner]``, and the first magnitude that is no multiple of the step: the sums
        mean nothing if there is one.
    """
    place = compiled_address(tensor, nest.extent) if tensor.dtype is torch.float32 else 0
    prepared = _job(nest, "levels", 4, parts_of(tensor.nbytes)) if place else None
    if prepared is not None:
        job, table = _run(prepared, nest, place, step)
        if not job[jobs.HEAD + jobs.NONZEROS]:  # each element is its level times the step, rounded
            return _counts(table, nest), None
    sums, other = plain.level_sums(ordinary(tensor), nest, step, epsilon)
    return sums.cpu().numpy(), other


class _Prepared(NamedTuple):
    """What compiled code is to do for all tensors of a layout.

    Attributes:
        loop: The address of the loop.
        kind: The type of its job.
        fields: The job without the address of a tensor.
        table: The type of its table, None where it has none.
    """

    loop: int
    kind: type[jobs.Job]
    fields: bytes
    table: type[ctypes.Array[ctypes.c_int32]] | None


def _prepared(
    nest: LoopNest, words: Words, size: int, *, reals: bool = False
) -> PreparedReader | None:
    """Reads tensors of some bytes along a loop nest; None where no compiled loop can."""
    width, decode = words
    job = _job(nest, "reals" if reals else "all", width, parts_of(size))
    return None if job is None else PreparedReader(nest, decode, job)


@lru_cache(maxsize=1024)
def _job(nest: LoopNest, what: str, width: int, parts: int) -> _Prepared | None:
    """What compiled code is to do for a loop nest; None where it can't."""
    loops = compiled()
    if loops is None:
        return None
    levels = what == "levels"
    chunks, rows, places, chunk_pitch, row_pitch, inner, *_ = nest
    results = jobs.FOUND
    table = None
    if inner == 1:
        results += chunks
        if rows * places < _SHORT * parts:
            parts = 1  # adding up the counts of all parts would take as long as counting
        loop = loops.sum_levels(False) if levels else loops.count_by_chunk(width, what == "reals")
    else:
        folds = _folds(rows, inner) if row_pitch == inner else 1
        rows, places, row_pitch = rows // folds, inner * folds, row_pitch * folds
        table = ctypes.c_int32 * (chunks * places)
        if rows * (MAX_LEVEL if levels else 1) > jobs.MOST:
            return None
        loop = loops.sum_levels(True) if levels else loops.count_by_position(width)
    if loop is None:
        return None
    job = jobs.empty_job(parts * results)
    job[jobs.PARTS] = parts
    job[jobs.CHUNKS : jobs.ROW_PITCH + 1] = [chunks, rows, places, chunk_pitch, row_pitch]
    return _Prepared(loop, type(job), bytes(job), table)


def _run(
    prepared: _Prepared, nest: LoopNest, place: int, step: float = 0.0
) -> tuple[jobs.Job, Table]:
    """Runs a job on the elements at an address."""
    loop, kind, fields, has_table = prepared
    job = kind.from_buffer_copy(fields)
    job[jobs.DATA] = place
    if step:
        (job[jobs.STEP],) = struct.unpack("q", struct.pack("d", step))
    if has_table is None:
        run(loop, job)
        return job, job
    table = has_table()
    job[jobs.TABLE] = ctypes.addressof(table)
    run(loop, job)
    if len(table) == nest.chunks * nest.inner:
        return job, table
    return job, _counts(table, nest)  # it may be as wide as the tensor, and this is kept


def _counts(table: Table, nest: LoopNest) -> Array:
    """Counts ``[chunks, inner]``."""
    if isinstance(table, np.ndarray):
        return table
    counts: Array
    memory: Any = memoryview(table)
    if nest.inner == 1:
        counts = np.frombuffer(memory, np.int64, nest.chunks, 8 * (jobs.HEAD + jobs.FOUND))[:, None]
        return counts
    counts = np.frombuffer(memory, np.int32).reshape(nest.chunks, -1, nest.inner)
    # Several rows may have been counted side by side.
    return counts[:, 0] if counts.shape[1] == 1 else counts.sum(1, dtype=np.int64)


def _folds(rows: int, inner: int) -> int:
    """How many rows to count side by side, so that the innermost loop is long enough."""
    folds = 1
    while inner * folds * 2 <= jobs.SIDE_BY_SIDE and rows % (folds * 2) == 0:
        folds *= 2
    return folds


def _plain(tensor: Tensor, nest: LoopNest) -> Statistics:
    table, nonzeros, negatives, peak, least = plain.statistics(ordinary(tensor), nest)
    return Statistics(nonzeros, negatives, peak, least, nest, table.cpu().numpy())


def _signs_and_magnitudes(tensor: Tensor) -> Tensor:
    """Integers as words of a sign and a magnitude, in int64."""
    whole = plain.signed_integers(tensor)
    return whole.abs() ^ ((whole < 0).to(torch.int64) << 63)


_UINT32, _FLOAT32, _UINT64, _FLOAT64 = map(struct.Struct, "IfQd")


def _as_float32(word: int) -> float:
    (number,) = _FLOAT32.unpack(_UINT32.pack(word))
    return float(number)


def _as_bfloat16(word: int) -> float:
    return _as_float32(word << 16)


def _as_float16(word: int) -> float:
    return float(np.uint16(word).view(np.float16))


def _as_float64(word: int) -> float:
    (number,) = _FLOAT64.unpack(_UINT64.pack(word))
    return float(number)


_WORDS: Mapping[torch.dtype, Words] = MappingProxyType(
    {
        torch.float32: (4, _as_float32),
        torch.float64: (8, _as_float64),
        torch.float16: (2, _as_float16),
        torch.bfloat16: (2, _as_bfloat16),
        torch.bool: (1, int),
    }
)
