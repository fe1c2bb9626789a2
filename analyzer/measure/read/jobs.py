"""What a compiled loop is told to read, and what it finds: a job.

A job is a row of int64 with the fields below, followed by the results of each part. It is an array
of ctypes, as NumPy takes longer to tell where an array lies than a loop takes to read a small
tensor.
"""

from __future__ import annotations

import ctypes

__all__ = ["Job", "empty_job"]

Job = ctypes.Array[ctypes.c_int64]

CLAIMED, DONE, PARTS = 0, 1, 2
"""Fields of a job: parts that a thread has begun, parts that are done, and how many there are."""

DATA = 3
"""Field of a job: the address of the first element."""

CHUNKS, ROWS, WIDTH, CHUNK_PITCH, ROW_PITCH = 4, 5, 6, 7, 8
"""Fields of a job: the sizes and pitches of a loop nest (see :class:`strides.LoopNest`)."""

TABLE = 9
"""Field of a job: the address of a table of counts."""

STEP = 10
"""Field of a job: the bits of a float64, what one level is worth."""

HEAD = 11
"""How many fields a job has; the results of the first part follow."""

NONZEROS, NEGATIVES, PEAK, LEAST = 0, 1, 2, 3
"""Results of a part: two counts, then the largest and the least magnitude that is not zero."""

FOUND = 4
"""How many results each part has; counts by chunk follow them where a loop keeps such counts."""

MOST = 2**31 - 1
"""What an int32 of a table counts up to."""

SIDE_BY_SIDE = 4096
"""Positions that are counted side by side at most: their counts stay in the fastest cache."""


def empty_job(results: int) -> Job:
    """A job with room for some results, all zero."""
    return (ctypes.c_int64 * (HEAD + results))()
