"""Several workers that measure one run: each counts its share, and worker 0 writes the file.

They meet in a hidden folder beside the file, which all of them reach as all could write the file.
So any launcher will do that says which worker is which: no port, no address and no library of
messages is needed. Every second each worker writes there that it is alive, and what became of its
share; a worker that is not heard of any more, or whose process is gone, ends the others.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from analyzer.cli.interruption import EndedBySignal, kept
from analyzer.cli.launched import Launched
from analyzer.errors import AnalyzerError, reason_of

if TYPE_CHECKING:
    from analyzer.profiles import Profile

__all__ = ["TIMEOUT_S", "Workers", "meeting"]

TIMEOUT_S = 120.0
"""Seconds after which a worker that is not heard of is given up: network file systems may show a
change a minute late."""

_EVERY_S = 0.5
"""Seconds between two signs of life, and between two looks at those of the others."""

_LEAVE_S = 5.0
"""Seconds that worker 0 waits for the others to read that the run failed. Where it did not, each of
them has handed its share in and waits, so that worker 0 waits as long as for any sign of life."""

_RUNS, _DONE, _FAILED, _LEFT = "runs", "done", "failed", "left"

_NOTHING = ": nothing was written."
_PERHAPS = ", when it had all that this worker counted: look whether the file was written."


class _TerminatedError(EndedBySignal):
    """The launcher ends this process; no handler of errors between here and there holds it up."""


@contextmanager
def meeting(who: Launched, target: Path, timeout_s: float = TIMEOUT_S) -> Iterator[Workers]:
    """The workers of a run, of which this process is one, until all of them are through.

    Args:
        who: Which of them it is.
        target: The file that worker 0 writes.
        timeout_s: Seconds after which a worker that is not heard of is given up.

    Raises:
        AnalyzerError: Where another worker died or failed; says which, and why.
    """
    workers = Workers(who, target.parent / f".{target.name}.{who.run}.workers", timeout_s)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        workers.begin()
        yield workers
    except _TerminatedError:
        said = workers.who_is_gone() or f"{who} {_ENDED}"
        outcome = workers.outcome
        workers.end(said)
        raise AnalyzerError(said + outcome) from None
    except BaseException as error:
        said = str(error) if isinstance(error, AnalyzerError) else f"{type(error).__name__} {error}"
        workers.end(said.removesuffix(_NOTHING).removesuffix(_PERHAPS).strip())
        raise
    else:  # the file is written, whatever ends this process now
        with suppress(_TerminatedError), kept(lambda: f"{target} was written"):
            workers.end("")
    finally:
        workers.stop()
        signal.signal(signal.SIGTERM, before)


_ENDED = "was ended by its launcher, as by a limit of time, or because another worker failed"


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is cleaned up is cleaned up whole
    raise _TerminatedError(128 + number)


class Workers:
    """The workers of a run as one of them sees them.

    Args:
        who: Which of them this process is.
        folder: Where they meet.
        timeout_s: Seconds after which a worker that is not heard of is given up.
    """

    def __init__(self, who: Launched, folder: Path, timeout_s: float) -> None:
        self.who = who
        self._folder = folder
        self._timeout_s = timeout_s
        self._token = secrets.token_hex(8) if who.rank == 0 else ""
        self._own = secrets.token_hex(8)
        self._state = _RUNS
        self._said = ""
        self._beats = 0
        self._heard: dict[int, _Heard] = {}
        self._gone = ""
        self._told = False
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def begin(self) -> None:
        """Shows that this worker is there; worker 0 clears what an earlier run left.

        Raises:
            AnalyzerError: Where the folder can not be made.
        """
        try:
            if self.who.rank == 0:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            if self.who.rank == 0:
                self._write("run", {"token": self._token})
        except OSError as error:
            raise AnalyzerError(
                f"workers can not meet in {self._folder}: {reason_of(error)}."
            ) from None
        self._beat()
        self._thread.start()

    @property
    def outcome(self) -> str:
        """How a sentence about a run that failed ends: what became of the file."""
        # Worker 0 may have gone at any time since, also behind the last byte of the file.
        return _PERHAPS if self._state == _DONE and not self._told else _NOTHING

    def check(self) -> None:
        """Checks that no other worker is known to have died or failed.

        Raises:
            AnalyzerError: Where one has.
        """
        if self._gone:
            raise AnalyzerError(self._gone + self.outcome)

    def hand_in(self, share: Profile) -> None:
        """Hands the share of this worker to worker 0, and waits until the file is written.

        Raises:
            AnalyzerError: Where it is not, or the share can not be written.
        """
        content = share.to_bytes()
        waited = time.monotonic()
        while True:
            result = self._read("result") or {}
            if self._own in result.get("heard", ()) and not result["error"]:
                return
            run = self._read("run")
            if run is not None and run["token"] != self._token:  # worker 0 may begin last
                with suppress(FileNotFoundError):  # worker 0 clears the folder just now
                    self._write_share(content)
                    self._token, self._state = run["token"], _DONE
                    self._beat()
            self.check()
            self._give_up_on([0], waited)
            time.sleep(_EVERY_S / 5)

    def collected(self) -> list[Path]:
        """Waits for the shares of all other workers, and gives their files in order of rank.

        Raises:
            AnalyzerError: Where one of them died or failed.
        """
        others = range(1, self.who.size)
        waited = time.monotonic()
        while True:
            self._look()
            self.check()
            with self._lock:  # the thread may hear of another one
                heard_of = dict(self._heard)
            done = {
                rank: heard.said["own"]
                for rank, heard in heard_of.items()
                if heard.said["is"] == _DONE and heard.said["token"] == self._token
            }
            if len(done) == len(others):
                return [self._folder / f"part-{done[rank]}.json.gz" for rank in others]
            self._give_up_on(others, waited)
            time.sleep(_EVERY_S / 5)

    def who_is_gone(self) -> str:
        """Which other worker died or failed, looked up now; empty where none is known to have."""
        self._look()
        return self._gone

    def end(self, error: str) -> None:
        """Says how it went: worker 0 to all, the others to worker 0.

        Args:
            error: What went wrong; empty where nothing did.
        """
        self.stop_beating()
        self._said = error
        if self.who.rank:
            self._state = _FAILED if error else _LEFT
            self._beat()
            return
        if error and error != self._gone and not error.endswith(_ENDED):
            error = f"{self.who} failed ({error.rstrip('.')})"
        heard = [heard.said["own"] for heard in self._heard.values()]
        with suppress(OSError):
            self._write("result", {"error": error, "heard": heard})
        until = time.monotonic() + (_LEAVE_S if error else max(_LEAVE_S, self._timeout_s))
        while time.monotonic() < until:
            self._look()
            if all(heard.is_over for heard in self._heard.values()):
                break
            time.sleep(_EVERY_S / 5)

    def stop_beating(self) -> None:
        """Shows no more signs of life."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def stop(self) -> None:
        """Leaves nothing behind: the folder goes with worker 0, or with who finds it dead.

        Where worker 0 never came, or was gone before, it goes with the last of the others.
        """
        self.stop_beating()
        first = self._heard.get(0)
        if self.who.rank == 0 or (first is not None and first.is_dead):
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._read("run") is None:  # nobody is here to hear why this one ends
            with suppress(OSError):
                self._file(f"worker-{self.who.rank}").unlink()
                self._folder.rmdir()

    def _live(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._beat()
            self._look()
            if self._gone and not self._stopped.is_set():
                os.kill(os.getpid(), signal.SIGTERM)  # wherever in a batch the work is
                return

    def _beat(self) -> None:
        self._beats += 1
        said = {
            "own": self._own, "is": self._state, "token": self._token, "said": self._said,
            "beat": self._beats, "host": socket.gethostname(), "pids": _pids(), "pid": os.getpid(),
        }  # fmt: skip
        with self._lock, suppress(OSError):
            self._write(f"worker-{self.who.rank}", said)

    def _look(self) -> None:
        """Reads the signs of life of the others: worker 0 of all, the others of worker 0."""
        with self._lock:
            for rank in range(1, self.who.size) if self.who.rank == 0 else (0,):
                said = self._read(f"worker-{rank}")
                known = self._heard.get(rank)
                if said is not None and (known is None or said != known.said):
                    # Before worker 0 has begun, others may see what an earlier run left of it.
                    sure = self.who.rank == 0 or known is not None
                    self._heard[rank] = _Heard(said, time.monotonic(), sure)
            result = self._read("result") or {} if self.who.rank else {}
            told = ""
            if self._own in result.get("heard", ()):
                told = result["error"]
                self._told = True
                if not told:  # the file is written, whatever becomes of worker 0 now
                    self._gone = ""
                    return
            verdicts = [
                verdict
                for rank, heard in sorted(self._heard.items())
                if (verdict := heard.verdict(f"worker {rank} of {self.who.size}", self._timeout_s))
            ]
            first = min(verdicts, default=None, key=lambda verdict: verdict[0])
            self._gone = told or self._gone if first is None else told or first[1]

    def _give_up_on(self, ranks: Iterable[int], since: float) -> None:
        """Raises an error where one of some workers was not heard of for too long."""
        silent = [rank for rank in ranks if rank not in self._heard]
        if silent and time.monotonic() - since > self._timeout_s:
            before = "" if self.who.rank == 0 else ", or had given this one up before"
            raise AnalyzerError(
                f"worker {silent[0]} of {self.who.size} was never heard of in {self._timeout_s:g} s"
                f"{before} (--worker-timeout gives them longer){_NOTHING}"
            )

    def _write_share(self, content: bytes) -> None:
        name = f"part-{self._own}.json.gz"
        try:
            self._write_bytes(name, content)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise AnalyzerError(
                f"cannot write {self._folder / name}: {reason_of(error)}."
            ) from None

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self._write_bytes(f"{name}.json", json.dumps(content).encode())

    def _write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file whole, and no folder: one that worker 0 has removed stays away."""
        temporary = self._folder / f".{name}.{self._own}"
        temporary.write_bytes(content)
        temporary.replace(self._folder / name)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._file(name).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _pids() -> str:
    """Where the number of a process means the same process: containers of one host number theirs.

    Empty where the system does not tell.
    """
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


@dataclass(frozen=True)
class _Heard:
    """The last sign of life of a worker.

    Attributes:
        said: What it wrote.
        since: When that was first seen, by the clock of this process.
        sure: Whether it is known to be of this run.
    """

    said: dict[str, Any]
    since: float
    sure: bool

    @property
    def is_over(self) -> bool:
        """Whether no more is to be heard of it."""
        return self.said["is"] in (_LEFT, _FAILED) or self.is_dead

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone; of other machines and containers nothing is known."""
        pid, place = self.said["pid"], (self.said["host"], self.said.get("pids"))
        if not self.sure or place != (socket.gethostname(), _pids()):
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        with suppress(OSError, IndexError):  # ended, and its launcher has not asked how
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return False

    def verdict(self, name: str, timeout_s: float) -> tuple[int, str] | None:
        """What is wrong with the worker, and how near that is to the cause, 0 nearest."""
        where = f"process {self.said['pid']} on {self.said['host']}"
        if self.said["is"] == _FAILED:
            why = str(self.said["said"]).rstrip(".")
            if why.endswith(_ENDED):
                return 2, why
            return 1, f"{name} failed ({why})"
        if self.said["is"] == _LEFT:
            return None
        if self.is_dead:
            return 0, f"{name} died ({where} is gone)"
        if time.monotonic() - self.since > timeout_s:
            return 0, f"{name} was not heard of for {timeout_s:g} s ({where})"
        return None
