"""A run in parts, each of which is kept, so that a run of hours that is killed goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import analyzer
from analyzer.cli.interruption import kept
from analyzer.cli.show import tell
from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, claimed, read_text, sweep, write_atomically

if TYPE_CHECKING:
    from analyzer.profiles import Profile

__all__ = ["in_parts"]

_COMMAND = "command.json"
"""The file beside the parts that says which command they are of."""

_DONE = ".done"
"""How a folder ends whose parts are no longer needed: it may be half removed."""


def in_parts(
    number: int,
    target: Path,
    words: Mapping[str, Any],
    measured: Callable[[tuple[int, int]], Profile],
    written: Callable[[Profile], None],
) -> None:
    """Measures shares of the data one after another, and writes the profile of all of them.

    Every share is saved in a folder beside the target when it is counted. Where that folder holds
    one already, from a run that was killed, it is not counted again.

    Args:
        number: How many shares.
        target: The file of the profile.
        words: What the command was given that tells the run, by option.
        measured: Counts a share, such as ``(2, 8)``.
        written: Writes the profile of all.

    Raises:
        AnalyzerError: Where shares that were kept are of another run, or one is under way.
    """
    from analyzer.merging import merged_in_order

    folder = target.parent / f".{target.name}.parts"
    files = [folder / f"{index}-of-{number}.json.gz" for index in range(1, number + 1)]
    anew = f"Remove {folder} to count all of it anew."
    with _held(folder):
        others = sorted(path.name for path in folder.glob("*-of-*.json.gz") if path not in files)
        if others:
            raise AnalyzerError(
                f"{folder} holds parts of a run in other parts ({others[0]}): give that number, or "
                "remove the folder."
            )

        def so_far() -> str:
            done = sum(path.exists() for path in files)
            return (
                f"{done} of {number} parts are kept in {folder}, and the same command goes on there"
            )

        with kept(so_far):
            try:
                _hold_against(words, [path for path in files if path.exists()], folder, measured)
            except AnalyzerError as error:
                raise AnalyzerError(f"{error} {anew}") from None
            for index, path in enumerate(files, 1):
                if path.exists():
                    tell(f"part {index} of {number} is kept from before")
                else:
                    measured((index, number)).save(path)
            try:
                whole = merged_in_order(analyzer.load(path) for path in files)
            except AnalyzerError as error:
                raise AnalyzerError(f"{error} {anew}") from None
        written(whole)
        # Removing takes several steps; renamed, what is left of them is no run that goes on.
        done = folder.rename(folder.with_name(f"{folder.name}.{os.urandom(8).hex()}{_DONE}"))
        shutil.rmtree(done, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A folder that no other run uses meanwhile; it goes where no part was kept in it.

    Raises:
        AnalyzerError: Where it can not be made, or another run uses it.
    """
    sweep(folder.parent, f"{folder.name}.", _DONE, shutil.rmtree)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        except (OSError, ValueError) as error:
            raise AnalyzerError(f"parts can not be kept in {folder}: {reason_of(error)}.") from None
        if claimed(handle) is False:
            os.close(handle)
            raise AnalyzerError(
                f"another run of this command counts in {folder}: wait until it ends, or name "
                "another file with -o."
            )
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            break
        os.close(handle)  # the run that held it is through, and has removed it
    try:
        yield
    finally:
        with suppress(OSError):  # another run may have made it anew
            mine = os.path.samestat(os.fstat(handle), folder.stat())
            if mine and not any(folder.glob("*-of-*")):
                (folder / _COMMAND).unlink(missing_ok=True)
                folder.rmdir()
        os.close(handle)


def _hold_against(
    words: Mapping[str, Any],
    parts: Sequence[Path],
    folder: Path,
    measured: Callable[[tuple[int, int]], Profile],
) -> None:
    """Holds parts from before against the present run: its words, and what its first batch does.

    Raises:
        AnalyzerError: Where they are of another run.
    """
    from analyzer.facts.file import read_metadata
    from analyzer.facts.shards import Shard
    from analyzer.merging import refuse_other_run

    command = folder / _COMMAND
    now = json.loads(json.dumps(words, default=str))
    if parts and command.exists():  # earlier versions wrote none
        before = _read(command)
        key = next((key for key in now if key in before and now[key] != before[key]), None)
        if key is not None:
            raise AnalyzerError(
                f"{folder} holds parts of another run: {key} is {before[key]!r} in it and "
                f"{now[key]!r} now."
            )
    if parts:
        found = [(str(path), read_metadata(path)) for path in parts]
        batches = max(Shard.of_metadata(about, where).batches for where, about in found)
        # A share without a batch runs the first one, as all shares do, and counts no more.
        present = measured((1, batches + 1)).metadata
        for where, about in found:
            refuse_other_run(about, present, where, "the present run")
    write_atomically(command, json.dumps(now, indent=1).encode())


def _read(command: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dict(json.loads(read_text(command, MIB)))
    except (OSError, ValueError, TypeError) as error:
        raise AnalyzerError(f"{command} can not be read: {reason_of(error)}.") from None
    return found
