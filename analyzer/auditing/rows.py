"""The rows of a published table: what each says of a network, as numbers with their rounding."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from analyzer.errors import AnalyzerError
from analyzer.files import MIB, read_text, refused

__all__ = ["Given", "Row", "read_rows"]

_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "model": ("model", "network", "method"),
        "variant": ("variant", "architecture", "size"),
        "resolution": ("resolution", "image_size", "input"),
        "timesteps": ("t", "timesteps", "time_steps"),
        "parameters": ("params_m", "parameters_m", "param_m", "parameters"),
        "operations": ("reported_ops_or_flops_g", "operations_g", "ops_g", "sops_g", "operations"),
        "energy": ("energy_mj", "energy", "power_mj"),
        "source": ("paper_or_repo", "source", "paper", "reference"),
    }
)
"""What a column may be called, in lower case; the first that a table has is read."""

_LARGEST_BYTES = 32 * MIB
"""What a table may hold at most."""

_NUMBER = re.compile(r"[~≈]?\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*[a-zA-Zµ%]*")
_LARGEST = 1e15
"""The largest figure that a published table can mean."""

_USUAL = 224
"""The resolution where a table gives none, as nearly all do."""

_SQUARE = re.compile(r"(\d+)\s*[x×*]\s*\1")
_NOTHING = frozenset({"", "-", "–", "—", "?", "/", "n/a", "na", "nan", "none", "0"})


@dataclass(frozen=True, slots=True)
class Given:
    """A number as a table prints it."""

    value: float
    text: str

    @property
    def rounding(self) -> float:
        """Half of its last digit: how far the printed number may lie from the true one."""
        mantissa, _, exponent = self.text.lower().partition("e")
        return float(0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))

    @property
    def digits(self) -> int:
        """Significant digits that are printed."""
        return len(self.text.lower().partition("e")[0].replace(".", "").lstrip("0"))

    @property
    def fraction(self) -> float:
        """The rounding as a share of the number."""
        return self.rounding / self.value if self.value else math.inf


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        number: Its line in the file, as an editor counts.
        model: The network, with its size.
        source: Who published it; empty where the table does not say.
        resolution: Side of the image in pixels, None where it is not given.
        timesteps: T, None likewise.
        parameters: In millions.
        operations: In units of 10^9.
        energy: In millijoules.
    """

    number: int
    model: str
    source: str
    resolution: int | None
    timesteps: int | None
    parameters: Given | None
    operations: Given | None
    energy: Given | None

    @property
    def side(self) -> int:
        """The resolution, or what it usually is."""
        return self.resolution or _USUAL

    @property
    def folded(self) -> str:
        """The model in lower case, its words one blank apart."""
        return " ".join(self.model.lower().split())


def read_rows(path: str | Path) -> list[Row]:
    """Reads a table in CSV.

    Args:
        path: The file. Columns ``model`` and ``energy_mj`` must be there; ``variant, resolution,
            T, params_M, operations_G`` and ``source`` may be. Other columns are ignored.

    Raises:
        AnalyzerError: Where the file can not be read, lacks a column, or a cell that is to hold a
            number holds none.
    """
    with refused(lambda why: f"{path} can not be read as a table ({why})."):
        text = read_text(path, _LARGEST_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        return list(_read(reader, path))
    except csv.Error as error:
        raise AnalyzerError(
            f"{path} can not be read as a table (line {reader.line_num}: {error})."
        ) from None


def _read(reader: Any, path: str | Path) -> Iterator[Row]:
    heads = [head.strip().lower() for head in next(reader, [])]
    places = {
        key: next((heads.index(name) for name in names if name in heads), None)
        for key, names in _COLUMNS.items()
    }
    for key in ("model", "energy"):
        if places[key] is None:
            raise AnalyzerError(
                f"{path} has no column {_COLUMNS[key][0]!r}: it has {', '.join(heads) or 'none'}."
            )
    return _rows(reader, places)


class _Cells(NamedTuple):
    """The cells of one line by what they hold."""

    number: int
    cells: Sequence[str]
    places: Mapping[str, int | None]

    def text(self, key: str) -> str:
        at = self.places[key]
        return self.cells[at].strip() if at is not None and at < len(self.cells) else ""

    def given(self, key: str) -> Given | None:
        text = self.text(key)
        found = _given(text)
        if found is None and text.lower() not in _NOTHING:
            what = f"{_COLUMNS[key][0]} {text!r}"
            raise AnalyzerError(f"line {self.number} has {what}: give a number.")
        return found


def _rows(reader: Any, places: Mapping[str, int | None]) -> Iterator[Row]:
    end = reader.line_num
    for cells in reader:
        line, end = _Cells(end + 1, cells, places), reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        square = _SQUARE.fullmatch(line.text("resolution"))
        resolution = _given(square[1]) if square else line.given("resolution")
        timesteps = line.given("timesteps")
        yield Row(
            line.number,
            " ".join(part for part in (line.text("model"), line.text("variant")) if part),
            line.text("source"),
            int(resolution.value) if resolution else None,
            int(timesteps.value) if timesteps else None,
            line.given("parameters"),
            _given(line.text("operations")),  # some are sums, as 0.3 MAC + 6.5 AC
            line.given("energy"),
        )


def _given(text: str) -> Given | None:
    """The number in a cell, perhaps with a unit behind it; None where it is no one number."""
    found = _NUMBER.fullmatch(text)
    if not found or not 0 < float(found[1]) <= _LARGEST:
        return None
    return Given(float(found[1]), found[1])
