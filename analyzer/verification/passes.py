"""One forward pass under a dispatch mode, for the counters that watch operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from analyzer.measure.torch_private import DispatchMode
from analyzer.measure.watch.compiler import uncompiled
from analyzer.measure.watch.scopes import followed

__all__ = ["Pass"]


class Pass(DispatchMode):
    """Sees every operation of a pass.

    Args:
        model: What runs.

    Attributes:
        module: Canonical path of the module that runs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = ""
        self._model = model

    def follow(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Runs the model on arguments, some of them by name."""
        with torch.no_grad(), uncompiled(), followed(self._model) as self._scopes, self:
            self._model(*args, **kwargs)

    def saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs one operation and returns its result."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.module = self._scopes.path
        return self.saw(func, args, kwargs or {})
