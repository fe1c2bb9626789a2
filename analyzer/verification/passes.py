"""One forward pass under a dispatch mode, for the counters that watch operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from analyzer.measure.torch_private.modes import DispatchMode
from analyzer.measure.watch.compiler import uncompiled
from analyzer.measure.watch.scopes import followed

__all__ = ["Pass", "Run"]

Run = Callable[..., Any]
"""Runs a model on its arguments, as in a loop over time."""


class Pass(DispatchMode):
    """Sees every operation of a pass.

    Args:
        model: What runs.
        run: Runs it on arguments; by default it is called.

    Attributes:
        module: Canonical path of the module that runs.
        arguments: What it was given by position, None outside of the model.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module, run: Run | None = None) -> None:
        super().__init__()
        self._run = run or model
        self.module, self.arguments = "", None
        self._model = model

    def follow(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Runs the model on arguments, some of them by name."""
        with torch.no_grad(), uncompiled(), followed(self._model) as self._scopes, self:
            self._run(*args, **kwargs)

    @property
    def runs(self) -> int:
        """How often the model itself was called so far."""
        return self._scopes.runs

    def saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs one operation and returns its result."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.module, self.arguments = self._scopes.path, self._scopes.arguments
        return self.saw(func, args, kwargs or {})
