"""Facts as plain JSON values and back, checked value by value when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, lru_cache, partial
from reprlib import repr as shortened
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from analyzer.facts.identity import IDENTITY
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, GroupCount, LayerShape, Shape, Tally
from analyzer.facts.sampled import Matrix, Sampled
from analyzer.facts.sent import NeuronSet, Sent
from analyzer.facts.sound import refuse_impossible, refuse_many_neurons, refuse_unbounded
from analyzer.facts.values import Values

__all__ = ["PARTS", "decoded", "encoded", "record"]

PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "samples": int,
        "metadata": dict,
        "contractions": tuple[Contraction, ...],
        "tallies": tuple[Tally, ...],
        "uncounted": tuple[Tally, ...],
        "groups": tuple[GroupCount, ...],
        "correct": int | None,
        "shapes": tuple[Shape, ...],
        "sent": tuple[Sent, ...] | None,
        "layers": tuple[Layer, ...] | None,
        "sampled": Sampled | None,
    }
)
"""What a file holds, in its order, by the names that a profile has for it."""

_ONLY_IF_KNOWN = frozenset({"sampled"})
"""Parts that a file does not mention where a profile has none."""

_KEYED = ("contractions", "tallies", "uncounted", "groups", "shapes", "sent")
"""Parts of which each record has a key of its own."""

_FILE_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "layer": "extent",
        "first_read": "fresh",
        "first_read_elements": "fresh_elements",
        "first_read_weights": "fresh_weights",
    }
)
"""Fields of records that a file has under another key, which files of every version keep."""

_METADATA: Mapping[str, Any] = MappingProxyType(
    {
        "model": str,
        "parameters": int | None,
        "weights_digest": str | None,
        "input_shape": list[int] | None,
        "timesteps": int | None,
        "dtype": str | None,
        "name": str | None,
        "parameters_bytes": int | None,
        "buffers_bytes": int | None,
        "neuron_state_bytes": int | None,
        "activations_bytes": int | None,
        "peak_activations_bytes": int | None,
        "fold_batch_norm": bool | None,
        "unknown_neurons": list[str] | None,
    }
)
"""Metadata that this package reads; all else is for people and may be any JSON."""

_OPTIONAL = ("weights_digest", "fold_batch_norm")


def encoded(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a profile as values that JSON has.

    Raises:
        ValueError: Where a number is larger than :func:`decoded` reads; says which.
    """
    document = {
        name: _plain(parts[name])
        for name in PARTS
        if not (name in _ONLY_IF_KNOWN and parts[name] is None)
    }
    for name, value in document.items():
        refuse_unbounded(value, name)
    return document


def decoded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a profile from what :func:`encoded` made.

    Raises:
        ValueError: Where a value is missing, unknown or of another kind; says which.
    """
    # files of early versions have none of these
    lacking: dict[str, Any] = {"shapes": [], "sent": None, "layers": None, "sampled": None}
    document = lacking | dict(document)
    missing = [name for name in PARTS if name not in document]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    refuse_many_neurons(document["sent"])
    for name in ("samples", "correct", "metadata"):
        refuse_unbounded(document[name], name)
    parts = {name: record(kind, document[name], name) for name, kind in PARTS.items()}
    metadata, samples = parts["metadata"], parts["samples"]
    for key, kind in _METADATA.items():
        if key in IDENTITY and key not in metadata and key not in _OPTIONAL:
            raise ValueError(f"metadata.{key} is missing")
        found = record(kind, metadata.get(key), f"metadata.{key}")
        least = 1 if key == "timesteps" else 0
        for number in found if isinstance(found, list) else [found]:
            if type(number) is int and number < least:
                raise ValueError(f"metadata.{key} is {found}")
    if samples < 0 or not 0 <= (parts["correct"] or 0) <= samples:
        raise ValueError(f"{parts['correct']} of {samples} samples are correct")
    if parts["sampled"] is not None:
        parts["sampled"].check(parts["contractions"], len(parts["tallies"]), samples)
    for name in _KEYED:
        _refuse_twice(name, parts[name] or ())
    return parts


def record(kind: Any, value: Any, place: str) -> Any:
    """A JSON value as an annotation wants it, such as a record of some dataclass.

    Raises:
        ValueError: Where a value is missing, unknown or of another kind; says which.
    """
    try:
        return _reader(kind)(value)
    except _MisfitError as error:
        raise error.at(place) from None


def _refuse_twice(name: str, records: Sequence[Any]) -> None:
    keys = [each.key for each in records]
    if len(set(keys)) == len(keys):  # as in nearly all files
        return
    seen: set[Any] = set()
    for number, key in enumerate(keys):
        if key in seen:
            raise ValueError(f"{name}[{number}] says again what one before it says")
        seen.add(key)


class _MisfitError(ValueError):
    """A value is not of the kind that its place wants; each container adds its part of the place.

    Places are only written where something is wrong: a file holds tens of thousands of values.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.place, self.what = "", what

    def at(self, place: str) -> _MisfitError:
        self.place = place + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place.removeprefix('.')} {self.what}"


_Reader = Callable[[Any], Any]
"""From a JSON value to one as an annotation wants it."""


@cache
def _reader(kind: Any) -> _Reader:
    if isinstance(kind, UnionType):
        inner = _reader(get_args(kind)[0])
        return lambda value: None if value is None else inner(value)
    if kind in (NeuronSet, Matrix):
        return lambda value: kind.of_text(_as_it_is(str, value))
    if is_dataclass(kind):
        return partial(_record, kind)
    if kind is float:
        return _number
    container = get_origin(kind)
    if container is not None:
        item = get_args(kind)[0]
        return partial(_items, container, item if item in (int, str, bool) else None, _reader(item))
    return partial(_as_it_is, kind)


def _as_it_is(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _MisfitError(f"is {shortened(value)}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _MisfitError(f"is {shortened(value)}")
    return float(value)


def _items(container: Callable[[list[Any]], Any], plain: Any, item: _Reader, values: Any) -> Any:
    if plain is not None and type(values) is list and {plain}.issuperset(map(type, values)):
        return container(values)
    found: list[Any] = []
    try:
        for value in _as_it_is(list, values):
            found.append(item(value))
    except _MisfitError as error:
        raise (error.at(f"[{len(found)}]") if type(values) is list else error) from None
    return container(found)


def _record(kind: Any, values: Any) -> Any:
    order = _order(kind)
    if type(values) is not dict:
        raise _MisfitError(f"is {shortened(values)}")
    if tuple(values) != order.names:  # as nearly all files have it
        values = order.completed(values)
    given = list(values.values())
    at = 0
    try:
        for at in order.to_read(given):
            given[at] = order.readers[at](given[at])
    except _MisfitError as error:
        raise error.at(f".{order.names[at]}") from None
    try:
        return order.made(kind, *given)
    except ValueError as error:
        field, _, what = str(error).partition(" ")
        raise _MisfitError(what).at(field) from None


def _made(kind: Any, *values: Any) -> Any:
    """A record, where it can be."""
    made = kind(*values)
    refuse_impossible(made)
    return made


_made_once = lru_cache(maxsize=4096, typed=True)(_made)
"""The same, for records of which a file has many that are equal."""


class _Order:
    """The fields of a record, in their order.

    Attributes:
        names: Their keys in a file.
        readers: What reads each.
        made: What makes a record of what was read.
    """

    def __init__(self, kind: Any) -> None:
        hints = get_type_hints(kind)
        self.names = tuple(map(_key, hints))
        self.readers = tuple(map(_reader, hints.values()))
        self.made = _made_once if kind in (Values, LayerShape) else _made
        self._defaults = {_key(f.name): f.default for f in fields(kind)}
        self._exact = tuple(map(_exact, hints.values()))
        self._seen: dict[tuple[type, ...], tuple[int, ...]] = {}

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values in the order of the fields, with the defaults of those that are not there.

        Raises:
            ValueError: Where one is missing that has no default, or one is unknown.
        """
        needed = {name for name, default in self._defaults.items() if default is MISSING}
        for what, keys in (
            ("missing", needed - values.keys()),
            ("unknown", values.keys() - self._defaults),
        ):
            if keys:
                raise _MisfitError(f"is {what}").at(f".{min(keys)}")
        return {name: values.get(name, default) for name, default in self._defaults.items()}

    def to_read(self, values: list[Any]) -> tuple[int, ...]:
        """Which values are not as they are in a record; records of one kind have few such sets."""
        types = tuple(map(type, values))
        found = self._seen.get(types)
        if found is None:
            pairs = enumerate(zip(types, self._exact, strict=True))
            found = tuple(at for at, (given, exact) in pairs if given not in exact)
            self._seen[types] = found
        return found


_order = cache(_Order)


def _exact(hint: Any) -> tuple[type, ...]:
    """Types of JSON values that a record has as they are. A float may be infinite: it is read."""
    inner = get_args(hint)[0] if isinstance(hint, UnionType) else hint
    plain = (inner,) if inner in (int, str, bool) else ()
    return (*plain, type(None)) if isinstance(hint, UnionType) else plain


def _key(field: str) -> str:
    return _FILE_KEYS.get(field, field)


_OF_JSON = frozenset({str, int, float, bool, type(None)})


def _plain(value: Any) -> Any:
    if type(value) in _OF_JSON:  # nearly all are
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, (NeuronSet, Matrix)):
        return value.text
    if is_dataclass(value):
        kind: Any = type(value)
        return {key: _plain(getattr(value, name)) for name, key in _names(kind)}
    return dict(value) if isinstance(value, Mapping) else value


@cache
def _names(kind: Any) -> tuple[tuple[str, str], ...]:
    """The fields of a record, with their keys in a file."""
    return tuple((f.name, _key(f.name)) for f in fields(kind))
