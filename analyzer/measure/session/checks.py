"""Which models may be profiled: modules that can run, and none that is being profiled already."""

from __future__ import annotations

import os
import threading
from typing import Any

import torch
from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.version import check_version
from analyzer.measure.undoing import Undoable

__all__ = ["alone", "check_model"]


def check_model(model: Any) -> None:
    """Refuses what is no module that can be run."""
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"profile needs a torch.nn.Module, not {type(model).__name__}.")
    if any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        raise AnalyzerError(
            f"{type(model).__name__} has lazy parameters without a shape: run it once on a batch."
        )
    check_version()


class alone(Undoable):  # noqa: N801 - it is used as a function
    """Refuses a model that is being profiled already.

    Args:
        model: The model.
        blocks_thread: Whether no other model may be profiled in this thread meanwhile.
    """

    def __init__(self, model: nn.Module, *, blocks_thread: bool = True) -> None:
        self._model = model
        self._blocks_thread = blocks_thread
        self._entered = False

    def begin(self) -> None:
        """Notes the model."""
        if _THREAD.profiles:
            raise AnalyzerError(
                "analyzer.profile was called in the forward of a model that is being profiled: its "
                "operations would count twice, so profile one after the other."
            )
        if not _BUSY.enter(id(self._model), self):
            raise AnalyzerError(
                f"this {type(self._model).__name__} is being profiled by another thread: wait for "
                "it, or profile a copy."
            )
        self._entered = True
        _THREAD.profiles = self._blocks_thread

    def undo(self) -> None:
        """Forgets the model."""
        _BUSY.leave(id(self._model), self)
        if self._entered:
            _THREAD.profiles = False


class _Thread(threading.local):
    """Whether this thread is profiling."""

    profiles = False


_THREAD = _Thread()


class _Busy:
    """The models that are being profiled in this process.

    There is no lock: each step is one of a dictionary, which no thread sees in part, and an
    interrupt between taking a lock and the block that gives it back would hold it for ever.
    """

    def __init__(self) -> None:
        self._models: dict[int, object] = {}

    def enter(self, model: int, by: object) -> bool:
        return self._models.setdefault(model, by) is by

    def leave(self, model: int, by: object) -> None:
        if self._models.get(model) is by:  # so nobody else can have entered
            self._models.pop(model, None)


_BUSY = _Busy()


def _in_fork() -> None:
    """A worker that a loader forks in the midst of a profile is not in it."""
    _THREAD.profiles = False
    _BUSY.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_fork)
