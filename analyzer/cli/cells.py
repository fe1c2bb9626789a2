"""The profiles that the file of a sweep describes."""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer

from analyzer.cli.profiling import app as profiling
from analyzer.errors import AnalyzerError, reason_of, unknown
from analyzer.files import MIB, read_text
from analyzer.specs import called

__all__ = ["Cell", "cells_of"]

_KEYS = frozenset({"models", "timesteps", "data", "options"})
_NAME, _MODEL = "name", "model"


@dataclass(frozen=True)
class Cell:
    """One profile of a sweep.

    Attributes:
        name: Of its file, without a suffix.
        words: What follows ``analyzer profile``, the file that is written aside.
    """

    name: str
    words: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Tells cells of other options apart."""
        return hashlib.sha256("\0".join(self.words).encode()).hexdigest()[:16]


def cells_of(path: Path) -> list[Cell]:
    """The profiles of a sweep that a file describes.

    Args:
        path: TOML with ``models``, each a name or a table of ``model`` and options of its own;
            ``timesteps`` and ``data``, lists that a model's own go before; and ``options``, a table
            of what ``analyzer profile`` takes besides.

    Raises:
        AnalyzerError: Where the file can not be read, or two of its profiles have one name.
    """
    try:
        described = tomllib.loads(read_text(path, MIB))
    except (OSError, ValueError, RecursionError) as error:
        raise AnalyzerError(f"{path} is no sweep that can be read: {reason_of(error)}.") from None
    others = sorted(described.keys() - _KEYS)
    if others:
        raise AnalyzerError(
            f"{path} has {others[0]!r}, which no sweep has: give models, timesteps, data and a "
            "table [options] of what `analyzer profile` takes."
        )
    models = _listed(described.get("models"), path, "models")
    if not models:
        raise AnalyzerError(f'{path} names no models: write models = ["vit-tiny"].')
    options = described.get("options", {})
    if not isinstance(options, Mapping):
        raise AnalyzerError(f"{path} has options that are no table: write [options].")
    if _NAME in options:
        raise AnalyzerError(f"{path} sets {_NAME} for all models: give it to single models.")
    cells = [cell for model in models for cell in _cells_of_model(model, described, options, path)]
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.name in seen:
            raise AnalyzerError(
                f"{path} describes two profiles called {cell.name!r}: give each model a name of "
                'its own, such as {model = "net.py:Net(width=64)", name = "wide"}.'
            )
        seen[cell.name] = cell
    return cells


def _cells_of_model(
    model: Any, described: Mapping[str, Any], options: Mapping[str, Any], path: Path
) -> Iterator[Cell]:
    table = {_MODEL: model} if isinstance(model, str) else model
    if not isinstance(table, Mapping) or not isinstance(table.get(_MODEL), str):
        raise AnalyzerError(
            f'{path} names a model as {model!r}: write a name, or {{model = "net.py:Net"}}.'
        )
    lists = {
        key: _listed(table.get(key, described.get(key)), path, key) for key in ("timesteps", "data")
    }
    for key, listed in lists.items():
        if listed and key in options:
            raise AnalyzerError(
                f"{path} gives {key} both as a list and in [options]: leave one of them out."
            )
        _check_apart(listed, path, key)
    own = {**options, **{k: v for k, v in table.items() if k not in (_MODEL, _NAME, *lists)}}
    name = str(table.get(_NAME) or called(table[_MODEL]))
    for steps, data in itertools.product(*(lists[key] or [None] for key in lists)):
        parts = [name]
        if steps is not None:
            parts.append(f"T{steps}")
        if data is not None and len(lists["data"]) > 1:
            parts.append(Path(str(data)).stem)
        given = {"timesteps": steps, "data": data, **own, _NAME: "-".join(parts)}
        words = [word for key, value in given.items() for word in _words(key, value, path)]
        yield Cell(_of_file("-".join(parts)), (table[_MODEL], *words))


def _of_file(name: str) -> str:
    """A name as it stands in the name of a file."""
    return re.sub(r"[^\w.+-]+", "_", name)


def _check_apart(listed: Sequence[Any], path: Path, key: str) -> None:
    """Checks that the profiles of one model have names of their own."""
    seen: dict[str, Any] = {}
    for value in listed:
        name = _of_file(Path(str(value)).stem)
        if name in seen:
            raise AnalyzerError(
                f"{path} lists the {key} {seen[name]!r} and {value!r}, whose profiles would have "
                "one name: leave one of them out, or rename it."
            )
        seen[name] = value


@cache
def _options() -> frozenset[str]:
    """The options of ``analyzer profile``, as they are typed."""
    options = typer.main.get_command(profiling).params
    return frozenset(name for option in options for name in (*option.opts, *option.secondary_opts))


def _words(key: str, value: Any, path: Path) -> list[str]:
    """An option as it is typed."""
    option = f"--{key.replace('_', '-')}"
    if option in ("--output", "--shard", "--progress"):
        raise AnalyzerError(f"{path} sets {key}, which the sweep does itself: leave it out.")
    if option not in _options():
        known = sorted(name[2:] for name in _options() if name.startswith("--"))
        raise AnalyzerError(f"{path} sets an {unknown('option', option[2:], known)}")
    if value is None:
        return []
    if isinstance(value, bool):
        no = f"--no-{option[2:]}"
        return [option] if value else [no] if no in _options() else []
    if isinstance(value, list):
        return [word for item in value for word in (option, str(item))]
    if isinstance(value, (str, int, float)):
        return [option, str(value)]
    raise AnalyzerError(f"{path} sets {key} to {value!r}: give text, a number, or a list of these.")


def _listed(value: Any, path: Path, key: str) -> list[Any]:
    found = [] if value is None else value
    if not isinstance(found, list):
        raise AnalyzerError(f"{path} has {key} that are no list: write {key} = [{found!r}].")
    return found
