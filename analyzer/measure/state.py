"""Keeps a model as it was found: training flags, buffers, neuron state, random state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["preserved"]


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Puts everything that a forward pass may change back when the block ends, raised or not.

    Covers buffers, tensors and numbers that modules keep as attributes (also in lists and
    dictionaries, as spiking neurons keep their membrane potential), training flags, and the
    random state of Python, NumPy and torch.
    """
    modules = list(model.modules())
    saved = [_snapshot(module) for module in modules]
    seeds = _random_state()
    try:
        yield
    finally:
        for restore in saved:
            restore()
        seeds()


def _snapshot(module: nn.Module) -> Callable[[], None]:
    training = module.training
    buffers = {name: _Kept(tensor) for name, tensor in module._buffers.items()}
    attributes = {
        name: _Kept(value) for name, value in vars(module).items() if not _is_machinery(name)
    }

    def restore() -> None:
        module.training = training
        _refill(module._buffers, buffers)
        now = vars(module)
        for name in [n for n in now if not _is_machinery(n) and n not in attributes]:
            del now[name]
        for name, value in attributes.items():
            now[name] = value.original()

    return restore


def _is_machinery(name: str) -> bool:
    """Attributes that nn.Module itself keeps; hooks and parameters are left alone."""
    return name in _MODULE_ATTRIBUTES


_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


def _refill(target: dict[str, Any], kept: dict[str, _Kept]) -> None:
    now = dict(target.items())
    for name in now.keys() - kept.keys():
        del target[name]
    for name, value in kept.items():
        original = value.original()
        if name not in now or now[name] is not original:
            target[name] = original


class _Kept:
    """A value as it was; tensors and containers get their old content back in place."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._copy: Any = None
        if isinstance(value, Tensor):
            self._alias = value.detach()
            self._copy = self._alias.clone()
        elif isinstance(value, torch.Generator):
            self._copy = value.get_state()
        elif isinstance(value, (list, dict, set, tuple)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            self._copy = [(key, _Kept(item)) for key, item in items]

    def original(self) -> Any:
        value = self._value
        if isinstance(value, Tensor):
            self._refill_tensor(value)
        elif isinstance(value, torch.Generator):
            value.set_state(self._copy)
        elif isinstance(value, tuple):
            for _, item in self._copy:
                item.original()
        elif isinstance(value, dict):
            content = {key: item.original() for key, item in self._copy}
            value.clear()
            value.update(content)
        elif isinstance(value, list):
            value[:] = [item.original() for _, item in self._copy]
        elif isinstance(value, set):
            members = {item.original() for _, item in self._copy}
            value.clear()
            value.update(members)
        return value

    def _refill_tensor(self, value: Tensor) -> None:
        """Compares content, not versions: writing through ``.data`` leaves no version behind."""
        alias = self._alias
        if value.data_ptr() != alias.data_ptr() or value.shape != alias.shape:
            value.data = alias
        if not torch.equal(value, self._copy):
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(self._copy)


def _random_state() -> Callable[[], None]:
    python = random.getstate()
    numpy = np.random.get_state()
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)

    return restore
