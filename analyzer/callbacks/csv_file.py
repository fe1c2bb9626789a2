"""Figures of a training as a CSV file that survives interruptions."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from analyzer.callbacks.figures import Figures
from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, append_whole, read_text, write_atomically
from analyzer.inert import cell_of, in_csv

__all__ = ["CsvFile"]

_STEP = "step"


class CsvFile:
    """A CSV file with a row for each probe, written at once.

    A file that exists is continued: rows of the step that is written first, and of later ones, are
    of an interrupted training and go. So a training that resumes goes on below its last rows, and
    one that begins anew begins the file anew. Where a figure is new, the file gets a column.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if self._path.is_dir():
            raise AnalyzerError(f"figures are written to a CSV file, and {path} is a folder.")
        self._columns: list[str] = []
        self._rows: list[dict[str, str]] = []
        self._read_before = False
        self._in_step = False

    def write(self, step: int, figures: Figures) -> None:
        """Adds a row.

        Raises:
            AnalyzerError: Where the file can not be written, or is of something else.
        """
        row = {_STEP: str(step)} | {in_csv(name): repr(value) for name, value in figures.items()}
        if not self._read_before:
            self._read(step)
            self._read_before = True
        new = [name for name in row if name not in self._columns]
        self._columns += new
        self._rows.append(row)
        appends = self._in_step and not new
        self._in_step = False  # until it is written: after a failure the whole file is
        if not appends:
            write_atomically(self._path, self._text(self._rows, header=True).encode())
        else:
            append_whole(self._path, self._text([row]).encode())
        self._in_step = True

    def _read(self, step: int) -> None:
        """Reads the rows of an earlier training, those before a step."""
        try:
            text = read_text(self._path, 64 * MIB)
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise AnalyzerError(f"cannot read {self._path}: {reason_of(error)}.") from None
        lines = list(io.StringIO(text, newline="\n"))
        if len(lines) > 1 and not lines[-1].endswith("\n"):  # cut short by an interruption
            del lines[-1]
        try:
            rows = list(csv.reader(lines))
        except csv.Error as error:
            raise AnalyzerError(f"cannot read {self._path}: {error}.") from None
        if not rows:
            return
        columns = [in_csv(cell_of(name)) for name in rows[0]] or [""]
        if columns[0] != _STEP or len(set(columns)) != len(columns):
            raise AnalyzerError(
                f"{self._path} exists and holds no figures of a meter, for its first column is "
                f"{columns[0]!r} and not 'step': choose another file."
            )
        self._columns = columns
        for row in rows[1:]:
            if len(row) == len(columns) and row[0].lstrip("-").isdigit() and int(row[0]) < step:
                self._rows.append(dict(zip(columns, row, strict=True)))

    def _text(self, rows: list[dict[str, str]], *, header: bool = False) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
