"""Columns of numbers for LaTeX, aligned at the point by the package siunitx (version 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from analyzer.energy.tables.columns import Column
from analyzer.tabular import escape_latex

__all__ = ["Numbers", "in_one_unit"]

_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_ENERGIES = ((1e3, "J"), (1.0, "mJ"), (1e-3, "µJ"), (1e-6, "nJ"), (1e-9, "pJ"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_IN_LATEX = MappingProxyType(
    {"J": r"\joule", "mJ": r"\milli\joule", "µJ": r"\micro\joule", "nJ": r"\nano\joule",
     "pJ": r"\pico\joule", "%": r"\percent", "ms": r"\milli\second",
     "mJ·ms": r"\milli\joule\milli\second"}
)  # fmt: skip


class Numbers(NamedTuple):
    """A column of numbers.

    Attributes:
        column: How it is printed.
        values: Its cells.
        margins: Half of the interval of each, NaN where unknown; None without any.
        bounds: Whether each is a lower bound; empty where none is.
    """

    column: Column
    values: list[Any]
    margins: list[float] | None
    bounds: Sequence[bool]


def in_one_unit(columns: Iterable[Numbers]) -> tuple[pd.DataFrame, str]:
    """A table of LaTeX with all numbers of a column in one unit, and its alignment.

    Args:
        columns: Margins become a column of their own, behind that of the means.
    """
    made = []
    for column, values, margins, bounds in columns:
        head, align, texts = _means(column, values)
        if any(bounds):
            align = align.replace("=", "= >")  # room for the sign
            texts = [rf"\geq {t}" if b else t for t, b in zip(texts, bounds, strict=True)]
        made.append((head, align, texts))
        if margins is not None:
            made.append(_halves(column, values, margins))
    heads, formats, cells = zip(*made, strict=True)
    rows = list(zip(*cells, strict=True))
    return pd.DataFrame(rows, columns=pd.Index(heads)), "".join(formats)


def _means(column: Column, values: list[Any]) -> tuple[str, str, list[str]]:
    """Heading, alignment and cells of a column for LaTeX, all numbers in one unit."""
    heading = escape_latex(column.heading)
    if not column.unit:
        return heading, "l", [escape_latex(column.text(value)) for value in values]
    known = [float(v) for v in values if not pd.isna(v)]
    if column.unit == "whole":
        cells = ["{--}" if pd.isna(v) else str(int(v)) for v in values]
        return f"{{{heading}}}", f"S[table-format={_digits(cells)}]", cells
    size, unit = _unit(column.unit, max(map(abs, known), default=0.0))
    cells = ["{--}" if pd.isna(v) else _significant(float(v) / size, 3) for v in values]
    return _headed(heading, unit), f"S[table-format={_digits(cells)}]", cells


def _halves(column: Column, values: list[Any], margins: list[float]) -> tuple[str, str, list[str]]:
    """The column of margins beside a column of means, in the unit of the means."""
    known = [float(v) for v in values if not pd.isna(v)]
    size, unit = _unit(column.unit, max(map(abs, known), default=0.0))
    cells = ["{--}" if math.isnan(m) else _significant(m / size, 2) for m in margins]
    return _headed(r"$\pm$", unit), f"S[table-format={_digits(cells)}]", cells


def _headed(heading: str, unit: str) -> str:
    """A heading with its unit behind, which siunitx takes for no number."""
    shown = rf"\unit{{{_IN_LATEX[unit]}}}" if unit in _IN_LATEX else unit
    return f"{{{heading} ({shown})}}" if unit else f"{{{heading}}}"


def _unit(kind: str, largest: float) -> tuple[float, str]:
    """The size of the unit that a column is printed in, and its name."""
    if kind == "share":
        return 0.01, "%"
    scales = {"count": _SCALES, "mJ": _ENERGIES, "bytes": _BYTES}.get(kind)
    if scales is None:
        return 1.0, "" if kind == "ratio" else kind
    return next((each for each in scales if largest >= each[0]), scales[-1])


def _significant(value: float, digits: int) -> str:
    """A number to so many significant digits, without an exponent."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    places = max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)
    return f"{value:.{places}f}"


def _digits(cells: Sequence[str]) -> str:
    """How many digits siunitx keeps room for, before and behind the point."""
    parts = [cell.partition(".") for cell in cells if not cell.startswith("{")]
    before = max((len(whole) for whole, _, _ in parts), default=1)
    behind = max((len(rest) for _, _, rest in parts), default=0)
    return f"{before}.{behind}" if behind else str(before)
