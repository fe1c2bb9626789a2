"""Tells whether an operation runs because a module is being imported.

A forward pass may import something for the first time, PyTorch's compiler for one, and the code of
that module may compute. Such operations are not the model's and run only once in a process.
"""

from __future__ import annotations

import sys

__all__ = ["Imports"]

_IMPORTING = "<frozen importlib._bootstrap>"
"""File name of the frames of Python's import."""


class Imports:
    """Watches for imports in the course of one pass.

    Attributes:
        modules: How many modules were loaded when nothing was being imported.
    """

    def __init__(self) -> None:
        self.modules = len(sys.modules)

    def active(self) -> bool:
        """Whether this thread is importing something now, in a call from the pass.

        Frames are looked at only where the number of modules has changed, so that it costs nothing
        elsewhere.
        """
        modules = len(sys.modules)
        if modules == self.modules:
            return False
        frame = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") != _RECORDER:
            if frame.f_code.co_filename == _IMPORTING:
                return True
            frame = frame.f_back  # type: ignore[assignment]
        self.modules = modules
        return False


_RECORDER = "analyzer.measure.watch.recorder"
"""The module that calls a model: what lies beneath its frame is no part of the pass."""
