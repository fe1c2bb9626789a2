"""State that a model carries from one forward pass into the next, which nothing resets.

State is what a pass reads before it writes it, and an earlier pass wrote. To tell it, a pass whose
traces remain after the reset is run once more: a tensor is state if the second run reads it, and it
was made of the input or is changed then; a number, if the second run gives another result. What a
pass makes anew or once, such as the weight of a hook or a table of positions, is neither. Nor are
the statistics that a module in training keeps in buffers; they are of all samples together, where
the state of a neuron is of each.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.measure.neurons.state import is_reset
from analyzer.measure.rules.defaults import CREATES
from analyzer.measure.tensors.arguments import has_memory, tensors_in, tensors_written
from analyzer.measure.tensors.held import Guard, equal
from analyzer.measure.tensors.randomness import random_state
from analyzer.measure.tensors.restore import has_attributes, undo_of
from analyzer.measure.torch_private.modes import DispatchMode
from analyzer.measure.torch_private.modules import constants_of
from analyzer.measure.torch_private.operators import schema_of, short_name, written_arguments
from analyzer.measure.torch_private.tensors import version_of
from analyzer.measure.torch_private.trees import tree_leaves, tree_map
from analyzer.measure.undoing import Undo

__all__ = ["CarriedState", "Place", "Reads", "Seen", "changed", "places_of"]

_OVERWRITES = frozenset({"zero", "fill", "copy", "normal", "uniform", "bernoulli", "set"})
"""Operations in place that write to a tensor without reading it."""


_SHAPED = re.compile("new_.*|.*_like")
"""Operations that read the shape of a tensor, and none of its values."""

_CREATES = CREATES | {"lift_fresh"}  # the latter of Python's numbers


class CarriedState:
    """Looks for state in the first pass of a model.

    Args:
        model: The model, before the pass.
        reset: What is called before each pass; it is called here, too.
        guard: Copies parameters before they are overwritten.
    """

    def __init__(self, model: nn.Module, reset: Callable[[], object], guard: Guard) -> None:
        self._model = model
        self._reset = reset
        self._random = random_state()
        untouched = _places(model)
        with guard:
            reset()
        self._random()  # so that each reset draws the same
        self._before = _places(model)
        self._rest = {
            place: x.clone()
            for place in changed(untouched, self._before)
            if isinstance(x := self._before[place].value, Tensor)
        }

    def alone(self, output: Any) -> Any:
        """An output of which a reset overwrites nothing: with copies of what the model keeps."""
        held = {
            x.untyped_storage()
            for module in self._model.modules()
            for x in (*vars(module).values(), *module.buffers(recurse=False))
            if isinstance(x, Tensor) and has_memory(x)
        }

        def copied(x: Any) -> Any:
            shares = isinstance(x, Tensor) and has_memory(x) and x.untyped_storage() in held
            return x.clone() if shares else x

        return tree_map(copied, output)

    def found(
        self,
        forward: Callable[[], Any],
        output: Any,
        given: Iterable[Tensor],
        of_input: Callable[[Tensor], bool],
        guard: Guard,
        samples: int,
    ) -> list[str]:
        """Paths of modules whose state the pass that just ran leaves to the next.

        Args:
            forward: Runs the same pass again; only called where traces of the first remain.
            output: What the pass returned.
            given: The tensors that the model is given: references to them are no state.
            of_input: Whether a tensor that the pass made depends on its input.
            guard: Copies parameters before they are overwritten.
            samples: How many samples passed.
        """
        drawn = random_state()
        statistics = _statistics(self._model, samples)
        left = [place for place in self._left(guard) if place not in statistics]
        if not left:
            drawn()
            return []
        undo = undo_of(self._model, lambda module: False, guard)
        start = _places(self._model)
        own = {x.untyped_storage() for x in (*given, *self._model.parameters()) if has_memory(x)}
        grown = {place[:-1] for place in left if place[-1] == _LENGTH}
        looked_at = [p for p in start if p in set(left) or any(p[: len(g)] == g for g in grown)]
        held = {p: x for p in looked_at if isinstance(x := start[p].value, Tensor)}
        made = {place: of_input(x) for place, x in held.items()}
        reads = Reads(
            [x for x in held.values() if has_memory(x) and x.untyped_storage() not in own], guard
        )
        with Undo(undo.restore, drawn):
            with reads:
                again = forward()
            after = _places(self._model)
            numbers = not _alike(output, again)
        states = [
            place[0]
            for place, x in held.items()
            if reads.carried(x, after.get(place), of_input=made[place])
        ]
        if numbers:
            states += [place[0] for place in left if place not in held]
        return list(dict.fromkeys(states))

    def _left(self, guard: Guard) -> list[Place]:
        """Places where a reset leaves what the pass wrote, or something that may come of it."""
        ended = _places(self._model)
        self._random()
        fresh = _Fresh()
        with guard, fresh:
            self._reset()
        now = _places(self._model)
        written = set(changed(ended, now))

        def is_at_rest(place: Place) -> bool:
            x = now[place].value
            if place not in written or not isinstance(x, Tensor):
                return False
            rest = self._rest.get(place)
            return fresh.made(x) or (rest is not None and _alike(rest, x))

        return [place for place in changed(self._before, now) if not is_at_rest(place)]


class _Fresh(DispatchMode):
    """Notes which tensors are made, or filled, of nothing that was there before."""

    def __init__(self) -> None:
        super().__init__()
        self._made: set[torch.UntypedStorage] = set()

    def made(self, x: Tensor) -> bool:
        """Whether all of a tensor was made so."""
        return has_memory(x) and x.untyped_storage() in self._made

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name, written = short_name(func), written_arguments(func)
        if getattr(func, "is_view", False) and name not in _CREATES:
            return out
        results = [x for x in tensors_in((out,)) if has_memory(x)]
        if written:
            whole = all(x.nbytes == x.untyped_storage().nbytes() for x in results)
            fresh = whole and name in _OVERWRITES and all(map(self.made, tensors_in(args[1:])))
        else:
            given = tensors_in((*args, *kwargs.values()))
            fresh = name in _CREATES or (bool(given) and all(map(self.made, given)))
        for x in results:
            if fresh:
                self._made.add(x.untyped_storage())
            elif not all(map(self.made, tensors_in((*args, *kwargs.values())))):
                self._made.discard(x.untyped_storage())
        return out


class Reads(DispatchMode):
    """Notes which of some tensors are read before they are written."""

    def __init__(self, tensors: Iterable[Tensor], guard: Guard) -> None:
        super().__init__()
        self._held = {x.untyped_storage(): x for x in tensors}
        self._written: set[torch.UntypedStorage] = set()
        self._read: set[torch.UntypedStorage] = set()
        self._guard = guard

    def carried(self, before: Tensor, after: Seen | None, *, of_input: bool) -> bool:
        """Whether a tensor was read, and depends on an earlier input or was changed then."""
        if not has_memory(before) or before.untyped_storage() not in self._read:
            return False
        now = after.value if after is not None else None
        storage = before.untyped_storage()
        same = isinstance(now, Tensor) and has_memory(now) and now.untyped_storage() is storage
        return of_input or not same or storage in self._written

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not getattr(func, "is_view", False):
            self._note(func, args, kwargs)
        return func(*args, **kwargs)

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if schema_of(func) is not None and _SHAPED.fullmatch(short_name(func)):
            return
        targets = written_arguments(func)
        written = tensors_written(targets, args, kwargs)
        for tensor in written:
            self._guard.before_write(tensor)
        blind = bool(targets) and (
            short_name(func) in _OVERWRITES or any(name == "out" for _, name in targets)
        )
        skipped = {id(x) for x in written} if blind else set()
        for x in tensors_in((*args, *kwargs.values())):
            if has_memory(x) and id(x) not in skipped:
                key = x.untyped_storage()
                if key in self._held and key not in self._written:
                    self._read.add(key)
        self._written |= {x.untyped_storage() for x in written if has_memory(x)}


class Seen:
    """A value in a module, and what tells that it was written."""

    __slots__ = ("mark", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.mark = version_of(value) if isinstance(value, Tensor) else None

    def is_still(self, other: Seen) -> bool:
        """Whether a place that held the other holds it still, and nothing wrote to it."""
        if isinstance(self.value, Tensor) or isinstance(other.value, Tensor):
            return self.value is other.value and self.mark == other.mark
        return bool(self.value == other.value) or self.value != self.value


Place = tuple[str, ...]
"""Path of a module, and where in it."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that PyTorch gives each module: tables, hooks and the training flag."""

_LENGTH = "length"
"""Stands for the number of items in a container."""

_DEEPEST = 64
"""Containers inside of each other are followed so far: a place is as long as they are deep."""

_NUMBERS = (bool, int, float, complex, str, type(None))


def _places(model: nn.Module) -> dict[Place, Seen]:
    """The places of all modules but those whose reset is known."""
    return places_of({path: m for path, m in model.named_modules() if not is_reset(m)})


def places_of(modules: Mapping[str, nn.Module]) -> dict[Place, Seen]:
    """Each tensor, number and flag that modules hold beside parameters and settings of PyTorch."""
    return {
        (path, *place): Seen(value)
        for path, module in modules.items()
        for place, value in _held(module)
    }


def _held(module: nn.Module) -> Iterator[tuple[tuple[str, ...], Any]]:
    pending: list[tuple[tuple[str, ...], Any]] = [
        ((name,), value) for name, value in vars(module).items() if name not in _OF_EVERY_MODULE
    ]
    pending += [((name,), value) for name, value in constants_of(module)[1].items()]
    seen: set[int] = set()
    while pending:
        place, value = pending.pop()
        if isinstance(value, Tensor):
            if not isinstance(value, nn.Parameter):
                yield place, value
        elif isinstance(value, _NUMBERS):
            yield place, value
        elif id(value) in seen or len(place) > _DEEPEST:
            continue
        elif isinstance(value, Mapping):
            seen.add(id(value))
            yield (*place, _LENGTH), len(value)
            pending += [((*place, repr(key)), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple, deque)):
            seen.add(id(value))
            yield (*place, _LENGTH), len(value)
            pending += [((*place, str(i)), item) for i, item in enumerate(value)]
        elif _is_object(value):
            seen.add(id(value))  # its numbers may count or note anything, its tensors are state
            pending += [
                ((*place, name), item)
                for name, item in vars(value).items()
                if isinstance(item, Tensor)
            ]


def _statistics(model: nn.Module, samples: int) -> set[Place]:
    """Buffers of modules in training that hold nothing for each sample."""
    return {
        (path, name)
        for path, module in model.named_modules()
        if module.training
        for name, x in module.named_buffers(recurse=False)
        if x.ndim < 2 or x.shape[0] != samples
    }


def _is_object(value: Any) -> bool:
    kind: Any = type(value)
    return has_attributes(kind) and not isinstance(value, nn.Module)


def changed(before: dict[Place, Seen], after: dict[Place, Seen]) -> list[Place]:
    """Places whose value is another than before, or that are new."""
    return [
        place
        for place, seen in after.items()
        if place not in before or not seen.is_still(before[place])
    ]


def _alike(a: Any, b: Any) -> bool:
    """Whether two outputs hold the same, NaN included."""
    mine, theirs = tree_leaves(a), tree_leaves(b)
    if len(mine) != len(theirs):
        return False
    return all(
        x.shape == y.shape and equal(x, y)
        if isinstance(x, Tensor) and isinstance(y, Tensor)
        else not isinstance(x, _NUMBERS) or x == y
        for x, y in zip(mine, theirs, strict=True)
    )
