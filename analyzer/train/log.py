"""The log of a training: a row of CSV an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, append_whole, read_text, write_atomically

__all__ = ["log_file"]


@contextmanager
def log_file(path: str | Path | None, done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Opens the log and keeps its first rows; later ones are of an interrupted epoch.

    The file is as it was until the first row is appended, which replaces it in one step; each later
    row is one write. So a program that is killed loses no row that was there.

    Args:
        path: The file, None for no log. A pipe or a device is written into.
        done: How many epochs are finished, each with a row.

    Yields:
        A function that appends a row.

    Raises:
        AnalyzerError: Where it can not be read or written.
    """
    if path is None:
        yield lambda row: None
        return
    path = Path(path)
    if path.exists() and not path.is_file():
        try:
            opened = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise AnalyzerError(f"cannot write {path}: {reason_of(error)}.") from None
        with opened as stream:
            yield _Stream(stream).append
        return
    yield _File(path, _kept(path, done)).append


class _File:
    """A log in a file: the first row replaces it in one step, later ones are added."""

    def __init__(self, path: Path, kept: str) -> None:
        self._path, self._kept, self._begun = path, kept, False

    def append(self, row: dict[str, Any]) -> None:
        text = _line(row, header=not (self._begun or self._kept))
        if self._begun:
            append_whole(self._path, text.encode())
        else:
            write_atomically(self._path, (self._kept + text).encode())
            self._begun = True


def _kept(path: Path, done: int) -> str:
    """The header and the rows of finished epochs, whole lines alone."""
    if not done or not path.exists():
        return ""
    try:
        lines = read_text(path, 64 * MIB).splitlines(keepends=True)[: done + 1]
    except (OSError, ValueError) as error:
        raise AnalyzerError(f"{path} is no log of a training: {reason_of(error)}.") from None
    return "".join(line for line in lines if line.endswith("\n"))


def _line(row: dict[str, Any], *, header: bool) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(row), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerow(row)
    return stream.getvalue()


class _Stream:
    """A log that can not be read back, such as a pipe."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream, self._begun = stream, False

    def append(self, row: dict[str, Any]) -> None:
        self._stream.write(_line(row, header=not self._begun))
        self._stream.flush()
        self._begun = True
