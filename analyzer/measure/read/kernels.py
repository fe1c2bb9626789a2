"""Compiled loops over the elements of a tensor, at the speed of memory.

Loops whose names begin with ``by`` are C functions of one argument, the address of an
order: a row of int64 that says what to read and takes what is found. Any number of threads may run
one on the same order at once: each claims a part of its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import carray, cfunc, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from analyzer.measure.read.openmp import FOUND, HEAD

__all__ = [
    "by_cell",
    "by_chunk",
    "by_level",
    "by_position",
    "levels",
    "whole_levels",
]

_BLOCK = 1 << 14


def _pointer_type(context: Any, address: Any) -> Any:
    """An address as something that Numba can make an array of, without a NumPy array around it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), build


def _count_type(context: Any, address: Any) -> Any:
    """Adds one to the figure at an address; returns what it was, to each thread another."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        figure = ir.IntType(64)
        place = builder.inttoptr(args[0], figure.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(figure, 1), "acq_rel")

    return types.int64(types.int64), build


_pointer: Any = intrinsic(_pointer_type)
_counted: Any = intrinsic(_count_type)
_signature = types.void(types.int64)

# Every result is cast back to its type, or Numba would compute in 64 bits and fill half as many
# lanes. So the loops are told the type of a word, and one that can count the words of a block.


@njit(cache=True)
def _array(address, size, kind):  # type: ignore[no-untyped-def]  # pragma: no cover
    return carray(_pointer(address), (size,), kind)


@njit(cache=True)
def _range(size, part, parts):  # type: ignore[no-untyped-def]  # pragma: no cover
    return size * part // parts, size * (part + 1) // parts


@njit(cache=True)
def _share(head, part, by_rows):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First and last of the chunks, rows and elements of a row that are a part.

    PyTorch shares memory out to its threads in such stretches: mostly a thread reads what it wrote.
    """
    parts, chunks, rows, width = head[2], head[4], head[5], head[6]
    if chunks % parts == 0 or chunks >= 8 * parts:
        return _range(chunks, part, parts), (0, rows), (0, width)
    if by_rows and (rows % parts == 0 or rows >= 8 * parts):
        return (0, chunks), _range(rows, part, parts), (0, width)
    return (0, chunks), (0, rows), _range(width, part, parts)


@njit(cache=True)
def _look(block, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Non-zeros, negatives, largest magnitude, and the least, less one so that 0 comes last."""
    one, ones = word(1), word(~word(0))
    size = word(ones >> one)
    sign = word(ones - size)
    found, below, top, low = count(0), count(0), word(0), ones
    for i in range(block.shape[0]):
        magnitude = word(block[i] & size)
        found = count(found + count(magnitude != word(0)))
        below = count(below + count(block[i] > sign))
        top = word(magnitude if magnitude > top else top)
        before = word(magnitude - one)
        low = word(before if before < low else low)
    return found, below, top, low


# A loop waits for memory, and the fewer instructions an element takes, the more loads are under
# way meanwhile. So what is mostly there is looked for first: spikes of one size, or no zero.


@njit(cache=True)
def _look_for_spikes(block, spike, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """How many words are one given, if all others are 0; else -1."""
    spikes, zeros = count(0), count(0)
    for i in range(block.shape[0]):
        spikes = count(spikes + count(block[i] == spike))
        zeros = count(zeros + count(block[i] == word(0)))
    found = np.int64(spikes)
    return found if found + np.int64(zeros) == block.shape[0] else -1


@njit(cache=True)
def _look_at_reals(block, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Non-zeros and the largest magnitude."""
    one, ones = word(1), word(~word(0))
    top = word(0)
    for i in range(block.shape[0]):
        odd = word(word(block[i] + block[i]) - one)  # of zero it is the largest there is
        top = word(odd if odd > top else top)
    if top != ones:
        return block.shape[0], word(word(top >> one) + one)
    found, _, top, _ = _look(block, word, count)
    return np.int64(found), top


@njit(cache=True)
def _join(address, size):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The last part to be done adds up what all have found, in the place of the first.

    Each has left FOUND figures and some counts. A least magnitude of 0 stands for none.
    """
    parts = _array(address, HEAD, np.int64)[2]
    if _counted(address + 8) < parts - 1:
        return
    found = _array(address + 8 * HEAD, parts * size, np.int64)
    for part in range(1, parts):
        mine = found[part * size : (part + 1) * size]
        found[0] += mine[0]
        found[1] += mine[1]
        found[2] = max(found[2], mine[2])
        if mine[3] and (not found[3] or mine[3] < found[3]):
            found[3] = mine[3]
        for i in range(FOUND, size):
            found[i] += mine[i]


@njit(cache=True)
def _read_chunks(address, word, count, all_of_it):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts each chunk as a whole; the counts lie behind what was found.

    ``all_of_it`` is None where only non-zeros and the largest magnitude matter: by its type, the
    rest is never compiled.
    """
    head = _array(address, HEAD, np.int64)
    part, size = _counted(address), FOUND + head[4]
    mine = _array(address + 8 * (HEAD + part * size), size, np.int64)
    chunks, rows, places = _share(head, part, True)
    pitch, row_pitch = head[7], head[8]
    extent = (chunks[1] - 1) * pitch + (rows[1] - 1) * row_pitch + places[1]
    words = _array(head[3], extent, word)
    peak, least, negatives, nonzeros = word(0), word(~word(0)), 0, 0
    mine[FOUND:] = 0
    for chunk in range(chunks[0], chunks[1]):
        total = 0
        for row in range(rows[0], rows[1]):
            begin = chunk * pitch + row * row_pitch
            last = begin + places[1]
            for start in range(begin + places[0], last, _BLOCK):
                block = words[start : min(start + _BLOCK, last)]
                if all_of_it is None:
                    found, top = _look_at_reals(block, word, count)
                    total += found
                    peak = word(top if top > peak else peak)
                    continue
                if peak and peak == word(least + word(1)):
                    spikes = _look_for_spikes(block, peak, word, count)
                    if spikes >= 0:
                        total += spikes
                        continue
                some, below, top, low = _look(block, word, count)
                total += some
                negatives += below
                peak = word(top if top > peak else peak)
                least = word(low if low < least else least)
        mine[FOUND + chunk] = total
        nonzeros += total
    mine[0], mine[1], mine[2], mine[3] = nonzeros, negatives, peak, word(least + word(1))
    _join(address, size)


@njit(cache=True)
def _read_levels(address, kind):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Adds up levels by chunk; counts elements that are not their level times the step, rounded.

    Where there is one, sums may be anything: it may be NaN, or too large for an int32.
    """
    step = kind(_array(address + 8 * 9, 1, np.float64)[0])
    head = _array(address, HEAD, np.int64)
    part, size = _counted(address), FOUND + head[4]
    mine = _array(address + 8 * (HEAD + part * size), size, np.int64)
    chunks, rows, places = _share(head, part, True)
    pitch, row_pitch = head[7], head[8]
    extent = (chunks[1] - 1) * pitch + (rows[1] - 1) * row_pitch + places[1]
    values = _array(head[3], extent, kind)
    mine[:] = 0
    for chunk in range(chunks[0], chunks[1]):
        for row in range(rows[0], rows[1]):
            begin = chunk * pitch + row * row_pitch
            last = begin + places[1]
            for start in range(begin + places[0], last, _BLOCK):
                block = values[start : min(start + _BLOCK, last)]
                total, odd = np.int32(0), np.int32(0)
                for i in range(block.shape[0]):
                    value = kind(abs(block[i]))
                    level = np.int32(kind(value / step) + kind(0.5))
                    total = np.int32(total + level)
                    odd = np.int32(odd + np.int32(kind(kind(level) * step) != value))
                mine[FOUND + chunk] += total
                mine[0] += odd
    _join(address, size)


@njit(cache=True)
def _read_positions(address, word, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts the positions of a row apart, in one int32 table of all parts."""
    head = _array(address, HEAD, np.int64)
    part = _counted(address)
    mine = _array(address + 8 * (HEAD + part * FOUND), FOUND, np.int64)
    chunks, rows, places = _share(head, part, False)
    width, pitch, row_pitch = head[6], head[7], head[8]
    extent = (chunks[1] - 1) * pitch + (rows[1] - 1) * row_pitch + places[1]
    words = _array(head[3], extent, word)
    table = _array(head[9], head[4] * width, np.int32)
    one, ones = word(1), word(~word(0))
    size = word(ones >> one)
    sign = word(ones - size)
    peak, least, negatives, nonzeros = word(0), ones, 0, 0
    for chunk in range(chunks[0], chunks[1]):
        for row in range(rows[0], rows[1]):
            begin = chunk * pitch + row * row_pitch
            for start in range(places[0], places[1], _BLOCK):
                stop = min(start + _BLOCK, places[1])
                block = words[begin + start : begin + stop]
                found = table[chunk * width + start : chunk * width + stop]
                below, top, low = count(0), word(0), ones
                for i in range(block.shape[0]):
                    magnitude = word(block[i] & size)
                    found[i] += np.int32(magnitude != word(0))
                    below = count(below + count(block[i] > sign))
                    top = word(magnitude if magnitude > top else top)
                    before = word(magnitude - one)
                    low = word(before if before < low else low)
                negatives += below
                peak = word(top if top > peak else peak)
                least = word(low if low < least else least)
        for i in range(chunk * width + places[0], chunk * width + places[1]):
            nonzeros += table[i]
    mine[0], mine[1], mine[2], mine[3] = nonzeros, negatives, peak, word(least + one)
    _join(address, FOUND)


@njit(cache=True)
def _read_cells(address, word, mask):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Counts the positions of rows apart, rows that fall into one cell together, in int32."""
    head = _array(address, HEAD, np.int64)
    part, parts = _counted(address), head[2]
    axes, cells, width = head[4], head[5], head[6]
    outer = _array(head[7], head[8], np.int64)
    sizes, strides = outer[:axes], outer[axes : 2 * axes]
    begins, ids = outer[2 * axes : 3 * axes], outer[3 * axes :]
    total, extent = 1, width
    for axis in range(axes):
        total *= sizes[axis]
        extent += (sizes[axis] - 1) * strides[axis]
    rows, places = (0, total), (0, width)
    if total >= parts:
        rows = _range(total, part, parts)
    else:
        places = _range(width, part, parts)
    words = _array(head[3], extent, word)
    size = cells * width
    table = _array(head[9], parts * size, np.int32)
    mine = table[part * size : (part + 1) * size]
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
        found = mine[cell * width + places[0] : cell * width + places[1]]
        for i in range(block.shape[0]):
            found[i] += np.int32(word(block[i] & mask) != word(0))
        for back in range(axes):
            axis = axes - 1 - back
            index[axis] += 1
            if index[axis] < sizes[axis]:
                break
            index[axis] = 0
    if _counted(address + 8) == parts - 1:  # the last part adds up all tables in the first
        for other in range(1, parts):
            theirs = table[other * size : (other + 1) * size]
            for i in range(size):
                table[i] += theirs[i]


@cache
def by_chunk(width: int, reals: bool) -> int:
    """The loop that counts each chunk of a walk as a whole; chunks lie behind the figures found.

    Args:
        width: Bytes of a word.
        reals: Whether only non-zeros and the largest magnitude matter, which is quicker.

    Returns:
        Its address, as the others do. All are compiled once and kept on disk.
    """
    word, count = _types(width)
    all_of_it = None if reals else True

    def loop(order):  # type: ignore[no-untyped-def]  # pragma: no cover
        _read_chunks(order, word, count, all_of_it)

    return _address(loop)


@cache
def by_level() -> int:
    """As :func:`by_chunk`, of the levels of float32; their step stands in place of a table.

    What it finds is how many elements are no level.
    """
    kind = np.float32

    def loop(order):  # type: ignore[no-untyped-def]  # pragma: no cover
        _read_levels(order, kind)

    return _address(loop)


@cache
def by_position(width: int) -> int:
    """The loop that counts the positions of a row apart, into a table ``[chunks, width]``."""
    word, count = _types(width)

    def loop(order):  # type: ignore[no-untyped-def]  # pragma: no cover
        _read_positions(order, word, count)

    return _address(loop)


@cache
def by_cell(width: int, signed: bool) -> int:
    """The loop that counts positions apart by cells, into a table ``[parts, cells, width]``.

    Its order says in place of a walk: axes, cells, width, address and size of a row of sizes of
    the axes, pitches, where the cells of each begin in what follows, and the cell each index adds.

    Args:
        width: Bytes of a word.
        signed: Whether its first bit is a sign, of zero too.
    """
    word, _ = _types(width)
    mask = word(2 ** (8 * width - signed) - 1)

    def loop(order):  # type: ignore[no-untyped-def]  # pragma: no cover
        _read_cells(order, word, mask)

    return _address(loop)


def _address(loop: Any) -> int:
    """Where a loop lies when it is compiled.

    Numba keeps it on disk only where it closes over plain types, not over other functions.
    """
    address: Any = cfunc(_signature, cache=True)(loop).address
    return int(address)


def _types(width: int) -> tuple[Any, Any]:
    """The type of words of some bytes, and one that counts a block of them."""
    word: Any = np.dtype(f"u{width}").type
    return word, word if width > 1 else np.uint32


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
