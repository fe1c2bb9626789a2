"""Functions of others that calls pass through while a model is watched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from analyzer.measure.undoing import Held

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
    """Some functions that are wrapped as long as anybody wants it.

    The first to want it puts the wrappers in place, and the last to leave takes them out, so that
    watches in several threads share them.
    """

    def __init__(self, *wrappings: Wrapping) -> None:
        self._wrappings = wrappings
        self._lock = threading.RLock()
        self._users: set[Held] = set()
        self._wrappers: list[Callable[..., Any]] = []
        self._placed: list[tuple[Wrapping, Callable[..., Any], Any]] = []

    def held(self) -> Held:
        """A block in which the functions are wrapped."""
        return Held(self)

    def enter(self, user: Held) -> None:
        """Somebody wants them wrapped."""
        with self._lock:
            first = not self._users
            self._users.add(user)
            if not first:
                return
            self._take_out()  # what an interrupt may have left
            found = [getattr(owner, name) for owner, name, _ in self._wrappings]
            known = [getattr(wrapper, "__wrapped__", None) for wrapper in self._wrappers]
            if found != known:
                pairs = zip(self._wrappings, found, strict=True)
                self._wrappers = [wraps(f)(wrapping.wrap(f)) for wrapping, f in pairs]
            for wrapping, wrapper in zip(self._wrappings, self._wrappers, strict=True):
                before = vars(wrapping.owner).get(wrapping.name)
                self._placed.append((wrapping, wrapper, before))
                setattr(wrapping.owner, wrapping.name, wrapper)

    def leave(self, user: Held) -> None:
        """Somebody wants them wrapped no more."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self._take_out()

    def _take_out(self) -> None:
        for (owner, name, _), wrapper, before in self._placed:
            if vars(owner).get(name) is not wrapper:
                continue  # somebody wrapped the wrapper, which then stays beneath
            if before is None:  # inherited
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._placed = []
