"""Holds PyTorch's compiler off while a model is watched.

Compiled code runs operations that no rule knows and no mode sees, and a mode that is active while a
function is compiled turns its compilation off for good. So a compiled model runs as it is written,
nothing is compiled, and what was compiled before stays in use.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import torch

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.compiler import compiler_settings, run_compiled_modules_plainly
from analyzer.measure.undoing import Held

__all__ = ["uncompiled"]

_COMPILER = ".".join(("torch", "_dynamo"))
"""The module whose import loads the compiler."""


class _Hold:
    """Who holds the compiler off. Its stance is one for all threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users: set[Held] = set()
        self._back: Callable[[], None] | None = None
        self._taken: Any = None
        self._finder = _Finder(self.take)

    def enter(self, user: Held) -> None:
        """Somebody holds the compiler off."""
        with self._lock:
            first = not self._users
            self._users.add(user)
            if first and _COMPILER in sys.modules:
                self.take()
            elif first and self._finder not in sys.meta_path:  # loading it takes a second and more
                sys.meta_path.insert(0, self._finder)

    def leave(self, user: Held) -> None:
        """Somebody does no more."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
            if self._finder in sys.meta_path:
                sys.meta_path.remove(self._finder)
            if self._back is not None:
                self._back()
                self._back = self._taken = None

    def take(self) -> None:
        """Has functions run as they are written."""
        with self._lock:
            if self._back is not None:
                return
            self._back = compiler_settings()
            try:
                self._taken = torch.compiler.set_stance("force_eager")
            except RuntimeError as error:
                raise AnalyzerError(
                    "a model can not be watched inside of a function that torch.compile compiles: "
                    "call analyzer outside of it."
                ) from error
            run_compiled_modules_plainly()


class _Finder(MetaPathFinder):
    """Has something done once the compiler is loaded, which a forward may cause."""

    def __init__(self, done: Any) -> None:
        self._done = done

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _COMPILER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def executed(module: ModuleType) -> None:
                vars(loader).pop("exec_module", None)
                execute(module)
                if self in sys.meta_path:
                    self._done()

            vars(loader)["exec_module"] = executed
        return spec


_HOLD = _Hold()


def uncompiled() -> Held:
    """Nothing is compiled, and nothing that was compiled runs, in the block."""
    return Held(_HOLD)
