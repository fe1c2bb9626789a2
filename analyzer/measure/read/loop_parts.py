"""What the compiled loops share: arrays at an address, the ranges of a part, joined results."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from analyzer.errors import AnalyzerWarning
from analyzer.measure.read import jobs
from analyzer.measure.read.compiling import compile_loop

__all__ = [
    "array_at",
    "compiled_loop",
    "extent",
    "increment",
    "merge_parts",
    "part_range",
    "part_ranges",
    "word_types",
]


def _pointer_type(context: Any, address: Any) -> Any:
    """An address as a pointer that Numba makes an array of."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), build


def _increment_type(context: Any, address: Any) -> Any:
    """Adds one to the int64 at an address and returns what it was: another for each thread."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(64)
        place = builder.inttoptr(args[0], integer.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(integer, 1), "acq_rel")

    return types.int64(types.int64), build


_pointer: Any = intrinsic(_pointer_type)
increment: Any = intrinsic(_increment_type)


@njit
def array_at(address, size, kind):  # type: ignore[no-untyped-def]  # pragma: no cover
    """An array over memory that begins at an address."""
    return carray(_pointer(address), (size,), kind)


@njit
def part_range(size, part, parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First and last of the numbers up to a size that one of some equal parts holds."""
    return size * part // parts, size * (part + 1) // parts


@njit
def part_ranges(job, part, by_rows):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First and last chunk, row and element of a row of one part.

    PyTorch divides a tensor among its threads in such ranges, so a thread mostly reads what it
    wrote and finds it in its cache.
    """
    parts, chunks, rows, width = job[jobs.PARTS], job[jobs.CHUNKS], job[jobs.ROWS], job[jobs.WIDTH]
    if chunks % parts == 0 or chunks >= 8 * parts:
        return part_range(chunks, part, parts), (0, rows), (0, width)
    if by_rows and (rows % parts == 0 or rows >= 8 * parts):
        return (0, chunks), part_range(rows, part, parts), (0, width)
    return (0, chunks), (0, rows), part_range(width, part, parts)


@njit
def extent(job, chunks, rows, places):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Elements from the first of the tensor to the last of a part."""
    return (chunks[1] - 1) * job[jobs.CHUNK_PITCH] + (rows[1] - 1) * job[jobs.ROW_PITCH] + places[1]


@njit
def merge_parts(address, size):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds up the results of all parts in those of the first, if this part is the last to end.

    Each part has left its results and some counts, ``size`` in all. A least magnitude of 0 says
    that the part holds zeros only.
    """
    parts = array_at(address, jobs.HEAD, np.int64)[jobs.PARTS]
    if increment(address + 8 * jobs.DONE) < parts - 1:
        return
    results = array_at(address + 8 * jobs.HEAD, parts * size, np.int64)
    for part in range(1, parts):
        other = results[part * size : (part + 1) * size]
        results[jobs.NONZEROS] += other[jobs.NONZEROS]
        results[jobs.NEGATIVES] += other[jobs.NEGATIVES]
        results[jobs.PEAK] = max(results[jobs.PEAK], other[jobs.PEAK])
        least, before = other[jobs.LEAST], results[jobs.LEAST]
        if least and (not before or least < before):
            results[jobs.LEAST] = least
        for i in range(jobs.FOUND, size):
            results[i] += other[i]


def compiled_loop(loop: Callable[[int], None], name: str) -> int | None:
    """The address of a loop; None, with a warning, where it can't be compiled."""
    try:
        return compile_loop(loop, name)
    except Exception as error:  # whatever a compiler may stumble over on some machine
        warnings.warn(
            f"a loop that reads tensors can't be compiled ({type(error).__name__}: {error}), so "
            "PyTorch's operations read them, which is slower and counts the same.",
            AnalyzerWarning,
            stacklevel=2,
        )
        return None


def word_types(width: int) -> tuple[Any, Any]:
    """The type of words of some bytes, and one that can count a block of them."""
    word: Any = np.dtype(f"u{width}").type
    return word, word if width > 1 else np.uint32
