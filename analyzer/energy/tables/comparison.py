"""Several models side by side: a table to compute with, and to print in a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.tables.columns import (
    COLUMNS,
    ENDS,
    FIRST_TO_GO,
    IF_KNOWN,
    MARGINS,
    PARTS,
    SELDOM,
)
from analyzer.energy.tables.siunitx import Numbers, in_one_unit
from analyzer.errors import AnalyzerError
from analyzer.files import write_atomically
from analyzer.inert import csv_of, in_markdown, printable
from analyzer.tabular import align_of, text_width, to_html, to_latex, to_markdown, to_rich, to_text
from analyzer.units import with_margin

__all__ = ["Comparison"]

_WORDS = ("Model",)


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
            frame: A row a profile.
            reports: One a row.
        """
        named = zip(frame["model"], reports, strict=True)
        notes = [note for report in reports for note in report.notes]
        if any(low in frame and frame[low].notna().any() for low, _ in ENDS.values()):
            notes.insert(0, MARGINS)
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
            kept += [end for key in kept for end in ENDS.get(key, ()) if end in frame]
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
            column = COLUMNS[key]
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
        for key in FIRST_TO_GO:
            if text_width(self.shown(kept)) <= width:
                break
            if key in kept:
                kept.remove(key)
                gone.append(COLUMNS[key].heading)
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
        numbers = [
            Numbers(
                COLUMNS[key],
                self.frame[key].tolist(),
                self._margins(key),
                self._bounds if key == "energy_mj" else (),
            )
            for key in self._chosen(columns)
        ]
        cells, sides = in_one_unit(numbers)
        return to_latex(cells, title, align=sides, label=label, notes=self.notes, escaped=True)

    def _margins(self, key: str) -> list[float] | None:
        """Half of the interval of each mean in a column, NaN where unknown; None without any."""
        low, high = ENDS.get(key, ("", ""))
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
            for key in COLUMNS
            if key in frame
            and key not in SELDOM
            and not (key in IF_KNOWN and frame[key].isna().all())
            and not (key in PARTS and not frame[key].any())
        ]

    def _checked(self, columns: Iterable[str]) -> list[str]:
        asked = [columns] if isinstance(columns, str) else list(columns)
        unknown = [key for key in asked if key not in self.frame or key not in COLUMNS]
        if unknown:
            known = ", ".join(key for key in COLUMNS if key in self.frame)
            raise AnalyzerError(f"no column is called {unknown[0]!r}: choose of {known}.")
        return asked
