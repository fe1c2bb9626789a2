"""The state of spiking modules: resetting it, and finding what unknown modules hold."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from analyzer.measure.neurons.registry import kind_of, reset_of
from analyzer.measure.torch_private import MODULE_TABLES, constants_of, version_of

__all__ = [
    "HeldState",
    "changed",
    "held_state",
    "is_reset",
    "is_spiking",
    "reset_state",
]


def reset_state(model: nn.Module) -> None:
    """Resets the state of every module of a known library, and of those that were taught."""
    for module in model.modules():
        reset = reset_of(module)
        if reset is not None:
            reset()


def is_reset(module: object) -> bool:
    """Whether :func:`reset_state` puts a module to rest."""
    return isinstance(module, nn.Module) and reset_of(module) is not None


def is_spiking(module: object) -> bool:
    """Whether an object is a module of a known library or was taught: its state is reset."""
    if not isinstance(module, nn.Module):
        return False
    return reset_of(module) is not None or kind_of(module) is not None


HeldState = Mapping[tuple[str, ...], tuple[tuple["weakref.ref[Tensor]", object], ...]]
"""By module path and attribute: each tensor held there, its shape and its number of writes."""


def held_state(model: nn.Module) -> HeldState:
    """The tensors that modules hold beside their parameters, where no library resets them.

    Attributes are searched, and lists, tuples and dictionaries in these; outside of training
    buffers too. Nothing is copied or kept alive.
    """
    return {
        (path, *place): tuple((weakref.ref(x), _version(x)) for x in tensors)
        for path, module in model.named_modules()
        if reset_of(module) is None and kind_of(module) is None
        for place, tensors in _places(module)
    }


def changed(before: HeldState, model: nn.Module) -> list[str]:
    """Paths of modules that kept state from one forward pass to the next.

    Take ``before`` after one forward pass and call this after the next. A tensor counts as state if
    it was there before and was written to or replaced by one of the same shape; a list also if it
    grew or shrank. So masks and positions that are made once do not count, nor does what is made
    again for another batch size. What a module stores in each pass and never reads, such as its
    last attention map, can't be told from state. Writes through ``.data`` are not seen.
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
    return (x.shape, x.dtype), max(version_of(x), 0)


def _places(module: nn.Module) -> Iterator[tuple[tuple[str, ...], tuple[Tensor, ...]]]:
    """Each place in a module that may hold state, with the tensors there."""
    pending: list[tuple[tuple[str, ...], Any]] = [
        ((name,), value) for name, value in vars(module).items() if name not in MODULE_TABLES
    ]
    if not module.training:
        pending += [((name,), value) for name, value in constants_of(module)[1].items()]
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
