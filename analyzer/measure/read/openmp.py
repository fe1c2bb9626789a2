"""Runs a compiled loop on the OpenMP threads that PyTorch's own operations run on.

A tensor that was just written is in the caches of the cores that wrote it. The same threads, each
reading its own part, read it several times faster than one thread could. Threads of a second pool
would compete with PyTorch's for the cores, so the loop runs as a parallel region of the OpenMP
library that PyTorch has loaded. Where that isn't possible, one thread reads.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from numpy.typing import NDArray

from analyzer.measure.read import jobs

__all__ = ["address", "parts_of", "run", "safe_in_forks"]

_LEAST = 1 << 17
"""Fewer bytes are read by one thread: to start a parallel region takes microseconds."""

P = ParamSpec("P")
R = TypeVar("R")
_Region = Callable[[int, int, int, int], None]


def parts_of(size: int) -> int:
    """In how many parts to read a number of bytes.

    Either as many as PyTorch has threads, or one: OpenMP ends the threads that a smaller region
    doesn't need, and PyTorch's next operation would have to start them again.
    """
    if size < _LEAST or _region() is None:
        return 1
    return torch.get_num_threads()


def run(loop: int, job: jobs.Job) -> None:
    """Runs a loop of :mod:`analyzer.measure.read.kernels` until all parts of a job are done."""
    place, parts = ctypes.addressof(job), job[jobs.PARTS]
    region = _region() if parts > 1 else None
    if region is not None:
        region(loop, place, parts, 0)
    # Without a region nothing is read yet, and a region may get fewer threads than it asks for.
    while job[jobs.CLAIMED] < parts:
        _function(loop)(place)


def address(array: NDArray[Any]) -> int:
    """The address of the first element of an array."""
    place: int = array.__array_interface__["data"][0]
    return place


class _Forks:
    """Knows whether this process is a fork of the one that loaded this module."""

    def __init__(self) -> None:
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        self.forked = True


_FORKS = _Forks()


def safe_in_forks(function: Callable[P, R]) -> Callable[P, R]:
    """Lets PyTorch's operations in a function run in one thread where this process is a fork.

    A fork has none of its parent's threads, and GNU's OpenMP would wait for them for ever.
    """

    @wraps(function)
    def safe(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _FORKS.forked:
            return function(*args, **kwargs)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return safe


def _region() -> _Region | None:
    """The function that starts a parallel region, None where there is none to be used."""
    return None if _FORKS.forked else _library()


@cache
def _library() -> _Region | None:
    """The function that starts a parallel region in the OpenMP library that PyTorch loaded."""
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:  # not on Linux
        return None
    loaded = set(re.findall(r"/\S*lib(?:gomp|iomp5|omp)\b\S*\.so\S*", maps))
    home = Path(torch.__file__).parent
    own = [path for path in loaded if home in Path(path).parents] or list(loaded)
    if len(own) != 1:
        return None
    try:
        # Only a library that is loaded: a second copy would start a pool of its own.
        region: Any = ctypes.CDLL(own[0], mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
    except (OSError, AttributeError):
        return None
    region.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    region.restype = None
    call: _Region = region
    return call


@cache
def _function(loop: int) -> Callable[[int], None]:
    """A loop as a Python function, which lets other Python threads run meanwhile."""
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(loop)
