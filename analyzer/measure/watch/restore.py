"""Keeps a model as it was found: weights, buffers, neuron state, training flags, random state.

Parameters are copied only when an operation is about to overwrite them, which a dispatch mode
sees; all else is small and copied at once.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from functools import cache, partial
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private import DispatchMode, version_of, written_arguments
from analyzer.measure.watch.tensors import tensors_in

__all__ = [
    "Guard",
    "Held",
    "Snapshot",
    "preserved",
    "random_numbers_of_python",
    "random_state",
    "undo_of",
]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_PLAIN = frozenset({dict, OrderedDict, list, set})

# Objects of these are machinery (functions, loggers, locks, compiled code), not a model's state.
_MACHINERY = sys.stdlib_module_names - {"argparse", "collections", "types"} | {"torch"}

_MOST_COPIED = 1 << 30
"""Bytes of parameters that are copied at most so that a pass can be undone."""


class Guard(DispatchMode):
    """Copies the tensors of a model that are about to be overwritten.

    As a mode it sees the operations of its block; other modes call :meth:`before_write` themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, list[Held]] = {}

    def watch(self, held: Held) -> None:
        """Has a tensor copied before an operation overwrites it."""
        if held.readable:
            self._held.setdefault(_storage(held.alias), []).append(held)

    def save(self) -> None:
        """Copies all watched tensors, but for the largest where they take too much memory.

        For passes that no mode sees.
        """
        watched = [held for some in self._held.values() for held in some]
        size = 0
        for held in sorted(watched, key=lambda held: held.alias.nbytes):
            size += held.alias.nbytes
            if size > _MOST_COPIED:
                break
            held.save()

    def copy_of(self, held: Held) -> Tensor | None:
        """The copy of a watched tensor that was found as it is now."""
        for known in self._held.get(_storage(held.alias), ()) if held.readable else ():
            if known.marks == held.marks:
                return known.copy
        return None

    def before_write(self, tensor: Tensor) -> None:
        """Copies all watched tensors that share the storage of one about to be written."""
        if tensor.layout is torch.strided:
            for held in self._held.get(_storage(tensor), ()):
                held.save()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for position, name in written_arguments(func):
            value = args[position] if position < len(args) else kwargs.get(name)
            for tensor in tensors_in((value,)):
                self.before_write(tensor)
        return func(*args, **kwargs)


class Held:
    """A tensor as it was found. Its values are copied when :meth:`save` says so.

    Args:
        value: The tensor.

    Attributes:
        alias: Another view of its storage, which it may leave.
        copy: Its values, None until they are saved.
        marks: What tells that it was replaced, reshaped or written.
        readable: Whether it has values to copy.
    """

    __slots__ = ("_grad", "_requires_grad", "_value", "alias", "copy", "marks", "readable")

    def __init__(self, value: Tensor) -> None:
        strided = value.layout is torch.strided and not value.is_nested
        self.readable = strided and not value.is_meta
        self.alias = value.detach()
        self._value = value
        self.copy: Tensor | None = None
        self._grad = value.grad if value.is_leaf else None
        self._requires_grad = value.requires_grad
        self.marks = _marks(value)

    @property
    def is_parameter(self) -> bool:
        """Whether it is a parameter, which is copied only when it must be."""
        return isinstance(self._value, nn.Parameter)

    @property
    def changed(self) -> bool:
        """Whether the tensor was replaced, reshaped, or written in a way that PyTorch notices."""
        value = self._value
        return _marks(value) != self.marks or (value.is_leaf and value.grad is not self._grad)

    def save(self) -> None:
        """Copies the values, the first time."""
        if self.copy is None and self.readable:
            self.copy = _once(self.alias).clone()

    def save_again(self) -> None:
        """Copies the values as they are now."""
        if self.readable:
            if self.copy is None:
                self.save()
            else:
                self.copy.copy_(_once(self.alias))

    def restore(self) -> None:
        """Puts values, storage and gradient back.

        Raises:
            AnalyzerError: Where they were overwritten and no copy is there.
        """
        value, alias = self._value, self.alias
        if value.is_leaf and value.grad is not self._grad:
            value.grad = self._grad
        if value.is_leaf and value.requires_grad != self._requires_grad:
            value.requires_grad_(self._requires_grad)
        if not self.readable:
            return
        if _marks(value)[:3] != self.marks[:3]:
            value.data = alias
        if self.copy is None:
            if version_of(value) != self.marks[3]:
                raise AnalyzerError(
                    f"a parameter of shape {tuple(value.shape)} was overwritten in a later batch, "
                    "not in the first, and was too large to be copied before, so it is not as it "
                    'was: give analyzer.profile watch="every".'
                )
        elif not _equal(_once(value), self.copy):
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                _once(value).copy_(self.copy)


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
        self._states = [_generator_state(generator) for generator in self._generators]

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
        return [_numbers_of(g) for g in self._generators if not isinstance(g, torch.Generator)]

    def restore(self) -> None:
        """Puts everything back; what fails does not keep the rest from being put back.

        Raises:
            AnalyzerError: The first failure.
        """
        failed: list[AnalyzerError] = []
        for restore in self._restores():
            try:
                restore()
            except AnalyzerError as error:
                failed.append(error)
            except Exception as error:
                failed.append(AnalyzerError(f"the model could not be left as it was: {error}"))
        if failed:
            raise failed[0]

    def _restores(self) -> Iterator[Callable[[], object]]:
        """What is to be done, of all that is not as it was."""
        for emptied in self._empty:
            if emptied:
                yield emptied.clear
        for now, keys, values in self._dicts:
            if not _same_dict(now, keys, values):
                yield partial(_restore_dict, now, keys, values)
        for sequence, kept in self._sequences:
            if not _same(sequence, kept):
                yield partial(_restore_sequence, sequence, kept)
        for some, members in self._sets:
            if some != members:
                yield partial(_restore_set, some, members)
        for array, numbers in self._arrays:
            if not np.array_equal(array, numbers, equal_nan=array.dtype.kind in "fc"):
                yield partial(np.copyto, array, numbers)
        for owner, name, value in self._slots:
            if getattr(owner, name, None) is not value:
                yield partial(setattr, owner, name, value)
        for module, training in self._flags:
            if getattr(module, "training", False) != training:
                yield partial(setattr, module, "training", training)
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
                members = self._visit_dict(value)
            elif _is_sequence(value):
                members = list(value)
                self._sequences.append((value, members))
            elif isinstance(value, (set, frozenset, tuple)):
                members = value
                if isinstance(value, set):
                    self._sets.append((value, set(value)))
            elif isinstance(value, _GENERATORS):
                self._generators.append(value)
                continue
            elif kind.__module__ in _OF_ITERATORS and isinstance(value, Iterator):
                self._iterators = True
            elif type(value) is np.ndarray and value.dtype != object:
                self._arrays.append((value, value.copy()))
            elif _slots_of(kind):
                members = self._visit_slots(value, _slots_of(kind))
            seen[id(value)] = value
            if _has_attributes(kind):
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
            found += [value for value in home.values() if isinstance(value, _GENERATORS)]
        return found

    def _visit_slots(self, value: Any, names: tuple[str, ...]) -> list[Any]:
        values = [getattr(value, name, None) for name in names]
        self._slots += [(value, name, item) for name, item in zip(names, values, strict=True)]
        return values

    def _visit_dict(self, value: dict[Any, Any]) -> list[Any]:
        values = list(value.values())
        self._dicts.append((value, list(value), values))
        return values


@contextmanager
def preserved(model: nn.Module) -> Iterator[Guard]:
    """Puts everything that a forward pass may change back when the block ends, raised or not.

    That is what :class:`Snapshot` covers, and the random state of Python, NumPy and torch.

    Yields:
        What must be told before a tensor is overwritten.
    """
    guard = Guard()
    back = random_state()
    snapshot = Snapshot(model)
    for held in snapshot.tensors:
        if held.is_parameter:
            guard.watch(held)
        else:
            held.save()
    try:
        yield guard
    finally:
        try:
            snapshot.restore()
        finally:
            back()


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


def _storage(tensor: Tensor) -> int:
    """Tells storages apart while they live."""
    return id(tensor.untyped_storage())


def _marks(value: Tensor) -> tuple[int, Any, Any, int]:
    """What tells that a tensor was replaced, reshaped or written."""
    if value.layout is not torch.strided or value.is_nested:
        return 0, None, None, version_of(value)
    return value.data_ptr(), value.shape, value.stride(), version_of(value)


def _once(tensor: Tensor) -> Tensor:
    """A tensor with each element of its memory once: expanded axes have one entry."""
    if 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(0, 1) if not step else slice(None) for step in tensor.stride())]


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same, NaN included."""
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())


def _is_sequence(value: Any) -> bool:
    if isinstance(value, (list, deque)):
        return True
    kind: Any = type(value)
    return isinstance(value, MutableSequence) and not _has_attributes(kind)


@cache
def _has_attributes(kind: Any) -> bool:
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


def _restore_dict(now: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    now.clear()
    for key, value in zip(keys, values, strict=True):
        now[key] = value


def _restore_sequence(now: MutableSequence[Any], kept: list[Any]) -> None:
    while now:
        now.pop()
    now.extend(kept)


def _restore_set(now: set[Any], kept: set[Any]) -> None:
    now.clear()
    now.update(kept)


def _same_dict(now: dict[Any, Any], keys: list[Any], values: list[Any]) -> bool:
    same = len(now) == len(values) and all(map(is_, now.values(), values))
    return same and list(now) == keys


def _same(now: Iterable[Any], kept: list[Any]) -> bool:
    now = list(now)
    return len(now) == len(kept) and all(map(is_, now, kept))


_OF_ITERATORS = frozenset({"builtins", "itertools"})
"""Where types of iterators come from that do not tell where they are."""

_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def _numbers_of(generator: Any) -> bytes:
    """Tells states of a generator of Python or NumPy apart."""
    if isinstance(generator, np.random.Generator):
        return pickle.dumps(generator.bit_generator.state)
    if isinstance(generator, random.Random):
        return pickle.dumps(generator.getstate())
    return pickle.dumps(generator.get_state(legacy=False))


def _generator_state(generator: Any) -> Callable[[], object]:
    """What puts a random generator back to its state of now."""
    if isinstance(generator, np.random.Generator):
        bits: Any = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    return partial(generator.set_state, generator.get_state())


def random_numbers_of_python() -> Hashable:
    """Tells whether Python or NumPy drew random numbers, which no mode sees."""
    numpy = np.random.get_state(legacy=False)["state"]
    return random.getstate(), numpy["key"].tobytes(), numpy["pos"]


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
