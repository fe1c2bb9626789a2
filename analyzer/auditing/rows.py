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

from analyzer.errors import AnalyzerError

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

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Given:
    """A number as a table prints it.

    Attributes:
        value: The number.
        text: Its digits.
    """

    value: float
    text: str

    @property
    def rounding(self) -> float:
        """Half of its last digit: how far the printed number may lie from the true one."""
        return float(0.5 * 10.0 ** -len(self.text.partition(".")[2]))

    @property
    def digits(self) -> int:
        """Significant digits that are printed."""
        return len(self.text.replace(".", "").lstrip("0"))

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


def read_rows(path: str | Path) -> list[Row]:
    """Reads a table in CSV.

    Args:
        path: The file. Columns ``model`` and ``energy_mj`` must be there; ``variant, resolution,
            T, params_M, operations_G`` and ``source`` may be. Other columns are ignored.

    Raises:
        AnalyzerError: Where the file can not be read, or lacks a column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AnalyzerError(f"{path} can not be read as a table ({error}).") from None
    reader = csv.reader(io.StringIO(text))
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
    return list(_rows(reader, places))


def _rows(reader: Iterator[Sequence[str]], places: Mapping[str, int | None]) -> Iterator[Row]:
    for number, cells in enumerate(reader, 2):
        if not any(cell.strip() for cell in cells):
            continue

        def cell(key: str, cells: Sequence[str] = cells) -> str:
            at = places[key]
            return cells[at].strip() if at is not None and at < len(cells) else ""

        resolution, timesteps = _given(cell("resolution")), _given(cell("timesteps"))
        yield Row(
            number,
            " ".join(part for part in (cell("model"), cell("variant")) if part),
            cell("source"),
            int(resolution.value) if resolution else None,
            int(timesteps.value) if timesteps else None,
            _given(cell("parameters")),
            _given(cell("operations")),
            _given(cell("energy")),
        )


def _given(text: str) -> Given | None:
    """The number in a cell; of several, as in ``0.3 MAC + 6.5 AC``, none."""
    found = _NUMBER.findall(text)
    return Given(float(found[0]), found[0]) if len(found) == 1 and float(found[0]) > 0 else None
