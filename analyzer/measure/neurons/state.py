"""The state of spiking modules: how it is reset, and how an unknown one is found."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.measure.neurons.registry import kind_of

__all__ = [
    "RESETS",
    "HeldState",
    "changed",
    "held_state",
    "is_spiking",
    "reset_state",
]

RESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "spikingjelly": ("reset",),
        "snntorch": ("reset_mem", "reset_hidden"),
        "sinabs": ("reset_states",),
    }
)
"""From a library's name to the methods that reset a module's state; the first that exists.

This package's own neurons start each forward pass at rest; norse hands its state to the caller.
"""


def reset_state(model: nn.Module) -> None:
    """Resets the state of every module of a known spiking library, found by its class."""
    for module in model.modules():
        reset = _reset_of(module)
        if reset is not None:
            reset()


def is_spiking(module: object) -> bool:
    """Whether an object is a module of a known spiking library, whose state is reset."""
    if not isinstance(module, nn.Module):
        return False
    return _reset_of(module) is not None or kind_of(module) is not None


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    kind: Any = type(module)
    for name in _reset_names(kind):
        method = getattr(module, name, None)
        if callable(method):
            return method  # type: ignore[no-any-return]
    return None


@lru_cache(maxsize=1024)
def _reset_names(kind: type) -> tuple[str, ...]:
    libraries = {cls.__module__.partition(".")[0] for cls in kind.__mro__}
    return tuple(name for library in libraries & RESETS.keys() for name in RESETS[library])


HeldState = Mapping[tuple[str, ...], tuple[tuple["weakref.ref[Tensor]", object], ...]]
"""By module path and attribute: each tensor held there, and how often it was written to."""


def held_state(model: nn.Module) -> HeldState:
    """What tensors the modules of no known library hold beside their parameters.

    That is in attributes, in lists, tuples and dictionaries of these, and, outside of training, in
    buffers. Nothing is copied or kept alive.
    """
    return {
        (path, *place): tuple((weakref.ref(x), _version(x)) for x in tensors)
        for path, module in model.named_modules()
        if _reset_of(module) is None and kind_of(module) is None
        for place, tensors in _places(module)
    }


def changed(before: HeldState, model: nn.Module) -> list[str]:
    """Paths of modules that kept state from one forward pass to the next.

    Take ``before`` after a forward pass and call this after the next one: a tensor that was there
    before counts where it was replaced by one of the same shape or written to, a list also where
    it grew or shrank. So what is made once and kept (masks, positions) does not count, nor what is
    made again for another batch size. What a module notes down in each pass and never reads, such
    as its last attention map, can not be told from state, nor is a write through ``.data`` seen.
    """
    after = held_state(model)
    moved = (
        place[0]
        for place, kept in before.items()
        if place in after and kept and _moved(kept, after[place])
    )
    return list(dict.fromkeys(moved))


def _moved(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    if len(before) != len(after):
        return True
    for (old, old_version), (new, version) in zip(before, after, strict=True):
        rewritten = old() is not new() or old_version != version
        if rewritten and old_version[0] == version[0]:
            return True
    return False


def _version(x: Tensor) -> tuple[object, object]:
    """The shape, and the number of writes in place; inference tensors do not count these."""
    return (x.shape, x.dtype), 0 if x.is_inference() else x._version


def _places(module: nn.Module) -> Iterator[tuple[tuple[str, ...], tuple[Tensor, ...]]]:
    """Each place in a module that may hold state, with the tensors there."""
    pending: list[tuple[tuple[str, ...], Any]] = [
        ((name,), value)
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules")
    ]
    if not module.training:
        pending += [((name,), value) for name, value in module._buffers.items()]
    seen: set[int] = set()
    while pending:
        place, value = pending.pop()
        if isinstance(value, Tensor):
            if not isinstance(value, nn.Parameter):
                yield place, (value,)
        elif id(value) in seen:
            continue
        elif isinstance(value, Mapping):
            seen.add(id(value))
            pending += [((*place, repr(key)), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple, deque)):
            seen.add(id(value))
            yield place, tuple(x for x in value if isinstance(x, Tensor))
            pending += [
                ((*place, str(i)), item)
                for i, item in enumerate(value)
                if not isinstance(item, Tensor)
            ]
