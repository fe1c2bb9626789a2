"""The state of spiking modules: what resets it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.measure.neurons.registry import LIBRARIES, kind_of, reset_of

__all__ = ["is_reset", "is_spiking", "reset_state"]


def reset_state(model: nn.Module) -> int:
    """Puts the state of all modules to rest.

    Modules of known libraries are reset as these define it, taught ones as they were taught, and
    all others by a method ``reset`` of their own that takes no argument, as ``reset_net`` of
    SpikingJelly calls it.

    Returns:
        How many modules were reset.

    Raises:
        AnalyzerError: Where a neuron of a library lacks what its own reset needs.
        Exception: Whatever else a reset raises, with a note that names the module.
    """
    number = 0
    for path, module in model.named_modules():
        reset = reset_of(module) or _own_reset(module)
        if reset is None:
            continue
        number += 1
        try:
            reset()
        except Exception as error:
            where, home = path or "(the model itself)", type(module).__module__
            if isinstance(error, AttributeError) and home.partition(".")[0] in LIBRARIES:
                raise AnalyzerError(
                    f"module {where} can not be reset as its library does ({error}): its version "
                    "may keep its state elsewhere, so give reset=, a function that resets the "
                    "model."
                ) from error
            error.add_note(f"raised by the reset of module {where}")
            raise
    return number


def _own_reset(module: nn.Module) -> Callable[[], object] | None:
    """A method ``reset`` that can be called without an argument."""
    reset: Any = getattr(module, "reset", None)
    if not callable(reset) or isinstance(reset, nn.Module):
        return None
    try:
        parameters = inspect.signature(reset).parameters.values()
    except (TypeError, ValueError):
        return None
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return None if needed else reset


def is_reset(module: object) -> bool:
    """Whether :func:`reset_state` puts a module to rest."""
    return isinstance(module, nn.Module) and reset_of(module) is not None


def is_spiking(module: object) -> bool:
    """Whether an object is a module of a known library or was taught: its state is reset."""
    if not isinstance(module, nn.Module):
        return False
    return reset_of(module) is not None or kind_of(module) is not None
