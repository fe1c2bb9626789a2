"""Modules that ``torch.compile`` made, and its compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["compiled_module", "compiler_settings", "run_compiled_modules_plainly"]


def compiled_module(module: torch.nn.Module) -> torch.nn.Module | None:
    """The module that ``torch.compile`` made another of, None of any other module."""
    return getattr(module, "_orig_mod", None)


def compiler_settings() -> Callable[[], None]:
    """What puts the compiler back as it is now, and may be called twice. It has to be loaded."""
    kind: Any = torch._dynamo.OptimizedModule
    frames: Any = torch._dynamo.eval_frame
    call, stance = vars(kind).get("__call__"), getattr(frames, "_stance", None)

    def back() -> None:
        if call is not None:
            kind.__call__ = call
        if stance is not None:
            frames._stance = stance

    return back


def run_compiled_modules_plainly() -> None:
    """Has modules that ``torch.compile`` made run like any other.

    They warn where hooks of all modules are set. A filter of warnings would not do: whoever enters
    ``warnings.catch_warnings`` in another thread, as pandas does, may take it away. The compiler
    has to be loaded, and to run functions as they are written.
    """
    kind: Any = torch._dynamo.OptimizedModule
    if "__call__" in vars(kind):
        kind.__call__ = torch.nn.Module.__call__
