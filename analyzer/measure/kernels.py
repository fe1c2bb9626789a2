"""Compiled loops over the elements of a tensor, at the speed of memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

__all__ = ["cells", "kernels", "levels", "whole_levels"]

_BLOCK = 1 << 14


def _pointer_type(context: Any, address: Any) -> Any:
    """An address as something that Numba can make an array of, without a NumPy array around it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), build


_pointer: Any = intrinsic(_pointer_type)


@cache
def kernels(width: int) -> tuple[Any, Any, Any]:
    """The loops for words of some bytes, compiled once and kept on disk.

    Every result is cast back to its type, or Numba would compute in 64 bits and fill half as many
    lanes. Counts of a block fit a word, but for single bytes.
    """
    word: Any = np.dtype(f"u{width}").type
    digits = 8 * width
    count: Any = word if digits > 8 else np.uint32
    zero, one, ones = word(0), word(1), word(2**digits - 1)
    sign, size = word(2 ** (digits - 1)), word(2 ** (digits - 1) - 1)

    @njit(nogil=True, cache=True)
    def by_position(address, rows, chunk_pitch, row_pitch, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
        chunks, width = counts.shape
        extent = (chunks - 1) * chunk_pitch + (rows - 1) * row_pitch + width
        words = carray(_pointer(address), (extent,), word)
        peak, least, negatives, nonzeros = zero, ones, 0, 0
        for chunk in range(chunks):
            for row in range(rows):
                begin = chunk * chunk_pitch + row * row_pitch
                for start in range(0, width, _BLOCK):
                    stop = min(start + _BLOCK, width)
                    block = words[begin + start : begin + stop]
                    found = counts[chunk, start:stop]
                    below, top, low = count(0), zero, ones
                    for i in range(block.shape[0]):
                        magnitude = word(block[i] & size)
                        found[i] += np.int32(magnitude != zero)
                        below = count(below + count(block[i] > sign))
                        top = word(magnitude if magnitude > top else top)
                        before = word(magnitude - one)
                        low = word(before if before < low else low)
                    negatives += below
                    peak = word(top if top > peak else peak)
                    least = word(low if low < least else least)
            for i in range(width):
                nonzeros += counts[chunk, i]
        return nonzeros, negatives, peak, word(least + one)

    @njit(nogil=True, cache=True)
    def by_chunk(address, rows, width, chunk_pitch, row_pitch, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
        chunks = counts.shape[0]
        extent = (chunks - 1) * chunk_pitch + (rows - 1) * row_pitch + width
        words = carray(_pointer(address), (extent,), word)
        peak, least, negatives, nonzeros = zero, ones, 0, 0
        for chunk in range(chunks):
            total = 0
            for row in range(rows):
                begin = chunk * chunk_pitch + row * row_pitch
                for start in range(begin, begin + width, _BLOCK):
                    block = words[start : min(start + _BLOCK, begin + width)]
                    found, below, top, low = count(0), count(0), zero, ones
                    for i in range(block.shape[0]):
                        magnitude = word(block[i] & size)
                        found = count(found + count(magnitude != zero))
                        below = count(below + count(block[i] > sign))
                        top = word(magnitude if magnitude > top else top)
                        before = word(magnitude - one)
                        low = word(before if before < low else low)
                    total += found
                    negatives += below
                    peak = word(top if top > peak else peak)
                    least = word(low if low < least else least)
            counts[chunk, 0] = total
            nonzeros += total
        return nonzeros, negatives, peak, word(least + one)

    @njit(nogil=True, cache=True)
    def of_reals(address, rows, width, chunk_pitch, row_pitch, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
        chunks = counts.shape[0]
        extent = (chunks - 1) * chunk_pitch + (rows - 1) * row_pitch + width
        words = carray(_pointer(address), (extent,), word)
        peak = zero
        for chunk in range(chunks):
            total = 0
            for row in range(rows):
                begin = chunk * chunk_pitch + row * row_pitch
                for start in range(begin, begin + width, _BLOCK):
                    block = words[start : min(start + _BLOCK, begin + width)]
                    found, top = count(0), zero
                    for i in range(block.shape[0]):
                        magnitude = word(block[i] & size)
                        found = count(found + count(magnitude != zero))
                        top = word(magnitude if magnitude > top else top)
                    total += found
                    peak = word(top if top > peak else peak)
            counts[chunk, 0] = total
        return peak

    return by_position, by_chunk, of_reals


@cache
def cells(width: int, signed: bool) -> Any:
    """The loop that counts non-zeros side by side, a row of counts for each cell of outer axes.

    Args:
        width: Bytes of a word.
        signed: Whether its first bit is a sign, of zero too.
    """
    word: Any = np.dtype(f"u{width}").type
    mask, zero = word(2 ** (8 * width - signed) - 1), word(0)

    @njit(nogil=True, cache=True)
    def by_cell(address, sizes, strides, ids, begins, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
        axes, width = len(sizes), counts.shape[1]
        extent, rows = width, 1
        for axis in range(axes):
            extent += (sizes[axis] - 1) * strides[axis]
            rows *= sizes[axis]
        words = carray(_pointer(address), (extent,), word)
        index = np.zeros(axes, np.int64)
        for _ in range(rows):
            start, cell = 0, 0
            for axis in range(axes):
                start += index[axis] * strides[axis]
                cell += ids[begins[axis] + index[axis]]
            block, found = words[start : start + width], counts[cell]
            for i in range(width):
                found[i] += np.int32(word(block[i] & mask) != zero)
            for back in range(axes):
                axis = axes - 1 - back
                index[axis] += 1
                if index[axis] < sizes[axis]:
                    break
                index[axis] = 0

    return by_cell


@njit(nogil=True, cache=True)
def whole_levels(values, sums, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds up levels in float32, if each value is its level times the step, rounded."""
    for chunk in range(values.shape[0]):
        for row in range(values.shape[1]):
            block, total, odd = values[chunk, row], sums[chunk], np.int32(0)
            for i in range(block.shape[0]):
                value = np.float32(abs(block[i]))
                level = np.int32(np.float32(value / step) + np.float32(0.5))
                total[i] += level
                odd = np.int32(odd + np.int32(np.float32(np.float32(level) * step) != value))
            if odd:
                return False
    return True


@njit(nogil=True, cache=True)
def levels(values, sums, step, epsilon):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds up levels; returns where the first element lies that has none, or -1."""
    loose = 2 * epsilon + 1e-15
    for chunk in range(values.shape[0]):
        for row in range(values.shape[1]):
            block, total, odd = values[chunk, row], sums[chunk], 0
            for i in range(block.shape[0]):
                level = np.float64(abs(block[i])) / step
                nearest = np.rint(level)
                # Rounding may not blur neighbouring levels, as it would for many in bfloat16.
                odd += abs(level - nearest) > min(nearest * loose, 1 / 16)
                total[i] += nearest
            if odd:
                for i in range(block.shape[0]):
                    level = np.float64(abs(block[i])) / step
                    nearest = np.rint(level)
                    if abs(level - nearest) > min(nearest * loose, 1 / 16):
                        return (chunk * values.shape[1] + row) * values.shape[2] + i
    return -1
