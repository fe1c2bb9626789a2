"""Work that a forward hands to other threads: those that it starts, and those of pools.

Dispatch modes, the dispatcher hook and the stack of running modules belong to one thread. What a
watched thread hands on therefore runs in a context that the watch provides. What other threads hand
on runs as ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.pool import ThreadPool
from threading import get_ident
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.modes import pushed
from analyzer.measure.undoing import Undoable
from analyzer.measure.watch.modules import RunningModules, Scope
from analyzer.measure.watch.wrapping import Wrapped, Wrapping

__all__ = ["HandOn", "HandingOn", "Strands"]

HandOn = Callable[[], Callable[[], AbstractContextManager[object]]]
"""Called in the thread that hands work on; returns what makes the context that the work runs in."""

_PATIENCE = 1.0
"""Seconds that a forward's work in other threads may go on after it."""


class _Line(threading.local):
    """What the work that this thread hands on runs in."""

    hand_on: HandOn | None = None


_LINE = _Line()


class _InThread:
    """A context in which the work that a thread hands on runs in contexts that a caller makes.

    Args:
        hand_on: Called for each piece of work; None for work that runs as ever.
    """

    def __init__(self, hand_on: HandOn | None) -> None:
        self._hand_on = hand_on

    def __enter__(self) -> None:
        self._before, _LINE.hand_on = _LINE.hand_on, self._hand_on

    def __exit__(self, *error: object) -> None:
        _LINE.hand_on = self._before


class HandingOn(Undoable):
    """The same, in the thread that a pass runs in."""

    def __init__(self, hand_on: HandOn) -> None:
        self._hand_on = hand_on
        self._before = _LINE.hand_on
        self._wrapped = _WRAPPED.held()

    def begin(self) -> None:
        """Has what this thread hands on run in contexts of the caller's."""
        self._wrapped.__enter__()
        _LINE.hand_on = self._hand_on

    def undo(self) -> None:
        """Has it run as before."""
        _LINE.hand_on = self._before
        self._wrapped.leave()


class Strands:
    """What one pass does in other threads.

    Attributes:
        handed: How often work was handed on.
    """

    def __init__(self, modules: RunningModules) -> None:
        self.handed = 0
        self._mode: Any = None
        self._modules = modules
        self._running: dict[int, _Strand] = {}
        self._ended = False

    @contextmanager
    def following(self, mode: Any) -> Iterator[None]:
        """Has a mode see what this thread hands on in the block.

        Raises:
            AnalyzerError: Where work of the pass goes on after it, or may have run unseen.
        """
        self._mode = mode
        try:
            with HandingOn(self._hand_on):
                yield
            self._check()
        finally:
            self._ended = True
            self._mode = None  # it holds this object

    def noted(self) -> bool:
        """Notes that this thread, another than the pass's own, runs an operation.

        Returns:
            Whether the pass still runs, so that it counts.
        """
        strand = self._running.get(get_ident())
        if strand is not None:
            strand.computes = True
        return not self._ended

    def _hand_on(self) -> Callable[[], AbstractContextManager[object]]:
        self.handed += 1
        return partial(self._elsewhere, self._modules.now)

    @contextmanager
    def _elsewhere(self, scope: Scope) -> Iterator[None]:
        """Follows also what this thread runs in the block."""
        modules, thread = self._modules, get_ident()
        if self._ended or modules.followed:
            yield
            return
        strand = self._running[thread] = _Strand(scope.path)
        try:
            with modules.elsewhere(scope), _InThread(self._hand_on), pushed(self._mode):
                yield
        finally:
            self._running.pop(thread, None)
            strand.done.set()

    def _check(self) -> None:
        until = time.monotonic() + _PATIENCE
        for strand in list(self._running.values()):
            if not strand.done.wait(max(until - time.monotonic(), 0)) and strand.computes:
                raise AnalyzerError(
                    f"{_name(strand.path)} started a thread that goes on computing after the "
                    "forward, so that its operations can not be told to belong to a pass: have "
                    "the forward wait for it."
                )
        if self._modules.strayed is not None:
            raise AnalyzerError(
                f"{_name(self._modules.strayed)} ran in a thread that the forward did not start: "
                "if the model gave it the work, start the thread in the forward or use a "
                "concurrent.futures.ThreadPoolExecutor; if something else uses the module, wait "
                "for it."
            )


class _Strand:
    """Work in another thread, while it runs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.computes = False
        self.done = threading.Event()


def _name(path: str) -> str:
    return f"module {path!r}" if path else "the model itself"


def _starting(start: Callable[..., Any]) -> Callable[..., Any]:
    """Threads: all that one runs is handed on."""

    def wrapper(self: threading.Thread) -> None:
        if _LINE.hand_on is not None:
            own, run, context = vars(self), self.run, _LINE.hand_on()
            before = {"run": own["run"]} if "run" in own else {}

            def handed() -> None:
                own.pop("run", None)
                own.update(before)
                with context():
                    run()

            own["run"] = handed
        start(self)

    return wrapper


def _giving(give: Callable[..., Any]) -> Callable[..., Any]:
    """Pools: their threads serve others too, so that only the function given is handed on."""

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        hand_on = _LINE.hand_on
        if hand_on is None:
            return give(self, *args, **kwargs)
        context = hand_on()
        if args:
            args = (_handed(args[0], context), *args[1:])
        elif "func" in kwargs:
            kwargs["func"] = _handed(kwargs["func"], context)
        with _InThread(None):
            return give(self, *args, **kwargs)

    return wrapper


def _handed(
    function: Callable[..., Any], context: Callable[[], AbstractContextManager[object]]
) -> Callable[..., Any]:
    def handed(*args: Any, **kwargs: Any) -> Any:
        with context():
            return function(*args, **kwargs)

    return handed


def _opening(make: Callable[..., Any]) -> Callable[..., Any]:
    """The threads with which a pool begins are like those that it adds."""

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        with _InThread(None):
            make(self, *args, **kwargs)

    return wrapper


_OF_THREAD_POOL = (
    "apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered",
)  # fmt: skip

_WRAPPED = Wrapped(
    Wrapping(threading.Thread, "start", _starting),
    Wrapping(ThreadPoolExecutor, "submit", _giving),
    Wrapping(ThreadPool, "__init__", _opening),
    *(Wrapping(ThreadPool, name, _giving) for name in _OF_THREAD_POOL),
)
