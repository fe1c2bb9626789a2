"""Facts as plain JSON values and back, checked value by value when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from reprlib import repr as shortened
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from analyzer.facts.identity import IDENTITY
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, GroupCount, Shape, Tally
from analyzer.facts.sent import NeuronSet, Sent

__all__ = ["PARTS", "decoded", "encoded"]

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
    }
)
"""What a file holds, in its order, by the names that a profile has for it."""

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
    return {name: _plain(parts[name]) for name in PARTS}


def decoded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a profile from what :func:`encoded` made.

    Raises:
        ValueError: Where a value is missing, unknown or of another kind; says which.
    """
    # files of early versions have none of these
    document = {"shapes": [], "sent": None, "layers": None} | dict(document)
    missing = [name for name in PARTS if name not in document]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    parts = {name: _read(document[name], kind, name) for name, kind in PARTS.items()}
    metadata, samples = parts["metadata"], parts["samples"]
    for key, kind in _METADATA.items():
        if key in IDENTITY and key not in metadata and key not in _OPTIONAL:
            raise ValueError(f"metadata.{key} is missing")
        _read(metadata.get(key), kind, f"metadata.{key}")
    if samples < 0 or not 0 <= (parts["correct"] or 0) <= samples:
        raise ValueError(f"{parts['correct']} of {samples} samples are correct")
    return parts


def _read(value: Any, kind: Any, place: str) -> Any:
    """A JSON value as an annotation wants it; ValueError says where it is not of that kind."""
    if isinstance(kind, UnionType):
        return None if value is None else _read(value, get_args(kind)[0], place)
    if kind is NeuronSet and isinstance(value, str):
        return NeuronSet.of_text(value)
    if is_dataclass(kind):
        return _record(value, kind, place)
    if kind is float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{place} is {shortened(value)}")
        return float(value)
    container = get_origin(kind)
    if type(value) is not (list if container in (tuple, list) else kind):
        raise ValueError(f"{place} is {shortened(value)}")
    if container is not None:
        item = get_args(kind)[0]
        return container(_read(v, item, f"{place}[{i}]") for i, v in enumerate(value))
    return value


def _record(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {shortened(value)}")
    kinds = _kinds(kind)
    required = [_key(f.name) for f in fields(kind) if f.default is MISSING]
    missing = [key for key in required if key not in value]
    for what, keys in (("missing", missing), ("unknown", sorted(value.keys() - kinds.keys()))):
        if keys:
            raise ValueError(f"{place}.{keys[0]} is {what}")
    found = {}
    for key, v in value.items():
        name, hint = kinds[key]
        found[name] = _read(v, hint, f"{place}.{key}")
    return kind(**found)


def _key(field: str) -> str:
    return _FILE_KEYS.get(field, field)


@cache
def _kinds(kind: Any) -> dict[str, tuple[str, Any]]:
    """The fields of a record by their key in a file: name and annotation of each."""
    return {_key(name): (name, hint) for name, hint in get_type_hints(kind).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(record, dict_factory=_with_file_keys) for record in value]
    return dict(value) if isinstance(value, Mapping) else value


def _with_file_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        _key(name): value.text if isinstance(value, NeuronSet) else value for name, value in pairs
    }
