"""Facts as plain JSON values and back, checked value by value when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from reprlib import repr as shortened
from types import MappingProxyType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from analyzer.facts.identity import IDENTITY
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, GroupCount, Shape, Tally
from analyzer.facts.sampled import Matrix, Sampled
from analyzer.facts.sent import NeuronSet, Sent
from analyzer.facts.sound import refuse_impossible, refuse_many_neurons, refuse_unbounded

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
    """The parts of a profile as values that JSON has."""
    return {
        name: _plain(parts[name])
        for name in PARTS
        if not (name in _ONLY_IF_KNOWN and parts[name] is None)
    }


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
    parts = {name: _read(document[name], kind, name) for name, kind in PARTS.items()}
    metadata, samples = parts["metadata"], parts["samples"]
    for key, kind in _METADATA.items():
        if key in IDENTITY and key not in metadata and key not in _OPTIONAL:
            raise ValueError(f"metadata.{key} is missing")
        found = _read(metadata.get(key), kind, f"metadata.{key}")
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


def record(kind: type[Any], value: Any, place: str) -> Any:
    """A record of some dataclass from its fields as JSON has them.

    Raises:
        ValueError: Where a value is missing, unknown or of another kind; says which.
    """
    return _read(value, kind, place)


def _refuse_twice(name: str, records: Sequence[Any]) -> None:
    seen: set[Any] = set()
    for number, record in enumerate(records):
        if record.key in seen:
            raise ValueError(f"{name}[{number}] says again what one before it says")
        seen.add(record.key)


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


def _read(value: Any, kind: Any, place: str) -> Any:
    """A JSON value as an annotation wants it; ValueError says where it is not of that kind."""
    try:
        return _reader(kind)(value)
    except _MisfitError as error:
        raise error.at(place) from None


@cache
def _reader(kind: Any) -> _Reader:
    if isinstance(kind, UnionType):
        inner = _reader(get_args(kind)[0])
        return lambda value: None if value is None else inner(value)
    if kind in (NeuronSet, Matrix):
        record = partial(_record, kind)
        return lambda value: kind.of_text(value) if type(value) is str else record(value)
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
    if type(values) is dict and tuple(values) == order.names:  # as nearly all files have it
        given = tuple(values.values())
        plain = tuple(map(type, given)) == order.plain
        try:
            if not (plain and all(map(math.isfinite, [given[at] for at in order.floats]))):
                given = tuple(
                    value if type(value) in exact else reader(value)
                    for value, exact, reader in zip(given, order.exact, order.readers, strict=True)
                )
            made = kind(*given)
            refuse_impossible(made)
        except ValueError:
            pass  # what it is, and where, is found below
        else:
            return made
    readers, required = _fields(kind)
    if type(values) is not dict:
        raise _MisfitError(f"is {shortened(values)}")
    for what, keys in (("missing", required - values.keys()), ("unknown", values.keys() - readers)):
        if keys:
            raise _MisfitError(f"is {what}").at(f".{min(keys)}")
    found = {}
    key = ""
    try:
        for key, value in values.items():
            name, reader = readers[key]
            found[name] = reader(value)
    except _MisfitError as error:
        raise error.at(f".{key}") from None
    made = kind(**found)
    try:
        refuse_impossible(made)
    except ValueError as error:
        field, _, what = str(error).partition(" ")
        raise _MisfitError(what).at(field) from None
    return made


class _Order(NamedTuple):
    """The fields of a record, in their order.

    Attributes:
        names: Their keys in a file.
        plain: The types of their values, where none is missing and none is made of others.
        floats: Which of them are numbers that must be finite.
        exact: The types of values that need no reading.
        readers: What reads the others.
    """

    names: tuple[str, ...]
    plain: tuple[Any, ...]
    floats: tuple[int, ...]
    exact: tuple[tuple[Any, ...], ...]
    readers: tuple[_Reader, ...]


@cache
def _order(kind: Any) -> _Order:
    hints = get_type_hints(kind)
    plain = tuple(
        get_args(hint)[0] if isinstance(hint, UnionType) else hint for hint in hints.values()
    )
    return _Order(
        tuple(map(_key, hints)),
        plain,
        tuple(at for at, found in enumerate(plain) if found is float),
        tuple(
            (*((found,) if found in (int, str, bool) else ()), *_none_of(hint))
            for found, hint in zip(plain, hints.values(), strict=True)
        ),
        tuple(map(_reader, hints.values())),
    )


def _none_of(hint: Any) -> tuple[Any, ...]:
    return (type(None),) if isinstance(hint, UnionType) else ()


def _key(field: str) -> str:
    return _FILE_KEYS.get(field, field)


@cache
def _fields(kind: Any) -> tuple[dict[str, tuple[str, _Reader]], frozenset[str]]:
    """The fields of a record by their key in a file: name and reader of each; and those it needs.

    They are looked up when a record is read, as one may hold others of its kind.
    """
    hints = get_type_hints(kind)
    readers = {_key(name): (name, _reader(hint)) for name, hint in hints.items()}
    return readers, frozenset(_key(f.name) for f in fields(kind) if f.default is MISSING)


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
