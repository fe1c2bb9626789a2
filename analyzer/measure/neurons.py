"""Spiking libraries: how their stateful modules forget what they saw."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

__all__ = ["RESETS", "reset_state"]

RESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "spikingjelly": ("reset",),
        "snntorch": ("reset_mem", "reset_hidden"),
        "sinabs": ("reset_states",),
    }
)
"""From a library's name to the methods that reset a module's state; the first that exists."""


def reset_state(model: nn.Module) -> None:
    """Resets the state of every spiking module of a known library, found by its class.

    This package's own neurons start each forward pass at rest and need no reset; norse hands its
    state to the caller and keeps none.
    """
    for module in model.modules():
        libraries = {cls.__module__.split(".", 1)[0] for cls in type(module).__mro__}
        for library in libraries & RESETS.keys():
            method = next((m for m in RESETS[library] if callable(getattr(module, m, None))), None)
            if method is not None:
                getattr(module, method)()
