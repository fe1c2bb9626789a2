"""Runs a compiled loop on the threads that PyTorch's own operations run on.

What an operation wrote lies in the caches of the cores that wrote it. One thread reads it at the
speed of memory; the same threads, each its own part, read it several times faster and leave it
where the next operation looks for it. Threads of a second pool would fight with PyTorch's for the
cores, so the loop runs as a parallel region of the OpenMP library that PyTorch loaded.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FOUND", "HEAD", "address", "parts_of", "run"]

HEAD = 10
"""Figures that begin an order: parts claimed, parts done, parts, address of the words, five of a
walk (chunks, rows, width, pitch of chunks, pitch of rows) or of axes, address of a table."""

FOUND = 4
"""Figures behind them: non-zeros, negatives, largest and least magnitude, of all parts together."""

_LEAST = 1 << 17
"""Fewer bytes are read by one thread: a region takes microseconds to open."""

_Region = Callable[[int, int, int, int], None]


def parts_of(size: int) -> int:
    """In how many parts to read some bytes.

    As many as PyTorch has threads, or one: OpenMP ends threads that a smaller region leaves out,
    and PyTorch's next operation would have to start them again.
    """
    if size < _LEAST or _region() is None:
        return 1
    return torch.get_num_threads()


def run(loop: int, order: NDArray[np.int64]) -> None:
    """Runs a loop of :mod:`analyzer.measure.read.kernels`, all parts of its order.

    Args:
        loop: Its address.
        order: What to read, its third figure the number of parts.
    """
    place, parts = address(order), int(order[2])
    region = _region() if parts > 1 else None
    if region is not None:
        region(loop, place, parts, 0)
    while order[0] < parts:  # a region may get fewer threads than it asks for
        _function(loop)(place)


def address(array: NDArray[Any]) -> int:
    """Where the elements of an array begin."""
    place: int = array.__array_interface__["data"][0]
    return place


@cache
def _region() -> _Region | None:
    """Opens a parallel region in PyTorch's OpenMP library; None where none can be found."""
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:  # not on Linux
        return None
    found = set(re.findall(r"/\S*lib(?:gomp|iomp5|omp)\b\S*\.so\S*", maps))
    home = Path(torch.__file__).parent
    own = [path for path in found if home in Path(path).parents] or list(found)
    if len(own) != 1:
        return None
    try:
        region: Any = ctypes.CDLL(own[0]).GOMP_parallel
    except (OSError, AttributeError):
        return None
    region.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    region.restype = None
    call: _Region = region
    return call


@cache
def _function(loop: int) -> Callable[[int], None]:
    """A loop as something to call; other threads run meanwhile."""
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(loop)
