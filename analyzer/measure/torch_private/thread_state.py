"""What PyTorch keeps for each thread and a measurement changes."""

from __future__ import annotations

from typing import Any

import torch

from analyzer.measure.torch_private.hook import hook_settings
from analyzer.measure.torch_private.modes import (
    active_functions,
    active_modes,
    set_functions,
    set_modes,
)

__all__ = ["ThreadState"]


class ThreadState:
    """What PyTorch keeps for this thread and a measurement changes, as it is now.

    Args:
        flags: Whether gradients, and the determinism of the process, belong to it.
    """

    def __init__(self, *, flags: bool) -> None:
        self._flags = flags
        self._modes = active_modes()
        self._functions = active_functions()
        self._function_state = _function_state()
        self._hook_back = hook_settings()
        self._gradients = torch.is_grad_enabled()
        self._deterministic = torch.are_deterministic_algorithms_enabled()
        self._warns = torch.is_deterministic_algorithms_warn_only_enabled()

    def put_back(self) -> None:
        """Puts back what is not as it was; may be called twice."""
        if not _same(active_modes(), self._modes):
            set_modes(self._modes)
        if not _same(active_functions(), self._functions):
            set_functions(self._functions)
        if _function_state() != self._function_state:
            getattr(torch._C, "_set_torch_function_state")(self._function_state)  # noqa: B009
        self._hook_back()
        if not self._flags:
            return
        if torch.is_grad_enabled() != self._gradients:
            torch.set_grad_enabled(self._gradients)
        found = torch.are_deterministic_algorithms_enabled()
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        if (found, warns) != (self._deterministic, self._warns):
            torch.use_deterministic_algorithms(self._deterministic, warn_only=self._warns)


def _same(now: list[Any], kept: list[Any]) -> bool:
    return [*map(id, now)] == [*map(id, kept)]


def _function_state() -> Any:
    """Whether modes and subclasses hear of functions; None where it can not be set by itself."""
    found: Any = torch._C
    settable = hasattr(found, "_set_torch_function_state")
    return found._get_torch_function_state() if settable else None
