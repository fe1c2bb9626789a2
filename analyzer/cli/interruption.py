"""Ctrl-C: what a command that is interrupted leaves behind, said in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTED", "kept", "left_by"]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


@contextmanager
def kept(said: Callable[[], str]) -> Iterator[None]:
    """Where Ctrl-C ends the block, it is said what is kept.

    Args:
        said: Looks what there is, and says it.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(said())
        raise


def left_by(stop: KeyboardInterrupt) -> str:
    """What an interruption left, as the functions noted that it went through."""
    notes = getattr(stop, "__notes__", [])
    return f"{'; '.join(notes) or 'nothing was written'}."
