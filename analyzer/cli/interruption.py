"""Ctrl-C and signals: what a command that is interrupted leaves behind, said in a sentence."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTED", "EndedBySignal", "ended_by_signals", "kept", "left_by"]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


class EndedBySignal(SystemExit):
    """A signal ends the program; code of the user's that runs just then has no part in it."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """In the block, SIGTERM and SIGHUP end the program as an exception, so that it tidies up.

    The exit code is 128 and the number of the signal, as shells have it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise EndedBySignal(128 + number)

    known = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    taken = {s: signal.signal(s, end) for s in known
             if s is not None and signal.getsignal(s) is signal.SIG_DFL}  # fmt: skip
    try:
        yield
    finally:
        for number, before in taken.items():
            signal.signal(number, before)


@contextmanager
def kept(said: Callable[[], str]) -> Iterator[None]:
    """Where Ctrl-C or a signal ends the block, it is said what is kept."""
    try:
        yield
    except (KeyboardInterrupt, EndedBySignal) as stop:
        stop.add_note(said())
        raise


def left_by(stop: BaseException) -> str:
    """What an interruption left, as the functions noted that it went through."""
    notes = getattr(stop, "__notes__", [])
    return f"{'; '.join(notes) or 'nothing was written'}."
