"""Inputs as callers give them (a tensor, arguments, a loader) as the arguments of forward passes.

The signature of the model's forward tells which parts of a batch are arguments. What is left over
is the target, if it looks like one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.compiler import compiled_module
from analyzer.measure.torch_private.trees import tree_leaves, tree_map

__all__ = ["Batch", "Parameters", "batches_of", "is_one_batch", "length", "read_batch"]

_TARGET_NAMES = ("label", "labels", "target", "targets", "y")
_NO_INPUT = (str, bytes, int, float, type(None))
_REMEDY = (
    "give forward=, a function (model, batch) -> output that calls the model as it should be, such "
    "as forward=lambda model, batch: model(batch[0])"
)


@dataclass(frozen=True)
class Batch:
    """What one forward pass is given.

    Attributes:
        args: Positional arguments.
        kwargs: Arguments by name.
        target: What the output should be, None where nothing tells.
        whole: The batch as the caller gave it.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Any = None
    whole: Any = None

    @property
    def leaves(self) -> list[Any]:
        """All that the model is given, containers taken apart."""
        pending = tree_leaves((self.args, self.kwargs))
        found: list[Any] = []
        for leaf in pending:
            inside = _as_mapping(leaf)
            found += [leaf] if inside is None else tree_leaves(dict(inside))
        return found

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Tensors that the model is given, in order; nested ones, which have no shape, aside."""
        return [x for x in self.leaves if isinstance(x, Tensor) and not x.is_nested]

    @property
    def first(self) -> Tensor | None:
        """The first of them that has an axis, None where none has."""
        return next((x for x in self.tensors if x.ndim), None)

    def kept_objects(self) -> Callable[[], None]:
        """What puts objects that the model is given, such as a cache, back to what they hold now.

        Tensors among the arguments are no part of it, nor is an object that can not be copied.
        """
        objects = [x for x in self.leaves if not isinstance(x, Tensor) and hasattr(x, "__dict__")]
        objects = [x for x in objects if not isinstance(x, nn.Module) and not callable(x)]
        fixed: dict[int, Any] = {id(x): x for x in self.tensors}
        kept = []
        for value in objects:
            try:
                kept.append((value, deepcopy(vars(value), dict(fixed))))
            except Exception:  # an object of the user's decides what it raises
                continue

        def back() -> None:
            for value, attributes in kept:
                vars(value).clear()
                vars(value).update(deepcopy(attributes, dict(fixed)))

        return back

    def on(self, device: torch.device | None) -> Batch:
        """The same with all that can be moved on a device."""
        if device is None:
            return self

        def moved(value: Any) -> Any:
            can = isinstance(value, Tensor) or _moves(value)
            return value.to(device) if can else value

        args, kwargs = tree_map(moved, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs)


@dataclass(frozen=True)
class Parameters:
    """The parameters of a model's forward.

    Attributes:
        positional: Names of those that may be given by position, in order.
        required: How many of them have no default.
        named: Names of all.
        any_positional: Whether there may be more by position.
        any_named: Whether there may be others by name.
    """

    positional: tuple[str, ...] = ()
    required: int = 0
    named: frozenset[str] = frozenset()
    any_positional: bool = False
    any_named: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> Parameters:
        """The parameters of the forward of a model, seen through wrappers that pass all on."""
        found = cls._of_script(model) or cls._of(model.forward)
        inner = compiled_module(model) or getattr(model, "module", None)
        passes_on = found.any_positional and not found.positional
        return cls.of(inner) if passes_on and isinstance(inner, nn.Module) else found

    @classmethod
    def _of(cls, forward: Callable[..., Any]) -> Parameters:
        try:
            listed = inspect.signature(forward).parameters.values()
        except (TypeError, ValueError):  # compiled code without a signature
            return cls(any_positional=True, any_named=True)
        kinds = inspect.Parameter
        placed = [
            p for p in listed if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        ]
        named = [
            p.name for p in listed if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
        ]
        return cls(
            tuple(p.name for p in placed),
            sum(p.default is p.empty for p in placed),
            frozenset(named),
            any(p.kind is p.VAR_POSITIONAL for p in listed),
            any(p.kind is p.VAR_KEYWORD for p in listed),
        )

    @classmethod
    def _of_script(cls, model: nn.Module) -> Parameters | None:
        """Of a scripted model, whose forward is no Python."""
        schema = getattr(getattr(model, "forward", None), "schema", None)
        listed = getattr(schema, "arguments", None)
        if listed is None:
            return None
        names = tuple(a.name for a in listed if a.name != "self")
        lacking = sum(a.default_value is None for a in listed if a.name != "self")
        return cls(names, lacking, frozenset(names))

    def takes(self, number: int) -> bool:
        """Whether so many arguments may be given by position."""
        return self.required <= number and (self.any_positional or number <= len(self.positional))

    def __str__(self) -> str:
        shown = [*self.positional, *(["*"] if self.any_positional else [])]
        return f"forward({', '.join(shown)})"


def batches_of(
    inputs: Any, model: nn.Module, forward: Callable[[nn.Module, Any], Any] | None = None
) -> Iterator[Batch]:
    """The batches of some inputs, one after another.

    Args:
        inputs: A tensor, a tuple or dict of arguments, one batch ``[x, target]`` as a DataLoader
            yields it, or an iterable of batches.
        model: Whose arguments they are.
        forward: A function of the caller's that runs the model on a batch as it is.

    Raises:
        AnalyzerError: Where a batch can't be passed to the model, or in more than one way.
    """
    read = _reading(model, forward)
    if forward is None and isinstance(inputs, np.ndarray):
        raise AnalyzerError("inputs are a NumPy array: give torch.from_numpy(inputs).")
    if _is_whole(inputs):
        yield read(inputs, isinstance(inputs, list))
        return
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes)):
        if forward is not None or not isinstance(inputs, _NO_INPUT):
            yield read(inputs, False)
            return
        raise AnalyzerError(
            f"inputs are {type(inputs).__name__}: give a tensor, a tuple or dict of arguments, or "
            "an iterable of batches."
        )
    for value in inputs:
        yield read(value, True)


def read_batch(
    value: Any, model: nn.Module, forward: Callable[[nn.Module, Any], Any] | None = None
) -> Batch:
    """One batch as arguments of a model, as :func:`batches_of` reads it."""
    return _reading(model, forward)(value, False)


def _reading(
    model: nn.Module, forward: Callable[[nn.Module, Any], Any] | None
) -> Callable[[Any, bool], Batch]:
    return _whole if forward is not None else _Reader(Parameters.of(model)).read


def _whole(value: Any, of_loader: bool) -> Batch:
    """A batch for a forward of the caller's: what looks like a target serves the accuracy."""
    target = None
    if isinstance(value, (tuple, list)) and len(value) > 1 and _looks_like_target(value[-1]):
        target = value[-1]
    elif isinstance(value, Mapping):
        target = next((value[name] for name in _TARGET_NAMES if name in value), None)
    return Batch((value,), {}, target, value)


class _Reader:
    """Reads batches as arguments.

    Args:
        parameters: Of the forward that they are for.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def read(self, value: Any, of_loader: bool) -> Batch:
        """Arguments and target of one batch.

        Args:
            value: The batch.
            of_loader: Whether it is of a loader, where ``(x, target)`` is the habit, and no tuple
                of arguments.
        """
        if isinstance(value, Tensor):
            return Batch((value,), whole=value)
        mapping = _as_mapping(value)
        if mapping is not None and not self._fits_by_position(value):
            return self._by_name(mapping, value)
        if isinstance(value, (tuple, list)) and len(value):
            return self._by_position(tuple(value), value, of_loader)
        if isinstance(value, (tuple, list, *_NO_INPUT)):
            raise AnalyzerError(
                f"a batch is {type(value).__name__}, which can not be passed to the model: give a "
                "tensor, (x, target), or a dict of arguments."
            )
        if self._parameters.takes(1):
            return Batch((value,), whole=value)
        raise AnalyzerError(
            f"a batch is {type(value).__name__}, and the model takes {self._parameters}: {_REMEDY}."
        )

    def _fits_by_position(self, value: Any) -> bool:
        """Whether a named tuple does not name what the model takes."""
        names = _names_of_tuple(value)
        return bool(names) and not set(names) & self._parameters.named

    def _by_name(self, given: Mapping[str, Any], whole: Any) -> Batch:
        parameters = self._parameters
        known = {k: v for k, v in given.items() if k in parameters.named or parameters.any_named}
        rest = {k: v for k, v in given.items() if k not in known}
        target = next((given[name] for name in _TARGET_NAMES if name in given), None)
        if not known and parameters.takes(1):
            return Batch((whole,), {}, target, whole)
        if parameters.any_named and not parameters.named:
            known = {k: v for k, v in known.items() if k not in _TARGET_NAMES} or known
        lost = [k for k, v in rest.items() if k not in _TARGET_NAMES and isinstance(v, Tensor)]
        if lost or not known:
            raise AnalyzerError(
                f"a batch names {', '.join(lost or map(str, rest))}, which {parameters} does not "
                f"take: leave it out, or {_REMEDY}."
            )
        return Batch((), dict(known), target, whole)

    def _by_position(self, value: tuple[Any, ...], whole: Any, of_loader: bool) -> Batch:
        parameters = self._parameters
        args, target = value, None
        if not of_loader:
            if not parameters.takes(len(value)) and len(value) > 1:
                args, target = self._split(value)
        elif len(value) > 1:
            as_arguments = parameters.takes(len(value))
            with_target = parameters.takes(len(value) - 1) or self._takes_inside(value)
            if with_target and (not as_arguments or _looks_like_target(value[-1], value[0])):
                args, target = value[:-1], value[-1]
            elif with_target and as_arguments and not parameters.any_positional:
                raise AnalyzerError(
                    f"a batch of {len(value)} parts can be read in two ways: as the arguments of "
                    f"{parameters}, or with its last part as the target: {_REMEDY}."
                )
            elif not as_arguments:
                args, target = self._split(value)
        if len(args) == 1 and isinstance(args[0], tuple) and len(args[0]) > 1:
            inner = args[0]
            if parameters.takes(len(inner)) and not parameters.any_positional:
                args = tuple(inner)
        if len(args) == 1 and args[0] is not whole:
            mapping = _as_mapping(args[0])
            if mapping is not None and set(mapping) & parameters.named:
                inside = self._by_name(mapping, whole)
                return Batch(inside.args, inside.kwargs, target, whole)
        return Batch(args, {}, target, whole)

    def _takes_inside(self, value: tuple[Any, ...]) -> bool:
        """Whether the first of two parts holds all arguments, as in ``((a, b), target)``."""
        return (
            len(value) == 2
            and isinstance(value[0], tuple)
            and self._parameters.takes(len(value[0]))
        )

    def _split(self, value: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        """Arguments and target of a batch that has more parts than the model takes."""
        if _looks_like_target(value[-1], value[0]) and self._parameters.takes(len(value) - 1):
            return value[:-1], value[-1]
        raise AnalyzerError(
            f"a batch has {len(value)} parts, and the model takes {self._parameters}: {_REMEDY}."
        )


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A dict of arguments by name, where a value is something like that."""
    if isinstance(value, Mapping):
        return value
    names = _names_of_tuple(value)
    if names:
        return dict(zip(names, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return None


def _names_of_tuple(value: Any) -> tuple[str, ...]:
    """The names of a named tuple's items."""
    kind: Any = type(value)
    names: tuple[str, ...] = vars(kind).get("_fields", ()) if isinstance(value, tuple) else ()
    return names


def _looks_like_target(value: Any, given: Any = None) -> bool:
    """Whether something looks like class numbers, shares of classes or a list of targets.

    Args:
        value: What may be a target.
        given: The first input beside it, which tells integer class numbers from token numbers.
    """
    if isinstance(value, (int, list)):
        return True
    if not isinstance(value, Tensor):
        return isinstance(value, Mapping)
    if value.is_floating_point():
        shares = value.ndim == 2 and value.numel() > 0 and value.shape[1] > 1
        return shares and bool((value >= 0).all() and ((value.sum(1) - 1).abs() < 1e-3).all())
    if value.is_complex():
        return False
    whole_numbers = isinstance(given, Tensor) and not given.is_floating_point()
    return value.ndim <= 1 or not (whole_numbers and value.shape == given.shape)


def _is_whole(inputs: Any) -> bool:
    """Whether inputs are one batch and no iterable of batches."""
    given = isinstance(inputs, (Tensor, tuple, Mapping)) or _as_mapping(inputs) is not None
    return given or _moves(inputs) or _is_collated(inputs)


def _moves(value: Any) -> bool:
    """Whether something other than a module moves to a device, as data does and loaders do not."""
    return callable(getattr(value, "to", None)) and not isinstance(value, nn.Module)


def _is_collated(inputs: Any) -> bool:
    """Whether a list is one batch ``[x, target]``, as a DataLoader yields it."""
    if not (isinstance(inputs, list) and len(inputs) == 2):
        return False
    if not all(isinstance(item, Tensor) and item.ndim for item in inputs):
        return False
    x, target = inputs
    return bool(target.ndim == 1 and len(target) == len(x) and x.ndim > 1)


def is_one_batch(inputs: Any) -> bool:
    """Whether inputs are one batch."""
    return _is_whole(inputs) or not isinstance(inputs, Iterable) or length(inputs) == 1


def length(inputs: Any) -> int | None:
    """Number of batches; None where it is not known, as of a generator."""
    try:
        return len(inputs)
    except TypeError:
        return None
