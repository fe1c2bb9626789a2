"""Keeps a model as it was found: weights, buffers, neuron state, training flags, random state.

Parameters are copied only when an operation is about to overwrite them, which a dispatch mode
sees; all else is small and copied at once.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from analyzer.errors import AnalyzerWarning
from analyzer.measure.watch.provenance import written
from analyzer.measure.watch.storage import StorageMap

__all__ = ["Guard", "StateSnapshot", "preserved", "random_state"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

# Objects of these are machinery (functions, loggers, locks, compiled code), not a model's state.
_MACHINERY = sys.stdlib_module_names - {"argparse", "collections", "types"} | {"torch"}


class Guard(TorchDispatchMode):
    """Copies the parameters of a model that are about to be overwritten, and puts them back.

    As a mode it sees the operations of its block; other modes call :meth:`before_write` themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: StorageMap[list[_Held]] = StorageMap()

    def hold(self, tensor: Tensor) -> Callable[[], None]:
        """Watches a tensor, and returns what puts it back."""
        held = _Held(tensor)
        if held.readable:
            others = self._held.get(tensor)
            self._held.put(tensor, [*(others or ()), held])
        return held.restore

    def before_write(self, tensor: Tensor) -> None:
        """Copies all watched tensors that share the storage of one about to be written."""
        for held in self._held.get(tensor) or ():
            held.save()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in written(func, args, kwargs):
            self.before_write(tensor)
        return func(*args, **kwargs)


class _Held:
    """A tensor of the model as it was found, copied when :meth:`save` says so."""

    def __init__(self, value: Tensor) -> None:
        self.readable = value.layout == torch.strided and not value.is_meta
        self._value = value
        self._alias = value.detach()
        self._copy: Tensor | None = None if self.readable else self._alias
        self._version = None if value.is_inference() else value._version
        self._grad = value.grad if value.is_leaf else None
        if not isinstance(value, nn.Parameter):
            self.save()

    def save(self) -> None:
        """Copies the values, the first time."""
        if self._copy is None:
            self._copy = self._alias.clone()

    def restore(self) -> None:
        """Puts values, storage and gradient back."""
        value, alias = self._value, self._alias
        if value.is_leaf and value.grad is not self._grad:
            value.grad = self._grad
        if not self.readable:
            return
        if value.data_ptr() != alias.data_ptr() or value.shape != alias.shape:
            value.data = alias
        if self._copy is None:
            if self._version not in (None, value._version):
                warnings.warn(
                    f"a parameter of shape {tuple(value.shape)} was overwritten in a later batch, "
                    "not in the first, so it is not as it was: give analyzer.profile "
                    'watch="every".',
                    AnalyzerWarning,
                    stacklevel=2,
                )
        elif not torch.equal(value, self._copy):
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(self._copy)


@contextmanager
def preserved(model: nn.Module) -> Iterator[Guard]:
    """Puts everything that a forward pass may change back when the block ends, raised or not.

    Covers parameters with their gradients, buffers, submodules, training flags, all that modules
    keep as attributes (tensors, containers and plain objects, in each other as deep as they go, as
    spiking neurons keep their membrane potential), and the random state of Python, NumPy and torch.

    Yields:
        What must be told before a tensor is overwritten.
    """
    guard = Guard()
    restores = [random_state(), *_snapshots(model, guard)]
    try:
        yield guard
    finally:
        for restore in restores:
            restore()


def _snapshots(model: nn.Module, guard: Guard) -> list[Callable[[], object]]:
    """A restore for every object within reach of the model, each of that object alone."""
    restores: list[Callable[[], object]] = []
    for value in _within(model):
        if isinstance(value, Tensor):
            restores.append(guard.hold(value))
        elif isinstance(value, torch.Generator):
            restores.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, dict):
            restores.append(_mapping(value))
        elif _is_sequence(value):
            restores.append(_sequence(value))
        elif isinstance(value, set):
            restores.append(_set(value))
        elif isinstance(value, nn.Module):
            restores.append(partial(_set_training, value, value.training))
    return restores


def _within(model: nn.Module, closed: Callable[[Any], bool] = lambda value: False) -> Iterator[Any]:
    """Every object within reach of the model that can change, but for what lies in closed ones.

    Objects are told apart by identity and walked without recursion, so shared, cyclic and deep
    structures are safe.
    """
    seen: dict[int, Any] = {}
    pending: list[Any] = [*model.parameters(), *model.buffers(), *model.modules()]
    while pending:
        value = pending.pop()
        if id(value) in seen or closed(value):
            continue
        seen[id(value)] = value
        yield value
        pending += [member for member in _members(value) if type(member) not in _ATOMS]


def _members(value: Any) -> Iterable[Any]:
    """What an object holds, and the dictionary of its attributes."""
    held: list[Any] = []
    if isinstance(value, Tensor):
        held = [value.grad] if value.is_leaf else []
    elif isinstance(value, dict):
        held = list(value.values())
    elif isinstance(value, (tuple, set, frozenset)) or _is_sequence(value):
        held = list(value)
    return [*held, vars(value)] if _has_attributes(value) else held


def _is_sequence(value: Any) -> bool:
    whole = isinstance(value, MutableSequence) and not _has_attributes(value)
    return isinstance(value, (list, deque)) or whole


class StateSnapshot:
    """Shows whether a forward pass changed what a model keeps, spiking neurons left aside.

    Identities are compared, so nothing is copied.

    Args:
        model: The model.
        closed: Which objects to leave aside, with all that only they hold.
    """

    def __init__(self, model: nn.Module, closed: Callable[[Any], bool]) -> None:
        self._model = model
        self._closed = closed
        self._seen = self._take()

    def changed(self) -> bool:
        """Whether anything is not as it was."""
        now = self._take()
        return now.keys() != self._seen.keys() or any(
            not (marks == self._seen[key][1] and _same(members, self._seen[key][2]))
            for key, (_, marks, members) in now.items()
        )

    def _take(self) -> dict[int, tuple[Any, Any, list[Any]]]:
        """By identity: the object, kept so that its identity stays its own, and what it holds."""
        return {
            id(value): (value, _marks(value), list(_members(value)))
            for value in _within(self._model, self._closed)
        }


def _marks(value: Any) -> Any:
    """What tells that an object was written in place, beside what it holds."""
    if isinstance(value, Tensor):
        return value.data_ptr(), value.shape, None if value.is_inference() else value._version
    return list(value) if isinstance(value, dict) else None


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


def random_state() -> Callable[[], None]:
    """What puts the random state of Python, NumPy and torch back to what it is now."""
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
