"""Keeps a model as it was found: weights, buffers, neuron state, training flags, random state."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["preserved"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

# Objects of these are machinery (functions, loggers, locks, compiled code), not a model's state.
_MACHINERY = sys.stdlib_module_names - {"argparse", "collections", "types"} | {"torch"}


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Puts everything that a forward pass may change back when the block ends, raised or not.

    Covers parameters with their gradients, buffers, submodules, training flags, all that modules
    keep as attributes (tensors, containers and plain objects, in each other as deep as they go, as
    spiking neurons keep their membrane potential), and the random state of Python, NumPy and torch.
    """
    restores = [_random_state(), *_snapshots(model)]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def _snapshots(model: nn.Module) -> list[Callable[[], object]]:
    """A restore for every object within reach of the model, each of that object alone.

    Objects are told apart by identity and walked without recursion, so shared, cyclic and deep
    structures are safe.
    """
    seen: dict[int, Any] = {}
    restores: list[Callable[[], object]] = []
    pending: list[Any] = [*model.modules(), *model.parameters(), *model.buffers()]
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        members: Iterable[Any] = ()
        owner = _has_attributes(value)
        if isinstance(value, Tensor):
            restores.append(_tensor(value))
            members = (value.grad,) if value.is_leaf else ()
        elif isinstance(value, torch.Generator):
            restores.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, dict):
            restores.append(_mapping(value))
            members = value.values()
        elif isinstance(value, (list, deque)) or (isinstance(value, MutableSequence) and not owner):
            restores.append(_sequence(value))
            members = value
        elif isinstance(value, set):
            restores.append(_set(value))
            members = value
        elif isinstance(value, (tuple, frozenset)):
            members = value
        elif isinstance(value, nn.Module):
            restores.append(partial(_set_training, value, value.training))
        pending += [member for member in members if type(member) not in _ATOMS]
        if owner:
            pending.append(vars(value))
    return restores


def _has_attributes(value: Any) -> bool:
    """Whether an object's state lies in its ``__dict__``, as that of modules and plain objects."""
    if isinstance(value, nn.Module):
        return True
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    return kind.__dictoffset__ != 0 and home not in _MACHINERY and not isinstance(value, type)


def _set_training(module: nn.Module, training: bool) -> None:
    """Compiled modules do not keep the flag in their ``__dict__``."""
    if module.training != training:
        module.training = training


def _mapping(value: dict[Any, Any]) -> Callable[[], None]:
    keys, items = list(value.keys()), list(value.values())

    def restore() -> None:
        if not (_same(value.keys(), keys) and _same(value.values(), items)):
            value.clear()
            for key, item in zip(keys, items, strict=True):
                value[key] = item

    return restore


def _sequence(value: MutableSequence[Any] | deque[Any]) -> Callable[[], None]:
    kept = list(value)

    def restore() -> None:
        if not _same(value, kept):
            while value:
                value.pop()
            value.extend(kept)

    return restore


def _set(value: set[Any]) -> Callable[[], None]:
    kept = set(value)

    def restore() -> None:
        if value != kept:
            value.clear()
            value.update(kept)

    return restore


def _same(now: Iterable[Any], kept: list[Any]) -> bool:
    now = list(now)
    return len(now) == len(kept) and all(map(is_, now, kept))


def _tensor(value: Tensor) -> Callable[[], None]:
    """Compares content, not versions: writing through ``.data`` leaves no version behind."""
    alias = value.detach()
    readable = value.layout == torch.strided and not value.is_meta
    copy = alias.clone() if readable else alias
    grad = value.grad if value.is_leaf else None

    def restore() -> None:
        if value.is_leaf and value.grad is not grad:
            value.grad = grad
        if not readable:
            return
        if value.data_ptr() != alias.data_ptr() or value.shape != alias.shape:
            value.data = alias
        if not torch.equal(value, copy):
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(copy)

    return restore


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
