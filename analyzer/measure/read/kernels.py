"""Compiled loops over the elements of a tensor, which run at the speed of memory.

A loop is a C function of one argument, the address of a job (see :mod:`jobs`). Any number of
threads may run it on the same job at once: each call claims one part of the job, reads it, and
writes its results behind the fields of the job. The call that ends last adds up the results of all
parts in the place of the first.

Elements are read as words, unsigned integers of the same size. The first bit of a word is the sign
and the rest is the magnitude: floats have that form, and magnitudes of floats are ordered as the
words are, infinity and NaN last.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from analyzer.measure.read import jobs
from analyzer.measure.read.loop_parts import (
    array_at,
    compiled_loop,
    extent,
    increment,
    merge_parts,
    part_range,
    part_ranges,
    word_types,
)

__all__ = ["count_by_cell", "count_by_chunk", "count_by_position", "sum_levels"]

_BLOCK = 1 << 14
"""Elements that are read before narrow counters are added to wide ones. A counter of words of 16
bits counts up to 65,535, and 255 levels of each element of a block fit an int32."""

_AXES, _CELLS, _OUTER, _OUTER_SIZE = 4, 5, 7, 8
"""Fields of a job that counts by cells, in place of those of a loop nest."""


# Every result is cast back to the type of its operands. Numba would widen it to 64 bits, and a
# vector register then holds half as many elements, or an eighth. So the functions are given the
# type of a word, and a type that can count the words of a block.


@njit
def _block_statistics(block, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Non-zeros, negatives, largest magnitude, and the least one less one.

    Less one, the magnitude 0 becomes the largest word, so the minimum passes over zeros.
    """
    one, ones = word(1), word(~word(0))
    magnitudes = word(ones >> one)
    negative_zero = word(ones - magnitudes)
    nonzeros, negatives, peak, least = count(0), count(0), word(0), ones
    for i in range(block.shape[0]):
        magnitude = word(block[i] & magnitudes)
        nonzeros = count(nonzeros + count(magnitude != word(0)))
        negatives = count(negatives + count(block[i] > negative_zero))
        peak = word(magnitude if magnitude > peak else peak)
        before = word(magnitude - one)
        least = word(before if before < least else least)
    return nonzeros, negatives, peak, least


# A loop waits for memory: the fewer instructions it has for an element, the more loads are under
# way at once. So the two common contents of a block are tried first, with fewer instructions:
# zeros and spikes of one size, and numbers of which none is zero.


@njit
def _count_spikes(block, spike, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """How many words equal a given one if all others are 0; -1 if there is another."""
    spikes, zeros = count(0), count(0)
    for i in range(block.shape[0]):
        spikes = count(spikes + count(block[i] == spike))
        zeros = count(zeros + count(block[i] == word(0)))
    number = np.int64(spikes)
    return number if number + np.int64(zeros) == block.shape[0] else -1


@njit
def _nonzeros_and_peak(block, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Non-zeros and the largest magnitude."""
    one, ones = word(1), word(~word(0))
    peak = word(0)
    for i in range(block.shape[0]):
        # Twice a word loses the sign; less one, a zero of either sign is the largest word.
        shifted = word(word(block[i] + block[i]) - one)
        peak = word(shifted if shifted > peak else peak)
    if peak != ones:
        return block.shape[0], word(word(peak >> one) + one)
    nonzeros, _, peak, _ = _block_statistics(block, word, count)
    return np.int64(nonzeros), peak


@njit
def _count_chunks(address, word, count, all_of_it):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts each chunk as a whole, in int64 behind the results.

    ``all_of_it`` is None where only non-zeros and the largest magnitude are asked for: None is a
    type of its own, so Numba leaves the other branch out.
    """
    job = array_at(address, jobs.HEAD, np.int64)
    part, size = increment(address + 8 * jobs.CLAIMED), jobs.FOUND + job[jobs.CHUNKS]
    results = array_at(address + 8 * (jobs.HEAD + part * size), size, np.int64)
    chunks, rows, places = part_ranges(job, part, True)
    words = array_at(job[jobs.DATA], extent(job, chunks, rows, places), word)
    peak, least, negatives, nonzeros = word(0), word(~word(0)), 0, 0
    results[jobs.FOUND :] = 0
    for chunk in range(chunks[0], chunks[1]):
        in_chunk = 0
        for row in range(rows[0], rows[1]):
            begin = chunk * job[jobs.CHUNK_PITCH] + row * job[jobs.ROW_PITCH]
            last = begin + places[1]
            for start in range(begin + places[0], last, _BLOCK):
                block = words[start : min(start + _BLOCK, last)]
                if all_of_it is None:
                    some, top = _nonzeros_and_peak(block, word, count)
                    in_chunk += some
                    peak = word(top if top > peak else peak)
                    continue
                if peak and peak == word(least + word(1)):  # so far all spikes had one size
                    spikes = _count_spikes(block, peak, word, count)
                    if spikes >= 0:
                        in_chunk += spikes
                        continue
                some, below, top, low = _block_statistics(block, word, count)
                in_chunk += some
                negatives += below
                peak = word(top if top > peak else peak)
                least = word(low if low < least else least)
        results[jobs.FOUND + chunk] = in_chunk
        nonzeros += in_chunk
    results[jobs.NONZEROS], results[jobs.NEGATIVES] = nonzeros, negatives
    results[jobs.PEAK], results[jobs.LEAST] = peak, word(least + word(1))
    merge_parts(address, size)


@njit
def _sum_levels(address, kind):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds up levels by chunk; counts elements that are no level times the step, rounded.

    The sums mean nothing where there is one: it may be NaN, or its level too large for an int32.
    """
    step = kind(array_at(address + 8 * jobs.STEP, 1, np.float64)[0])
    job = array_at(address, jobs.HEAD, np.int64)
    part, size = increment(address + 8 * jobs.CLAIMED), jobs.FOUND + job[jobs.CHUNKS]
    results = array_at(address + 8 * (jobs.HEAD + part * size), size, np.int64)
    chunks, rows, places = part_ranges(job, part, True)
    values = array_at(job[jobs.DATA], extent(job, chunks, rows, places), kind)
    results[:] = 0
    for chunk in range(chunks[0], chunks[1]):
        for row in range(rows[0], rows[1]):
            begin = chunk * job[jobs.CHUNK_PITCH] + row * job[jobs.ROW_PITCH]
            last = begin + places[1]
            for start in range(begin + places[0], last, _BLOCK):
                block = values[start : min(start + _BLOCK, last)]
                total, others = np.int32(0), np.int32(0)
                for i in range(block.shape[0]):
                    value = kind(abs(block[i]))
                    level = np.int32(kind(value / step) + kind(0.5))
                    total = np.int32(total + level)
                    others = np.int32(others + np.int32(kind(kind(level) * step) != value))
                results[jobs.FOUND + chunk] += total
                results[jobs.NONZEROS] += others
    merge_parts(address, size)


@njit
def _sum_levels_by_position(address, kind):  # type: ignore[no-untyped-def]  # pragma: no cover
    """As ``_sum_levels``, for each position of a row, in an int32 table of all parts.

    The caller sees to it that the levels of all rows of a chunk fit an int32.
    """
    step = kind(array_at(address + 8 * jobs.STEP, 1, np.float64)[0])
    job = array_at(address, jobs.HEAD, np.int64)
    part = increment(address + 8 * jobs.CLAIMED)
    results = array_at(address + 8 * (jobs.HEAD + part * jobs.FOUND), jobs.FOUND, np.int64)
    chunks, rows, places = part_ranges(job, part, False)  # no two parts share a place in the table
    width = job[jobs.WIDTH]
    values = array_at(job[jobs.DATA], extent(job, chunks, rows, places), kind)
    table = array_at(job[jobs.TABLE], job[jobs.CHUNKS] * width, np.int32)
    results[:] = 0
    for chunk in range(chunks[0], chunks[1]):
        for row in range(rows[0], rows[1]):
            begin = chunk * job[jobs.CHUNK_PITCH] + row * job[jobs.ROW_PITCH]
            for start in range(places[0], places[1], _BLOCK):
                stop = min(start + _BLOCK, places[1])
                block = values[begin + start : begin + stop]
                sums = table[chunk * width + start : chunk * width + stop]
                others = np.int32(0)
                for i in range(block.shape[0]):
                    value = kind(abs(block[i]))
                    level = np.int32(kind(value / step) + kind(0.5))
                    sums[i] += level
                    others = np.int32(others + np.int32(kind(kind(level) * step) != value))
                results[jobs.NONZEROS] += others
    merge_parts(address, jobs.FOUND)


@njit
def _count_positions(address, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts each position of a row over all rows of a chunk, in an int32 table of all parts.

    An int32 is as wide as a float32, so one instruction handles as many of both. The caller sees
    to it that a chunk has fewer than 2^31 rows.
    """
    job = array_at(address, jobs.HEAD, np.int64)
    part = increment(address + 8 * jobs.CLAIMED)
    results = array_at(address + 8 * (jobs.HEAD + part * jobs.FOUND), jobs.FOUND, np.int64)
    chunks, rows, places = part_ranges(job, part, False)  # no two parts share a place in the table
    width = job[jobs.WIDTH]
    words = array_at(job[jobs.DATA], extent(job, chunks, rows, places), word)
    table = array_at(job[jobs.TABLE], job[jobs.CHUNKS] * width, np.int32)
    one, ones = word(1), word(~word(0))
    magnitudes = word(ones >> one)
    negative_zero = word(ones - magnitudes)
    peak, least, negatives, nonzeros = word(0), ones, 0, 0
    for chunk in range(chunks[0], chunks[1]):
        for row in range(rows[0], rows[1]):
            begin = chunk * job[jobs.CHUNK_PITCH] + row * job[jobs.ROW_PITCH]
            for start in range(places[0], places[1], _BLOCK):
                stop = min(start + _BLOCK, places[1])
                block = words[begin + start : begin + stop]
                counts = table[chunk * width + start : chunk * width + stop]
                below, top, low = count(0), word(0), ones
                for i in range(block.shape[0]):
                    magnitude = word(block[i] & magnitudes)
                    counts[i] += np.int32(magnitude != word(0))
                    below = count(below + count(block[i] > negative_zero))
                    top = word(magnitude if magnitude > top else top)
                    before = word(magnitude - one)
                    low = word(before if before < low else low)
                negatives += below
                peak = word(top if top > peak else peak)
                least = word(low if low < least else least)
        for i in range(chunk * width + places[0], chunk * width + places[1]):
            nonzeros += table[i]
    results[jobs.NONZEROS], results[jobs.NEGATIVES] = nonzeros, negatives
    results[jobs.PEAK], results[jobs.LEAST] = peak, word(least + one)
    merge_parts(address, jobs.FOUND)


@njit
def _count_cells(address, word, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts each position of a row, rows of one cell together, in an int32 table for each part.

    The caller sees to it that there are fewer than 2^31 rows.
    """
    job = array_at(address, jobs.HEAD, np.int64)
    part, parts = increment(address + 8 * jobs.CLAIMED), job[jobs.PARTS]
    axes, cells, width = job[_AXES], job[_CELLS], job[jobs.WIDTH]
    outer = array_at(job[_OUTER], job[_OUTER_SIZE], np.int64)
    sizes, strides = outer[:axes], outer[axes : 2 * axes]
    begins, ids = outer[2 * axes : 3 * axes], outer[3 * axes :]
    total, span = 1, width
    for axis in range(axes):
        total *= sizes[axis]
        span += (sizes[axis] - 1) * strides[axis]
    rows, places = (0, total), (0, width)
    if total >= parts:
        rows = part_range(total, part, parts)
    else:
        places = part_range(width, part, parts)
    words = array_at(job[jobs.DATA], span, word)
    size = cells * width
    table = array_at(job[jobs.TABLE], parts * size, np.int32)
    counts = table[part * size : (part + 1) * size]
    # The index of the first row along each axis; below it is counted up as an odometer is.
    index = np.zeros(axes, np.int64)
    left = rows[0]
    for back in range(axes):
        axis = axes - 1 - back
        index[axis] = left % sizes[axis]
        left //= sizes[axis]
    for _ in range(rows[0], rows[1]):
        start, cell = 0, 0
        for axis in range(axes):
            start += index[axis] * strides[axis]
            cell += ids[begins[axis] + index[axis]]
        block = words[start + places[0] : start + places[1]]
        in_cell = counts[cell * width + places[0] : cell * width + places[1]]
        for i in range(block.shape[0]):
            in_cell[i] += np.int32(word(block[i] & mask) != word(0))
        for back in range(axes):
            axis = axes - 1 - back
            index[axis] += 1
            if index[axis] < sizes[axis]:
                break
            index[axis] = 0
    if increment(address + 8 * jobs.DONE) == parts - 1:  # the last part to end adds up all tables
        for other in range(1, parts):
            theirs = table[other * size : (other + 1) * size]
            for i in range(size):
                table[i] += theirs[i]


@cache
def count_by_chunk(width: int, reals: bool) -> int | None:
    """The loop that counts each chunk of a loop nest as a whole, behind the results.

    Args:
        width: Bytes of a word.
        reals: Whether only non-zeros and the largest magnitude matter, which is quicker.

    Returns:
        Its address, None where it can't be compiled; so do the other functions here.
    """
    word, count = word_types(width)
    all_of_it = None if reals else True

    def loop(job):  # type: ignore[no-untyped-def]  # pragma: no cover
        _count_chunks(job, word, count, all_of_it)

    return compiled_loop(loop, f"chunk-{width}-{'reals' if reals else 'all'}")


@cache
def sum_levels(by_position: bool) -> int | None:
    """The loop that sums levels of float32, whose first result is how many are no level.

    Args:
        by_position: Whether to sum as :func:`count_by_position` counts, or as
            :func:`count_by_chunk`.
    """
    kind = np.float32

    def by_position_loop(job):  # type: ignore[no-untyped-def]  # pragma: no cover
        _sum_levels_by_position(job, kind)

    def by_chunk_loop(job):  # type: ignore[no-untyped-def]  # pragma: no cover
        _sum_levels(job, kind)

    if by_position:
        return compiled_loop(by_position_loop, "levels-position")
    return compiled_loop(by_chunk_loop, "levels-chunk")


@cache
def count_by_position(width: int) -> int | None:
    """The loop that counts each position of a row, into an int32 table ``[chunks, width]``."""
    word, count = word_types(width)

    def loop(job):  # type: ignore[no-untyped-def]  # pragma: no cover
        _count_positions(job, word, count)

    return compiled_loop(loop, f"position-{width}")


@cache
def count_by_cell(width: int, signed: bool) -> int | None:
    """The loop that counts positions by cells, into an int32 table ``[parts, cells, width]``.

    In place of a loop nest its job holds: number of axes, cells, width, address and length of an
    int64 array with the sizes of the axes, their strides, where the cells of each axis begin in
    what follows, and the cell that each index along each axis adds.

    Args:
        width: Bytes of a word.
        signed: Whether the first bit is a sign, which zero may have, too.
    """
    word, _ = word_types(width)
    mask = word(2 ** (8 * width - signed) - 1)

    def loop(job):  # type: ignore[no-untyped-def]  # pragma: no cover
        _count_cells(job, word, mask)

    return compiled_loop(loop, f"cell-{width}-{'signed' if signed else 'unsigned'}")
