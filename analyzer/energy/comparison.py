"""Several models side by side: a table to compute with, and to print in a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from analyzer.energy.price import EnergyReport
from analyzer.energy.traffic import COMPONENTS
from analyzer.errors import AnalyzerError
from analyzer.files import write_atomically
from analyzer.inert import csv_of, in_markdown, printable
from analyzer.tabular import (
    align_of,
    escape_latex,
    text_width,
    to_html,
    to_latex,
    to_markdown,
    to_rich,
    to_text,
)
from analyzer.units import (
    MJ_PER_PJ,
    format_bytes,
    format_ratio,
    format_share,
    format_si,
    with_margin,
)
from analyzer.units import format_energy_pj as in_pj

__all__ = ["Comparison"]


class _Column(NamedTuple):
    """How a column is printed: its heading, its cells as text, and the unit of its numbers."""

    heading: str
    text: Callable[[Any], str]
    unit: str = ""


def _energy(mj: float) -> str:
    return in_pj(mj / MJ_PER_PJ)


def _plain(value: Any) -> str:
    return "–" if pd.isna(value) else str(value)


def _with(unit: str) -> Callable[[float], str]:
    return lambda x: "–" if pd.isna(x) else f"{x:.3g}{unit}"


_COLUMNS: Mapping[str, _Column] = MappingProxyType(
    {
        "model": _Column("Model", str),
        "parameters": _Column("Parameters", format_si, "count"),
        "timesteps": _Column("T", _plain, "whole"),
        "dense_macs": _Column("Dense MACs", format_si, "count"),
        "ac": _Column("AC", format_si, "count"),
        "mac": _Column("MAC", format_si, "count"),
        "compute_mj": _Column("Compute", _energy, "mJ"),
        **{
            f"{key.removesuffix('_pj')}_mj": _Column(name.capitalize(), _energy, "mJ")
            for key, name in COMPONENTS.items()
        },
        "energy_mj": _Column("Energy", _energy, "mJ"),
        "ratio": _Column("Ratio", format_ratio, "ratio"),
        "mac_share": _Column("MAC share", format_share, "share"),
        "sparsity": _Column("Sparsity", format_share, "share"),
        "spikes_per_synapse": _Column("Spikes/synapse", _with(""), "ratio"),
        "parameters_bytes": _Column("Weights", format_bytes, "bytes"),
        "latency_ms": _Column("Latency", _with(" ms"), "ms"),
        "energy_delay_mj_ms": _Column("Energy-delay", _with(" mJ·ms"), "mJ·ms"),
        "energy_per_correct_mj": _Column("Energy per correct answer", _energy, "mJ"),
        "accuracy": _Column("Accuracy", format_share, "share"),
        "samples": _Column("Samples", _plain, "whole"),
        "uncovered": _Column("Uncovered", _plain, "whole"),
    }
)
"""All columns that can be printed, in the order of tables."""

_WORDS = ("Model",)

_ENDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ac": ("ac_low", "ac_high"),
        "mac": ("mac_low", "mac_high"),
        "energy_mj": ("energy_low_mj", "energy_high_mj"),
    }
)
"""Columns with the ends of the interval of a mean, where single samples are known."""

_MARGINS = "± is half of the 95 % interval of a mean over samples (bootstrap)."

_SELDOM = frozenset({"energy_per_correct_mj", "uncovered"})
_IF_KNOWN = frozenset({"latency_ms", "energy_delay_mj_ms"})
_PARTS = frozenset({"compute_mj", *(f"{key.removesuffix('_pj')}_mj" for key in COMPONENTS)})

_FIRST_TO_GO = (
    "samples", "spikes_per_synapse", "energy_delay_mj_ms", "latency_ms", "parameters_bytes",
    "parameters", "mac_share", "dense_macs", "sparsity", "compute_mj", "elementwise_mj",
    "neurons_mj", "addressing_mj", "state_mj", "activations_mj", "weights_mj", "timesteps", "mac",
    "ac", "ratio",
)  # fmt: skip
"""What a narrow terminal leaves out, in this order."""

_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_ENERGIES = ((1e3, "J"), (1.0, "mJ"), (1e-3, "µJ"), (1e-6, "nJ"), (1e-9, "pJ"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_IN_LATEX = MappingProxyType(
    {"J": r"\joule", "mJ": r"\milli\joule", "µJ": r"\micro\joule", "nJ": r"\nano\joule",
     "pJ": r"\pico\joule", "%": r"\percent", "ms": r"\milli\second",
     "mJ·ms": r"\milli\joule\milli\second"}
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models side by side, as :func:`analyzer.compare` returns them.

    It shows itself as a table, in a terminal and in a notebook, with what limits its figures below.
    ``comparison["energy_mj"]`` is a column of :attr:`frame`.

    Example:
        >>> import analyzer
        >>> table = {"module": ["fc"], "op": ["linear"], "dense_macs": [100]}
        >>> snn = analyzer.from_rates(table | {"firing_rate": [0.2]}, name="snn")
        >>> found = analyzer.compare([snn], convention="rate")
        >>> found.shown(["ac", "energy_mj"]).to_dict("records")
        [{'Model': 'snn', 'AC': '20', 'Energy': '18 pJ'}]

    Attributes:
        frame: A row a model, numbers with their units in the names of columns.
        basis: What the energies are priced with.
        notes: What limits the figures, one sentence each and each once.
        baseline: The model that ratios are against.
        lower_bounds: Models whose energy is a lower bound.
    """

    frame: pd.DataFrame
    basis: str
    notes: tuple[str, ...]
    baseline: str
    lower_bounds: frozenset[str] = frozenset()

    @classmethod
    def of(cls, frame: pd.DataFrame, reports: Sequence[EnergyReport]) -> Comparison:
        """Makes one of a table and what its rows were priced as.

        Args:
            frame: As :func:`analyzer.energy.compare.side_by_side` makes it.
            reports: One a row.
        """
        named = zip(frame["model"], reports, strict=True)
        notes = [note for report in reports for note in report.notes]
        if any(low in frame and frame[low].notna().any() for low, _ in _ENDS.values()):
            notes.insert(0, _MARGINS)
        return cls(
            frame,
            reports[0].basis,
            tuple(dict.fromkeys(notes)),
            str(frame["model"].iloc[0]),
            frozenset(str(name) for name, report in named if report.is_lower_bound),
        )

    def __getitem__(self, column: Any) -> Any:
        return self.frame[column]

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        shown = self.shown()
        table = to_text(shown, align_of(shown, _WORDS))
        return printable("\n".join([table, self.basis, *self.notes]))

    def _repr_html_(self) -> str:
        shown = self.shown()
        return to_html(shown, self.basis, align=align_of(shown, _WORDS), notes=self.notes)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        kept, _ = self.fitting(options.max_width)
        shown = self.shown(kept)
        yield to_rich(shown, align_of(shown, _WORDS), below=[self.basis, *self.notes])

    def arranged(
        self,
        *,
        columns: Sequence[str] | None = None,
        baseline: str | None = None,
        sort: str | None = None,
    ) -> Comparison:
        """The same models with other columns, another baseline, or in another order.

        Args:
            columns: Columns to keep; the model is kept in any case.
            baseline: Name of the model that ratios are against.
            sort: Column to sort by, the least first; with ``-`` in front the greatest.

        Raises:
            AnalyzerError: If there is no such column or model.

        Example:
            >>> import analyzer
            >>> ann, snn = (
            ...     analyzer.from_rates(
            ...         {"module": ["fc"], "op": ["linear"], "dense_macs": [100],
            ...          "firing_rate": [rate]},
            ...         name=name,
            ...     )
            ...     for name, rate in (("ann", 1.0), ("snn", 0.2))
            ... )
            >>> found = analyzer.compare([ann, snn], convention="rate")
            >>> found.arranged(baseline="snn", sort="energy_mj").frame["ratio"].tolist()
            [1.0, 5.0]
        """
        frame, against = self.frame, self.baseline
        if baseline is not None:
            rows = frame[frame["model"] == baseline]
            if rows.empty:
                raise AnalyzerError(
                    f"no model is called {baseline!r}: choose of {', '.join(frame['model'])}."
                )
            reference = float(rows["energy_mj"].iloc[0])
            ratio = frame["energy_mj"] / reference if reference else math.nan
            frame, against = frame.assign(ratio=ratio), baseline
        if sort is not None:
            key = self._checked([sort.removeprefix("-")])[0]
            frame = frame.sort_values(key, ascending=not sort.startswith("-"), kind="stable")
        if columns is not None:
            kept = ["model", *self._checked(columns)]
            kept += [end for key in kept for end in _ENDS.get(key, ()) if end in frame]
            frame = frame[list(dict.fromkeys(kept))]
        return replace(self, frame=frame.reset_index(drop=True), baseline=against)

    def shown(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The table as text, each cell in the unit that it reads best in.

        Args:
            columns: Columns of :attr:`frame`; by default those that say something.

        Raises:
            AnalyzerError: If there is no such column.
        """
        cells = {}
        for key in self._chosen(columns):
            column = _COLUMNS[key]
            texts = [column.text(value) for value in self.frame[key]]
            margins = self._margins(key)
            if margins is not None:
                each = zip(texts, self.frame[key], margins, strict=True)
                texts = [with_margin(*cell) for cell in each]
            if key == "energy_mj":
                texts = [f"≥ {t}" if b else t for t, b in zip(texts, self._bounds, strict=True)]
            cells[column.heading] = texts
        return pd.DataFrame(cells)

    def fitting(self, width: int) -> tuple[list[str], list[str]]:
        """The columns that fit a terminal, and the headings of those that are left out.

        Args:
            width: Letters in a line.
        """
        kept, gone = self._chosen(None), []
        for key in _FIRST_TO_GO:
            if text_width(self.shown(kept)) <= width:
                break
            if key in kept:
                kept.remove(key)
                gone.append(_COLUMNS[key].heading)
        return kept, gone

    def to_markdown(self, columns: Sequence[str] | None = None) -> str:
        """A GitHub table, with what limits its figures below.

        Args:
            columns: Columns of :attr:`frame`; by default those that say something.
        """
        shown = self.shown(columns)
        table = to_markdown(shown, align=align_of(shown, _WORDS))
        return "\n\n".join([table, *map(in_markdown, self.notes)])

    def to_html(self, columns: Sequence[str] | None = None) -> str:
        """A plain HTML table, escaped.

        Args:
            columns: Columns of :attr:`frame`; by default those that say something.
        """
        return to_html(self.shown(columns), caption=self.basis)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All numbers as CSV; also written to a file, if one is named.

        A text that a spreadsheet would compute, such as a name that begins with ``=``, stands
        behind an apostrophe.

        Args:
            path: The file.
        """
        text = csv_of(self.frame)
        if path is not None:
            write_atomically(Path(path), text.encode())
        return text

    def to_latex(
        self,
        columns: Sequence[str] | None = None,
        *,
        caption: str | None = None,
        label: str | None = None,
        siunitx: bool = True,
    ) -> str:
        r"""A table for LaTeX with the rules of booktabs, and its notes below.

        Args:
            columns: Columns of :attr:`frame`; by default those that say something.
            caption: Printed above; by default what the energies are priced with.
            label: Of the table, for ``\ref``.
            siunitx: Each column of numbers has one unit, in its heading, and is aligned at the
                point by the package siunitx (version 3). Without it cells are text with their own
                units, and the package booktabs is all that is needed.

        Raises:
            AnalyzerError: If there is no such column.

        Example:
            >>> import analyzer
            >>> snn = analyzer.from_rates(
            ...     {"module": ["fc"], "op": ["linear"], "dense_macs": [100], "firing_rate": [0.2]},
            ...     name="snn",
            ... )
            >>> text = analyzer.compare([snn], convention="rate").to_latex(["energy_mj"])
            >>> print(text.splitlines()[6])
            snn & 18.0 \\
        """
        title = self.basis if caption is None else caption
        if not siunitx:
            shown = self.shown(columns)
            sides = align_of(shown, _WORDS)
            return to_latex(shown, title, align=sides, label=label, notes=self.notes)
        heads, formats, cells = [], [], []
        for key in self._chosen(columns):
            head, align, texts = _in_one_unit(_COLUMNS[key], self.frame[key].tolist())
            if key == "energy_mj" and self.lower_bounds:
                align = align.replace("=", "= >")  # room for the sign
                texts = [rf"\geq {t}" if b else t for t, b in zip(texts, self._bounds, strict=True)]
            heads.append(head)
            formats.append(align)
            cells.append(texts)
            margins = self._margins(key)
            if margins is not None:
                head, align, texts = _margin_in_one_unit(
                    _COLUMNS[key], self.frame[key].tolist(), margins
                )
                heads.append(head)
                formats.append(align)
                cells.append(texts)
        rows = list(zip(*cells, strict=True))
        return to_latex(
            pd.DataFrame(rows, columns=pd.Index(heads)),
            title,
            align="".join(formats),
            label=label,
            notes=self.notes,
            escaped=True,
        )

    def _margins(self, key: str) -> list[float] | None:
        """Half of the interval of each mean in a column, NaN where unknown; None without any."""
        low, high = _ENDS.get(key, ("", ""))
        if low not in self.frame or self.frame[low].isna().all():
            return None
        return [float(half) for half in (self.frame[high] - self.frame[low]) / 2]

    @property
    def _bounds(self) -> list[bool]:
        """Whether the energy of each row is a lower bound."""
        return [str(name) in self.lower_bounds for name in self.frame["model"]]

    def _chosen(self, columns: Sequence[str] | None) -> list[str]:
        if columns is not None:
            return list(dict.fromkeys(["model", *self._checked(columns)]))
        frame = self.frame
        return [
            key
            for key in _COLUMNS
            if key in frame
            and key not in _SELDOM
            and not (key in _IF_KNOWN and frame[key].isna().all())
            and not (key in _PARTS and not frame[key].any())
        ]

    def _checked(self, columns: Iterable[str]) -> list[str]:
        asked = [columns] if isinstance(columns, str) else list(columns)
        unknown = [key for key in asked if key not in self.frame or key not in _COLUMNS]
        if unknown:
            known = ", ".join(key for key in _COLUMNS if key in self.frame)
            raise AnalyzerError(f"no column is called {unknown[0]!r}: choose of {known}.")
        return asked


def _in_one_unit(column: _Column, values: list[Any]) -> tuple[str, str, list[str]]:
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


def _margin_in_one_unit(
    column: _Column, values: list[Any], margins: list[float]
) -> tuple[str, str, list[str]]:
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
