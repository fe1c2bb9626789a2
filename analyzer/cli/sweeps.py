"""A sweep: one profile for each model, number of timesteps and data set, by a pool of workers.

Each profile is made by a process of its own, which is `analyzer profile` as one would type it: the
files are the same, a crash ends one of them alone, and its memory is given back. Dask says when and
where each runs, on this machine or on a cluster.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.cli.launched import without_launcher
from analyzer.errors import AnalyzerError
from analyzer.files import MIB, read_text, write_atomically
from analyzer.specs import called

__all__ = ["Cell", "Failure", "Ledger", "cells_of", "run_cells"]

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


@dataclass(frozen=True)
class Failure:
    """A profile that could not be made.

    Attributes:
        name: Of its file, without a suffix.
        why: What its process said last.
    """

    name: str
    why: str


class Ledger:
    """Which profiles of a sweep are there, made with the options that the sweep now has.

    Args:
        folder: Of the profiles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".sweep.json"
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            found = {}
        self._made: dict[str, str] = found if isinstance(found, dict) else {}

    def target(self, cell: Cell) -> Path:
        """The file of a profile."""
        return self._folder / f"{cell.name}.json.gz"

    def has(self, cell: Cell) -> bool:
        """Whether a profile is there, can be read, and was made with the same options."""
        from analyzer.facts.file import read_metadata  # which loads pandas

        if self._made.get(cell.name) != cell.digest:
            return False
        try:
            read_metadata(self.target(cell))
        except AnalyzerError:
            return False
        return True

    def add(self, cell: Cell) -> None:
        """Notes that a profile was made."""
        self._made[cell.name] = cell.digest
        content = json.dumps(dict(sorted(self._made.items())), indent=1)
        write_atomically(self._path, f"{content}\n".encode())


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
        raise AnalyzerError(f"{path} is no sweep that can be read: {error}.") from None
    unknown = sorted(described.keys() - _KEYS)
    if unknown:
        raise AnalyzerError(
            f"{path} has {unknown[0]!r}, which no sweep has: give models, timesteps, data and a "
            "table [options] of what `analyzer profile` takes."
        )
    models = _listed(described.get("models"), path, "models")
    if not models:
        raise AnalyzerError(f'{path} names no models: write models = ["vit-tiny"].')
    options = described.get("options", {})
    if not isinstance(options, Mapping):
        raise AnalyzerError(f"{path} has options that are no table: write [options].")
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
        yield Cell(re.sub(r"[^\w.+-]+", "_", "-".join(parts)), (table[_MODEL], *words))


def _words(key: str, value: Any, path: Path) -> list[str]:
    """An option as it is typed."""
    option = f"--{key.replace('_', '-')}"
    if option in ("--output", "--shard", "--progress"):
        raise AnalyzerError(f"{path} sets {key}, which the sweep does itself: leave it out.")
    if value is None:
        return []
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
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


def run_cells(
    cells: Sequence[Cell],
    ledger: Ledger,
    *,
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[Cell, Failure | None]]:
    """Makes profiles, some at once, and gives each when it is through.

    Args:
        cells: The profiles.
        ledger: Where they go, and what notes those that were made.
        workers: How many run at once on this machine.
        scheduler: Address of a Dask scheduler, whose workers see the same files; None starts
            workers here.

    Yields:
        Each profile with why it failed, None where it did not.
    """
    from dask.distributed import Client, LocalCluster, as_completed

    threads = max((os.cpu_count() or 1) // workers, 1)
    cluster, futures = None, {}
    if scheduler is None:  # a worker only starts a process and waits, so threads will do
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1, threads_per_worker=workers, processes=False, dashboard_address=None
        )
    with Client(cluster or scheduler) as client:  # type: ignore[no-untyped-call]
        try:
            futures = {
                client.submit(
                    profiled, cell, str(ledger.target(cell).resolve()), str(Path.cwd()), threads,
                    pure=False, retries=0,
                ): cell
                for cell in cells
            }  # fmt: skip
            for future in as_completed(futures):  # type: ignore[no-untyped-call]
                cell = futures[future]
                try:
                    why = future.result()
                except Exception as error:  # a worker of a cluster was lost, or anything else
                    why = f"{type(error).__name__}: {error}"
                if why:
                    yield cell, Failure(cell.name, why)
                else:
                    ledger.add(cell)
                    yield cell, None
        finally:
            client.cancel(list(futures))
            if cluster is not None:
                cluster.close()


def profiled(cell: Cell, target: str, place: str, threads: int) -> str:
    """Makes one profile in a process of its own.

    Args:
        cell: The profile.
        target: Its file.
        place: The folder that the command is run in.
        threads: OpenMP threads of the process, where the environment names no number.

    Returns:
        Why it failed; empty where it did not.
    """
    environment = without_launcher(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    done = subprocess.run(
        [
            sys.executable, "-m", "analyzer", "profile", *cell.words,
            "--output", target, "--progress", "off",
        ],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if not done.returncode:
        return ""
    said = done.stderr.rpartition("\nerror: ")[2].removeprefix("error: ")
    return " ".join(said.split()) or f"its process ended with code {done.returncode}"
