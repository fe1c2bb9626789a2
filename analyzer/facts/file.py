"""The file of a profile: JSON, written whole or not at all, checked value by value when read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from reprlib import repr as shortened
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from analyzer.errors import AnalyzerError
from analyzer.facts.profile import IDENTITY, Profile
from analyzer.files import write_atomically

__all__ = ["SCHEMA", "load", "save"]

KIND = "analyzer.profile"

SCHEMA = 1
"""Version of the file format; a file of another version is refused."""

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
    }
)
"""Metadata that this package reads; all else is for people and may be any JSON."""

_OPTIONAL = ("weights_digest", "fold_batch_norm")


def save(profile: Profile, path: str | Path) -> Path:
    """Writes a profile, whole or not at all."""
    target = Path(path)
    document = {"schema": SCHEMA, "kind": KIND} | {
        name: _plain(getattr(profile, name)) for name in _parts()
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(target, text.encode())
    return target


def load(path: str | Path) -> Profile:
    """Reads a profile that :meth:`Profile.save` wrote."""
    source = Path(path)
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalyzerError(f"no profile at {source}: make it with `analyzer profile`.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnalyzerError(
            f"{source} is not a profile: it is no readable JSON ({error})."
        ) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise AnalyzerError(f"{source} is JSON but no profile: it lacks kind {KIND!r}.")
    if document.get("schema") != SCHEMA:
        raise AnalyzerError(
            f"{source} has profile schema {document.get('schema')!r}, this version reads {SCHEMA}: "
            "measure again, or use the version that wrote it."
        )
    try:
        return _profile(document)
    except (ValueError, OverflowError) as error:
        raise AnalyzerError(f"{source} is damaged: {error}.") from None


def _parts() -> list[str]:
    return [f.name for f in fields(Profile)]


def _profile(document: dict[str, Any]) -> Profile:
    document = {"shapes": []} | document  # files of the first versions have none
    missing = [name for name in _parts() if name not in document]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    hints = _hints(Profile) | {"metadata": dict}
    parts = {name: _read(document[name], hints[name], name) for name in _parts()}
    metadata, samples = parts["metadata"], parts["samples"]
    for key, kind in _METADATA.items():
        if key in IDENTITY and key not in metadata and key not in _OPTIONAL:
            raise ValueError(f"metadata.{key} is missing")
        _read(metadata.get(key), kind, f"metadata.{key}")
    if samples < 0 or not 0 <= (parts["correct"] or 0) <= samples:
        raise ValueError(f"{parts['correct']} of {samples} samples are correct")
    return Profile(**parts)


def _read(value: Any, kind: Any, place: str) -> Any:
    """A JSON value as an annotation wants it; ValueError says where it is not of that kind."""
    if isinstance(kind, UnionType):
        return None if value is None else _read(value, get_args(kind)[0], place)
    if is_dataclass(kind):
        return _row(value, kind, place)
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


def _row(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {shortened(value)}")
    hints = _hints(kind)
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.name not in value]
    for what, names in (("missing", missing), ("unknown", sorted(value.keys() - hints.keys()))):
        if names:
            raise ValueError(f"{place}.{names[0]} is {what}")
    return kind(**{name: _read(v, hints[name], f"{place}.{name}") for name, v in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
