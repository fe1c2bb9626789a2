"""Keeps a model as it was found: weights, buffers, neuron state, training flags, random state.

Parameters are copied only when an operation is about to overwrite them (see :mod:`held`); all else
is small and copied at once.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from functools import cache, partial
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError, undo_all
from analyzer.measure.tensors.held import Guard, Held
from analyzer.measure.tensors.randomness import (
    GENERATORS,
    generator_state,
    numbers_of,
    random_state,
)
from analyzer.measure.undoing import Undoable, open_blocks

__all__ = ["Snapshot", "has_attributes", "kept", "preserved", "undo_of"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_PLAIN = frozenset({dict, OrderedDict, list, set})

# Objects of these are machinery (functions, loggers, locks, compiled code), not a model's state.
_TRAINERS = frozenset({"lightning", "lightning_fabric", "pytorch_lightning"})
"""A LightningModule holds its trainer, and that the optimizer, the data and all callbacks."""

_MACHINERY = sys.stdlib_module_names - {"argparse", "collections", "types"} | {"torch"} | _TRAINERS


class Snapshot:
    """Everything within reach of a model that can change: to see whether it did, or to put it back.

    Covers parameters with their gradients, buffers, submodules, training flags, random generators
    and all that modules keep as attributes (tensors, containers and plain objects, in each other
    as deep as they go, as spiking neurons keep their membrane potential). Objects are told apart by
    identity and visited without recursion, so shared, cyclic and deep structures are safe.

    Args:
        model: The model.
        closed: Modules that are put back, but whose changes, and those of all that only they hold,
            are none to :meth:`changed`.
    """

    def __init__(
        self, model: nn.Module, closed: Callable[[nn.Module], bool] = lambda module: False
    ) -> None:
        self.tensors: list[Held] = []
        self._empty: list[Any] = []
        self._dicts: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []
        self._sequences: list[tuple[MutableSequence[Any], list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._flags: list[tuple[nn.Module, bool]] = []
        self._generators: list[Any] = []
        self._iterators = False
        self._states: list[Callable[[], object]] = []
        self._arrays: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._seen: dict[int, Any] = {}  # kept, so that identities stay what they are
        modules = list(model.modules())
        shared = self._visit_classes({type(m) for m in modules if not closed(m)})
        found = [*model.parameters(), *model.buffers(), *modules, *shared]
        left = self._visit(found, closed)
        self._compared = [len(kept) for kept in self._kept]
        self._visit(left, lambda module: False)
        self._note_generators()
        self._numbers = self._drawn()

    @property
    def _kept(self) -> tuple[list[Any], ...]:
        """All that is compared and put back, kind by kind."""
        return (
            self._empty, self._dicts, self._sequences, self._sets, self._arrays, self._slots,
            self.tensors,
        )  # fmt: skip

    def refresh(self) -> None:
        """Takes the state of random generators, and the values of small tensors, anew."""
        self._note_generators()
        for held in self.tensors:
            if not held.is_parameter:
                held.save_again()

    def _note_generators(self) -> None:
        self._states = [generator_state(generator) for generator in self._generators]

    def changed(self) -> bool:
        """Whether anything is not as it was. Identities are compared, random generators are not."""
        empty, dicts, sequences, sets, arrays, slots, tensors = (
            kept[:number] for kept, number in zip(self._kept, self._compared, strict=True)
        )
        return (
            any(empty)
            or not all(_same_dict(*kept) for kept in dicts)
            or not all(_same(now, kept) for now, kept in sequences)
            or any(now != kept for now, kept in sets)
            or not all(np.array_equal(now, kept) for now, kept in arrays)
            or any(getattr(owner, name, None) is not kept for owner, name, kept in slots)
            or any(held.changed for held in tensors)
        )

    def drew(self) -> bool:
        """Whether a generator of Python or NumPy drew numbers, or an iterator may have moved on."""
        return self._iterators or self._drawn() != self._numbers

    def _drawn(self) -> list[Any]:
        """Tells whether generators draw numbers, which no mode sees. PyTorch's own it does see."""
        return [numbers_of(g) for g in self._generators if not isinstance(g, torch.Generator)]

    def restore(self) -> None:
        """Puts everything back; what fails does not keep the rest from being put back.

        Raises:
            AnalyzerError: The first failure.
        """
        try:
            undo_all(self._restores())
        except AnalyzerError:
            raise
        except Exception as error:
            raise AnalyzerError(f"the model could not be left as it was: {error}") from error

    def _restores(self) -> Iterator[Callable[[], object]]:
        """What puts back all that is not as it was. Each step looks first whether that is so."""
        for emptied in self._empty:
            yield partial(_restore_empty, emptied)
        for kept_dict in self._dicts:
            yield partial(_restore_dict, *kept_dict)
        for kept_sequence in self._sequences:
            yield partial(_restore_sequence, *kept_sequence)
        for kept_set in self._sets:
            yield partial(_restore_set, *kept_set)
        for kept_array in self._arrays:
            yield partial(_restore_array, *kept_array)
        for kept_slot in self._slots:
            yield partial(_restore_slot, *kept_slot)
        for kept_flag in self._flags:
            yield partial(_restore_flag, *kept_flag)
        for held in self.tensors:
            yield held.restore
        yield from self._states

    def _visit(self, pending: list[Any], closed: Callable[[nn.Module], bool]) -> list[nn.Module]:
        """Notes all within reach of some objects; returns the closed modules, not noted yet."""
        seen, empty = self._seen, self._empty
        left: list[nn.Module] = []
        while pending:
            value = pending.pop()
            if id(value) in seen:
                continue
            kind: Any = type(value)
            members: Iterable[Any] = ()
            if isinstance(value, nn.Module):
                if closed(value):
                    left.append(value)
                    continue
                # Compiled modules do not keep the flag in their __dict__, frozen ones have none.
                self._flags.append((value, getattr(value, "training", False)))
            elif isinstance(value, Tensor):
                self.tensors.append(Held(value))
                members = (value.grad,) if value.is_leaf else ()
            elif isinstance(value, dict):
                members = list(value.values())
                self._dicts.append((value, list(value), members))
            elif isinstance(value, (list, deque)) or (
                isinstance(value, MutableSequence) and not has_attributes(kind)
            ):
                members = list(value)
                self._sequences.append((value, members))
            elif isinstance(value, (set, frozenset, tuple)):
                members = value
                if isinstance(value, set):
                    self._sets.append((value, set(value)))
            elif isinstance(value, GENERATORS):
                self._generators.append(value)
                continue
            elif kind.__module__ in _OF_ITERATORS and isinstance(value, Iterator):
                self._iterators = True
            elif type(value) is np.ndarray and value.dtype != object:
                self._arrays.append((value, value.copy()))
            elif names := _slots_of(kind):
                members = [getattr(value, name, None) for name in names]
                self._slots += [(value, *kept) for kept in zip(names, members, strict=True)]
            seen[id(value)] = value
            if has_attributes(kind):
                pending.append(vars(value))
            for member in members:
                of = type(member)
                if of in _ATOMS:
                    continue
                if of in _PLAIN and not member:  # such as the many hooks that a module may have
                    empty.append(member)
                else:
                    pending.append(member)
        return left

    def _visit_classes(self, kinds: Iterable[type]) -> list[Any]:
        """Notes what some classes keep; returns it, with the generators of their files."""
        found: list[Any] = []
        for cls in {cls for kind in kinds for cls in kind.__mro__}:
            if cls.__module__.partition(".")[0] in _MACHINERY:
                continue
            for name, value in vars(cls).items():
                made = callable(value) or hasattr(type(value), "__get__")
                if not made and not name.startswith("__"):
                    self._slots.append((cls, name, value))
                    found += [] if type(value) in _ATOMS else [value]
            home = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
            found += [value for value in home.values() if isinstance(value, GENERATORS)]
        return found


def preserved(model: nn.Module) -> _Preserved:
    """Puts everything that a forward pass may change back when the block ends, raised or not.

    That is what :class:`Snapshot` covers, and the random state of Python, NumPy and torch.

    Args:
        model: The model.

    Returns:
        A context; what it gives must be told before a tensor is overwritten.
    """
    return _Preserved(model)


class _Preserved(Undoable):
    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.guard: Guard | None = None
        self._put_back: Callable[[], None] | None = None

    def begin(self) -> Guard:
        self.guard, self._put_back = kept(self._model)
        return self.guard

    def undo(self) -> None:
        if self._put_back is not None:
            self._put_back()


def kept(model: nn.Module) -> tuple[Guard, Callable[[], None]]:
    """What must be told before a tensor is overwritten, and what puts all back as it is now."""
    guards = (block.guard for block in open_blocks(_Preserved))
    guard = Guard(around=next((guard for guard in guards if guard is not None), None))
    back = random_state()
    snapshot = Snapshot(model)
    for held in snapshot.tensors:
        if held.is_parameter:
            guard.watch(held)
        else:
            held.save()
    return guard, partial(undo_all, (snapshot.restore, back))


def undo_of(model: nn.Module, closed: Callable[[nn.Module], bool], guard: Guard) -> Snapshot:
    """A snapshot from which a pass can be undone that no mode sees.

    Args:
        model: The model.
        closed: Modules to leave aside.
        guard: Copies parameters. A copy is used again while its parameter is unchanged.
    """
    guard.save()
    snapshot = Snapshot(model, closed)
    for held in snapshot.tensors:
        if held.is_parameter:
            held.copy = guard.copy_of(held)
        else:
            held.save()
    return snapshot


@cache
def has_attributes(kind: Any) -> bool:
    """Whether an object's state lies in its ``__dict__``, as that of modules and plain objects."""
    if issubclass(kind, nn.Module):
        return True
    home = kind.__module__.partition(".")[0]
    return kind.__dictoffset__ != 0 and home not in _MACHINERY and not issubclass(kind, type)


@cache
def _slots_of(kind: Any) -> tuple[str, ...]:
    """Attributes that an object of a user's class keeps in slots, and not in a dictionary."""
    if kind.__module__.partition(".")[0] in _MACHINERY or issubclass(kind, type):
        return ()
    found = (vars(cls).get("__slots__", ()) for cls in kind.__mro__)
    names = [name for some in found for name in ((some,) if isinstance(some, str) else some)]
    return tuple(name for name in names if not name.startswith("__"))


def _restore_empty(emptied: Any) -> None:
    if emptied:
        emptied.clear()


def _restore_dict(now: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    if not _same_dict(now, keys, values):
        now.clear()
        for key, value in zip(keys, values, strict=True):
            now[key] = value


def _restore_sequence(now: MutableSequence[Any], kept: list[Any]) -> None:
    if not _same(now, kept):
        while now:
            now.pop()
        now.extend(kept)


def _restore_set(now: set[Any], kept: set[Any]) -> None:
    if now != kept:
        now.clear()
        now.update(kept)


def _restore_array(now: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> None:
    if not np.array_equal(now, kept, equal_nan=now.dtype.kind in "fc"):
        np.copyto(now, kept)


def _restore_slot(owner: Any, name: str, value: Any) -> None:
    if getattr(owner, name, None) is not value:
        setattr(owner, name, value)


def _restore_flag(module: nn.Module, training: bool) -> None:
    if getattr(module, "training", False) != training:
        module.training = training


def _same_dict(now: dict[Any, Any], keys: list[Any], values: list[Any]) -> bool:
    same = len(now) == len(values) and all(map(is_, now.values(), values))
    return same and list(now) == keys


def _same(now: Iterable[Any], kept: list[Any]) -> bool:
    now = list(now)
    return len(now) == len(kept) and all(map(is_, now, kept))


_OF_ITERATORS = frozenset({"builtins", "itertools"})
"""Where types of iterators come from that do not tell where they are."""
