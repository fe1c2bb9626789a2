"""One pass over the elements of a tensor: how many are not zero, where, and how far they reach.

A tensor on a CPU is read as sign-magnitude words: for floats their own bits. Magnitudes of floats
are ordered like the floats, so comparing words finds the largest and the least magnitude, NaN and
infinity among them, at the speed of memory. Elsewhere the same is done in PyTorch's operations.
"""

from __future__ import annotations

import math
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
from analyzer.measure.form import Form, as_walked, form

__all__ = ["Census", "census", "compiled", "is_full", "level_sums", "nonzeros"]

_FOLD = 4096

Array = NDArray[Any]


class Census(NamedTuple):
    """What one pass found.

    Attributes:
        counts: Non-zeros, int32 or int64 ``[chunks, inner]``.
        nonzeros: Their sum.
        negatives: How many elements are below zero.
        peak: Largest magnitude, exact; NaN or infinity where an element is.
        least: Smallest magnitude that is not zero; 0 where all are zero.
    """

    counts: Array
    nonzeros: int
    negatives: int
    peak: float
    least: float


def census(tensor: Tensor, walk: Form) -> Census:
    """Counts the non-zeros of ``[chunks, rows, width]``, and much beside, in one pass.

    Args:
        tensor: Of any real dtype, not empty.
        walk: How to walk through it.
    """
    if tensor.device.type != "cpu":
        return _on_device(as_walked(tensor, walk), walk.inner)
    words = _WORDS.get(tensor.dtype)
    if words is None and tensor.is_floating_point():  # of 8 bits
        return census(tensor.float(), walk)
    digits, decode = words or (8, int)
    tensor = tensor if words else _as_words(tensor)
    by_position, by_chunk, _ = compiled().kernels(digits)
    chunks, rows, width, chunk_pitch, row_pitch, inner, *_ = walk
    if inner == 1:
        counts: Array = np.empty((chunks, 1), np.int64)
        found = by_chunk(tensor.data_ptr(), rows, width, chunk_pitch, row_pitch, counts)
    else:
        folds = _folds(rows, inner) if row_pitch == inner else 1
        wide = np.zeros((chunks, inner * folds), np.int32)
        found = by_position(tensor.data_ptr(), rows // folds, chunk_pitch, row_pitch * folds, wide)
        counts = wide
        if folds > 1:
            counts = wide.reshape(chunks, folds, inner).sum(1, dtype=np.int64)
    nonzeros, negatives, peak, least = found
    if not nonzeros:
        return Census(counts, 0, 0, 0.0, 0.0)
    largest = decode(peak)
    smallest = largest if least == peak else decode(least)
    return Census(counts, nonzeros, negatives, largest, smallest)


def nonzeros(tensor: Tensor, walk: Form) -> tuple[Array, float]:
    """Non-zeros per chunk, int64 ``[chunks, 1]``, and the largest magnitude: all that reals need.

    Args:
        tensor: Of any real dtype, not empty.
        walk: How to walk through it, no inner elements kept apart.
    """
    words = _WORDS.get(tensor.dtype)
    if tensor.device.type != "cpu" or words is None:
        found = census(tensor, walk)
        return found.counts, found.peak
    counts = np.empty((walk.chunks, 1), np.int64)
    address, pitches = tensor.data_ptr(), (walk.chunk_pitch, walk.row_pitch)
    peak = compiled().kernels(words[0])[2](address, walk.rows, walk.width, *pitches, counts)
    return counts, words[1](peak)


def is_full(tensor: Tensor) -> bool:
    """Whether no element is zero, infinite or NaN; False too where that takes more than a look."""
    walk = form(tensor.shape, tensor.stride(), ())
    if walk is None or tensor.device.type != "cpu" or tensor.is_neg():
        return False
    counts, peak = nonzeros(tensor, walk)
    return int(counts.sum()) == tensor.numel() and math.isfinite(peak)


def level_sums(
    tensor: Tensor, walk: Form, step: float, epsilon: float
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
    values = as_walked(tensor, walk).reshape(-1)
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
    if flat.dtype != np.float32 or not loops.whole_levels(shaped, sums, np.float32(step)):
        sums = np.zeros((chunks, inner * folds))
        odd = loops.levels(shaped, sums, step, epsilon)
    folded = sums.reshape(chunks, folds, inner).sum(1).astype(np.int64)
    return folded, None if odd < 0 else float(abs(flat[odd]))


@cache
def compiled() -> ModuleType:
    """The compiled loops: their compiler loads when something is first read, not before."""
    return import_module("analyzer.measure.kernels")


def _as_words(tensor: Tensor) -> Tensor:
    """Integers as signs and magnitudes, in int64 that must be read as words, not as numbers."""
    whole = tensor.to(torch.int64)
    lowest = torch.iinfo(torch.int64).min
    if bool((whole == lowest).any()):
        raise AnalyzerError(f"an integer is {lowest}, whose magnitude fits no integer.")
    return whole.abs() ^ ((whole < 0).to(torch.int64) << 63)


@lru_cache(maxsize=1024)
def _as_float32(word: int) -> float:
    return float(np.uint32(word).view(np.float32))


def _as_bfloat16(word: int) -> float:
    return _as_float32(word << 16)


def _as_float16(word: int) -> float:
    return float(np.uint16(word).view(np.float16))


def _as_float64(word: int) -> float:
    return float(np.uint64(word).view(np.float64))


_WORDS: Mapping[torch.dtype, tuple[int, Callable[[int], float]]] = MappingProxyType(
    {
        torch.float32: (4, _as_float32),
        torch.float64: (8, _as_float64),
        torch.float16: (2, _as_float16),
        torch.bfloat16: (2, _as_bfloat16),
        torch.bool: (1, int),
    }
)
"""Bytes of a word, and what turns the word of a magnitude back into a number."""


def _folds(rows: int, inner: int) -> int:
    """How many rows to count side by side, so that the innermost loop is long enough."""
    folds = 1
    while inner * folds * 2 <= _FOLD and rows % (folds * 2) == 0:
        folds *= 2
    return folds


def _on_device(walked: Tensor, inner: int) -> Census:
    counts = (walked != 0).sum(1) if inner > 1 else (walked != 0).sum((1, 2))[:, None]
    size = walked.abs() if walked.dtype != torch.bool else walked.to(torch.uint8)
    top = float("inf") if size.is_floating_point() else torch.iinfo(size.dtype).max
    figures = (counts.sum(), (walked < 0).sum(), size.amax(), size.where(size != 0, top).amin())
    nonzeros, negatives, peak, least = (x.item() for x in figures)
    return Census(
        counts.cpu().numpy(), int(nonzeros), int(negatives), peak, least if nonzeros else 0.0
    )
