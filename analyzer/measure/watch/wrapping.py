"""Functions of others that calls pass through while a model is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

__all__ = ["Wrapped", "Wrapping"]


class Wrapping(NamedTuple):
    """A function and what is called in its place.

    Attributes:
        owner: The class or module that has it.
        name: Its name there.
        wrap: From the function to what is called in its place, by any thread.
    """

    owner: Any
    name: str
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]]


class Wrapped:
    """A context in which some functions are wrapped.

    The first who enters it puts the wrappers in place, and the last to leave takes them out, so
    that watches in several threads share them.

    Args:
        wrappings: The functions.
    """

    def __init__(self, *wrappings: Wrapping) -> None:
        self._wrappings = wrappings
        self._lock = threading.Lock()
        self._users = 0
        self._wrappers: list[Callable[..., Any]] = []
        self._before: list[Any] = []

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            found = [getattr(owner, name) for owner, name, _ in self._wrappings]
            known = [getattr(wrapper, "__wrapped__", None) for wrapper in self._wrappers]
            if found != known:
                pairs = zip(self._wrappings, found, strict=True)
                self._wrappers = [wraps(f)(wrapping.wrap(f)) for wrapping, f in pairs]
            self._before = [vars(owner).get(name) for owner, name, _ in self._wrappings]
            for (owner, name, _), wrapper in zip(self._wrappings, self._wrappers, strict=True):
                setattr(owner, name, wrapper)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            placed = zip(self._wrappings, self._wrappers, self._before, strict=True)
            for (owner, name, _), wrapper, before in placed:
                if vars(owner).get(name) is not wrapper:
                    continue  # somebody wrapped the wrapper, which then stays beneath
                if before is None:  # inherited
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)
