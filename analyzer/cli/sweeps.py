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
import secrets
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.cli.launched import without_launcher
from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, claimed, read_text, write_atomically
from analyzer.specs import called

__all__ = ["Cell", "Failure", "Ledger", "cells_of", "run_cells"]

_KEYS = frozenset({"models", "timesteps", "data", "options"})
_NAME, _MODEL = "name", "model"

_END_S = 5.0
"""Seconds that a process may take to end before it is killed."""


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
        self._made = self._read()

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
        with self._changed() as made:
            made[cell.name] = cell.digest

    def drop(self, cells: Sequence[Cell]) -> None:
        """Notes that profiles are to be made, so that earlier ones do not pass for them."""
        with self._changed() as made:
            for cell in cells:
                made.pop(cell.name, None)

    @contextmanager
    def _changed(self) -> Iterator[dict[str, str]]:
        """What is noted now, to be changed while no other sweep into the folder changes it."""
        with _claiming(self._folder):
            before = self._read()
            self._made = dict(before)
            yield self._made
            if self._made != before:
                content = json.dumps(dict(sorted(self._made.items())), indent=1)
                write_atomically(self._path, f"{content}\n".encode())

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextmanager
def _claiming(folder: Path) -> Iterator[None]:
    """Waits until no other process claims a folder, where the system can tell, and claims it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # it is not there yet, or the system opens no folders
        yield
        return
    try:
        while claimed(handle) is False:
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


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
) -> Generator[tuple[Cell, Failure | None], None, None]:
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
    sweep = ""
    if scheduler is None:  # a worker only starts a process and waits, so threads will do
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1, threads_per_worker=workers, processes=False, dashboard_address=None
        )
        sweep = _PROCESSES.begin()
    with Client(cluster or scheduler) as client:  # type: ignore[no-untyped-call]
        try:
            futures = {
                client.submit(
                    profiled, cell, str(ledger.target(cell).resolve()), str(Path.cwd()), threads,
                    sweep, pure=False, retries=0,
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
            _PROCESSES.end(sweep)
            if cluster is not None:
                cluster.close()


class _Processes:
    """The processes of the sweeps that run here, as workers of Dask in this process share them."""

    def __init__(self) -> None:
        self._running: dict[str, list[subprocess.Popen[str]]] = {}
        self._lock = threading.Lock()

    def begin(self) -> str:
        """What a new sweep is called."""
        sweep = secrets.token_hex(8)
        self._running[sweep] = []
        return sweep

    def start(
        self, sweep: str, command: Sequence[str], place: str, environment: Mapping[str, str]
    ) -> subprocess.Popen[str] | None:
        """Starts a process of a sweep; None where the sweep has ended."""
        with self._lock:
            if sweep and sweep not in self._running:
                return None
            process = subprocess.Popen(
                command, cwd=place, env=environment, text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            self._running.get(sweep, []).append(process)
            return process

    def end(self, sweep: str) -> None:
        """Ends the processes of a sweep, which starts no more."""
        with self._lock:
            running = self._running.pop(sweep, [])
        for process in running:
            process.terminate()
        until = time.monotonic() + _END_S
        for process in running:
            try:
                process.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()


_PROCESSES = _Processes()


def profiled(cell: Cell, target: str, place: str, threads: int, sweep: str = "") -> str:
    """Makes one profile in a process of its own.

    Args:
        cell: The profile.
        target: Its file.
        place: The folder that the command is run in.
        threads: OpenMP threads of the process, where the environment names no number.
        sweep: Which sweep of this process it ends with; empty on a worker elsewhere.

    Returns:
        Why it failed; empty where it did not.
    """
    environment = without_launcher(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    command = [
        sys.executable, "-m", "analyzer", "profile", *cell.words,
        "--output", target, "--progress", "off",
    ]  # fmt: skip
    process = _PROCESSES.start(sweep, command, place, environment)
    if process is None:
        return "the sweep has ended"
    printed = process.communicate()[1]
    return _why(process.returncode, printed)


def _why(code: int, printed: str) -> str:
    """Why a process failed, by its exit code and what it printed; empty where it did not."""
    if not code:
        return ""
    _, error, said = f"\n{printed}".rpartition("\nerror: ")
    said = " ".join(said.split())
    if error and said and code > 0:
        return said
    how = f"with code {code}" if code > 0 else f"by signal {-code} ({signal.strsignal(-code)})"
    return f"its process ended {how}{said and f', after it printed: {said}'}"
