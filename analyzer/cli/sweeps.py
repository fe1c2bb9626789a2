"""A sweep: one profile for each model, number of timesteps and data set, by a pool of workers.

Each profile is made by a process of its own, which is `analyzer profile` as one would type it: the
files are the same, a crash ends one of them alone, and its memory is given back. Dask says when and
where each runs, on this machine or on a cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analyzer.cli.cells import Cell
from analyzer.cli.launched import without_launcher
from analyzer.errors import AnalyzerError
from analyzer.files import claimed, write_atomically

__all__ = ["Failure", "Ledger", "run_cells"]

_HERE = "127.0.0.1:0"
"""An address of this machine alone, at any free port."""

_END_S = 5.0
"""Seconds that a process may take to end before it is killed."""


@dataclass(frozen=True)
class Failure:
    """A profile that could not be made."""

    name: str
    why: str


class Ledger:
    """Which profiles of a sweep are there, made with the options that the sweep now has."""

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
            n_workers=1, threads_per_worker=workers, processes=False,
            # Without addresses its pages are open to the network, and without a user's name.
            dashboard_address=_HERE, worker_dashboard_address=_HERE,
            scheduler_kwargs={"dashboard": False},
        )  # fmt: skip
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
