"""Modules: their tables, their calls, weights that are out of sight, and hooks of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = [
    "MODULE_TABLES",
    "constants_of",
    "forget_module_hooks",
    "interception",
    "is_frozen",
    "packs_weights",
]

MODULE_TABLES = ("_parameters", "_buffers", "_modules")
"""Attributes in which a module keeps its parameters, buffers and children."""


def constants_of(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dictionaries in which a module keeps its parameters and its buffers."""
    return module._parameters, module._buffers


def interception(
    module: torch.nn.Module, call: Callable[[Callable[..., Any], tuple[Any, ...], Any], Any]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """What hands every call of a module to a function, and what ends that.

    PyTorch has this place for ``Module.compile``: copies and pickles of the module do not take it
    along, and hooks of the module run inside of it.

    Args:
        module: The module.
        call: Is given what calls the module, and the arguments.

    Returns:
        Both, apart: whoever is interrupted while the first runs needs the second, which may be
        called at any time, and twice.
    """
    attributes, name = vars(module), "_compiled_call_impl"
    before = attributes.get(name)
    inner = before or module._call_impl

    def handed(*args: Any, **kwargs: Any) -> Any:
        return call(inner, args, kwargs)

    def begin() -> None:
        attributes[name] = handed

    def end() -> None:
        if attributes.get(name) is not handed:
            return
        if before is None:
            attributes.pop(name, None)
        else:
            attributes[name] = before

    return begin, end


def is_frozen(module: torch.nn.Module) -> bool:
    """Whether a module is scripted code that holds its weights as constants."""
    code = getattr(module, "_c", None) if isinstance(module, torch.jit.ScriptModule) else None
    return code is not None and not getattr(code, "hasattr")("training")  # noqa: B009


def packs_weights(module: torch.nn.Module) -> bool:
    """Whether a module keeps quantised weights packed, as its kernel wants them."""
    home = type(module).__module__
    packed = home.startswith("torch.ao.nn.") and ".quantized." in home
    names = ("_packed_params", "_all_weight_values", "_packed_weight_ih")
    return packed and ".reference." not in home and any(hasattr(module, name) for name in names)


def forget_module_hooks(*hooks: Any) -> None:
    """Takes hooks of all modules away, also where their handles are not known."""
    every: Any = torch.nn.modules.module
    tables = [every._global_forward_pre_hooks, every._global_forward_hooks]
    others = [
        getattr(every, name, {})
        for name in ("_global_forward_hooks_always_called", "_global_forward_hooks_with_kwargs")
    ]
    for table in tables:
        for number, hook in list(table.copy().items()):
            if any(hook is one for one in hooks if one is not None):
                for other in others:
                    other.pop(number, None)
                table.pop(number, None)  # last, as it is what an interrupted try is found by
