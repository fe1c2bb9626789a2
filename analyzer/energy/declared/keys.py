"""Checks what a data file says, key by key, against the types that its keys have.

Technologies, conventions and memory models are TOML files, also of users. Each declares its keys as
annotations; a key that is unknown, missing or of another type is an error that names the file, the
key, what it must be and what it is. Nothing is converted, so that no file is read as another than
was written.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import date, time
from types import GenericAlias, MappingProxyType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from analyzer.errors import AnalyzerError

__all__ = ["LARGEST", "Bounds", "Number", "Table", "Whole", "checked", "list_of", "table_of"]


class Bounds(NamedTuple):
    """What a number may be."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f" from {self.low:g}" + ("" if self.high == math.inf else f" to {self.high:g}")


Number = Annotated[float, Bounds(0)]
"""A number from 0, whole or not."""

Whole = Annotated[int, Bounds(1)]
"""A whole number from 1."""


class Table(NamedTuple):
    """A table of known keys.

    Attributes:
        kinds: From each key to the annotation of its value: ``str``, ``bool``, :data:`Number`,
            :data:`Whole`, a ``Literal`` of texts, ``tuple[X, ...]`` for a list,
            ``Mapping[str, X]`` for a table of any keys, or another ``Table``.
        needed: The keys that must be there.
    """

    kinds: Mapping[str, Any]
    needed: Collection[str] = ()


def list_of(kind: Any) -> Any:
    """The annotation of a list, where that of its items is made when the program runs."""
    return GenericAlias(tuple, (kind, ...))


def table_of(kind: Any) -> Any:
    """The annotation of a table of any keys, likewise."""
    return GenericAlias(Mapping, (str, kind))


LARGEST = 1e30
"""The largest number that a data file may hold, so that no price is infinite."""

_WORDS: Mapping[type, str] = MappingProxyType(
    {
        str: "a text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a table",
        date: "a date",
        time: "a time",
    }
)


def checked(data: Mapping[str, Any], table: Table, of: str, place: str = "") -> dict[str, Any]:
    """The content of a data file, if it has the keys and types that it must have.

    Args:
        data: What the file says, as ``tomllib`` reads it.
        table: Its keys.
        of: How a message calls the file, such as ``convention 'mine.toml'``.
        place: The table in it that ``data`` is, such as ``range.``; empty for all of it.

    Returns:
        The same, lists as tuples.

    Raises:
        AnalyzerError: Where a key is unknown or missing, or its value of another type.
    """
    missing = [key for key in table.needed if key not in data]
    for what, keys in (("does not know", sorted(data.keys() - table.kinds)), ("lacks", missing)):
        if keys:
            choice = f": it knows {', '.join(table.kinds)}" if what == "does not know" else ""
            raise AnalyzerError(f"{of} {what} the key {place + keys[0]!r}{choice}.")
    return {key: _checked(v, table.kinds[key], of, place + key) for key, v in data.items()}


def _checked(value: Any, kind: Any, of: str, place: str) -> Any:
    if get_origin(kind) in (Union, UnionType):  # of what may be left out, which None stands for
        kind = get_args(kind)[0]
    if type(value) in (int, float) and LARGEST < abs(value) < math.inf:
        raise AnalyzerError(f"{of} has {place} = {_shown(value)}: numbers go up to {LARGEST:g}.")
    if not _fits(value, kind):
        raise AnalyzerError(
            f"{of} has {place} = {_shown(value)}, {_found(value)}: it must be {_expected(kind)}."
        )
    if isinstance(kind, Table):
        return checked(value, kind, of, f"{place}.")
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal and value not in arguments:
        raise AnalyzerError(f"{of} has {place} = {value!r}: choose of {', '.join(arguments)}.")
    if origin is tuple:
        return tuple(_checked(v, arguments[0], of, f"{place}[{i}]") for i, v in enumerate(value))
    if origin is Mapping:
        return {key: _checked(v, arguments[1], of, f"{place}.{key}") for key, v in value.items()}
    return value


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, whatever it holds."""
    if isinstance(kind, Table):
        return isinstance(value, dict)
    origin = get_origin(kind)
    if origin is Annotated:
        number, bounds = get_args(kind)
        of_type = type(value) is int or (number is float and type(value) is float)
        return of_type and math.isfinite(value) and bounds.low <= value <= bounds.high
    plain = {Literal: str, tuple: list, Mapping: dict}.get(origin, kind)
    return type(value) is plain


def _expected(kind: Any) -> str:
    if isinstance(kind, Table):
        return f"a table of {', '.join(kind.kinds)}"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        number, bounds = arguments
        return f"{_WORDS[number]}{bounds}"
    if origin is Literal:
        return f"a text, one of {', '.join(arguments)}"
    if origin is tuple:
        return f"a list, each item {_expected(arguments[0])}"
    if origin is Mapping:
        return f"a table, each value {_expected(arguments[1])}"
    return _WORDS[kind]


def _found(value: Any) -> str:
    """What a value is, in words."""
    return next((word for kind, word in _WORDS.items() if type(value) is kind), "no plain value")


def _shown(value: Any) -> str:
    """A value as TOML writes it, shortened."""
    if isinstance(value, int) and abs(value) > 10**60:  # Python writes no number of any length
        return "a number of more than 60 digits"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
