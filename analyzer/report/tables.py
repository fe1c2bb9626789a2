"""The tables of a report, each in two forms: numbers for CSV, and text for the page and LaTeX.

Studies build their own tables with the same class :class:`Table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analyzer.energy.declared.memory import MemoryModel
from analyzer.energy.declared.technology import Technology
from analyzer.energy.pricing.precision import price_name
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.energy.tables.compare import side_by_side
from analyzer.energy.tables.comparison import Comparison
from analyzer.entries import Entry
from analyzer.inert import csv_of
from analyzer.tabular import align_of, to_latex
from analyzer.units import (
    format_energy_pj,
    format_share,
    format_si,
)

__all__ = [
    "Table",
    "comparison",
    "constants",
    "layers",
    "rates",
    "tables",
    "totals",
]

FORMATS = ("csv", "tex")


@dataclass(frozen=True, eq=False)
class Table:
    """One table in two forms.

    Attributes:
        name: Stem of its file names.
        caption: What it shows, with units.
        raw: Plain numbers, with units in the column names.
        shown: The same as formatted text.
        text: Columns of ``shown`` that hold words; the others hold numbers and align right.
        long: Whether it may need several pages in print.
        notes: What limits its numbers, one sentence each.
    """

    name: str
    caption: str
    raw: pd.DataFrame
    shown: pd.DataFrame
    text: frozenset[str]
    long: bool = False
    notes: tuple[str, ...] = ()

    @property
    def legend(self) -> str:
        """The caption followed by the notes."""
        return " ".join([self.caption, *self.notes])

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """The headings, each with whether its column holds numbers."""
        return [(str(c), c not in self.text) for c in self.shown.columns]

    @property
    def rows(self) -> list[list[str]]:
        """The cells as text."""
        return [[str(cell) for cell in row] for row in self.shown.itertuples(index=False)]

    @property
    def align(self) -> str:
        """The alignment, a letter for each column: ``r`` for numbers, ``l`` for words."""
        return align_of(self.shown, self.text)

    def files(self) -> dict[str, bytes]:
        """The contents of its files (CSV and LaTeX) by name."""
        tex = to_latex(self.shown, caption=self.legend, align=self.align, long=self.long)
        return {
            f"{self.name}.csv": csv_of(self.raw).encode(),
            f"{self.name}.tex": tex.encode(),
        }


def tables(entries: Sequence[Entry]) -> dict[str, Table]:
    """All tables of a report by name."""
    priced = entries[0].priced
    made = (
        comparison(entries),
        layers(entries),
        constants(priced.technology, priced.constants, priced.precision, priced.memory),
        totals(entries),
        *([rates(entries)] if any(entry.steps is not None for entry in entries) else []),
    )
    return {table.name: table for table in made}


def comparison(entries: Sequence[Entry]) -> Table:
    """The comparison of the models, one row each: work, energy, activity and size."""
    frame = side_by_side((entry.profile, entry.priced) for entry in entries)
    found = Comparison.of(frame, [entry.priced for entry in entries])
    caption = (
        "Work and energy of one inference, mean over the samples. T: timesteps. Ratio: energy "
        f"against {found.baseline}. MAC share: part of the energy. Sparsity: share of zeros among "
        "the activations that counted operations read. Spikes/synapse: accumulates per connection "
        "of driven layers and inference. Weights: size in memory."
    )
    if frame["latency_ms"].notna().any():
        caption += (
            " Latency: on the device that was measured on. Energy-delay: the priced energy times "
            "that latency, of two different machines."
        )
    caption += f" Priced: {found.basis}."
    notes = tuple(note for entry in entries for note in entry.notes)
    return Table("comparison", caption, frame, found.shown(), frozenset({"Model"}), notes=notes)


def layers(entries: Sequence[Entry]) -> Table:
    """All layers of all models: one row for each module, operation and input class."""
    raw = pd.concat([_raw_layers(entry) for entry in entries], ignore_index=True)
    shown = pd.concat([_shown_layers(e).assign(Model=e.name) for e in entries], ignore_index=True)
    shown = shown[["Model", *shown.columns.drop("Model")]]
    caption = (
        "Work and energy per module and operation, one inference, mean over the samples. Input: "
        "value class of what the operation reads. Firing rate: non-zeros over elements read."
    )
    text = frozenset({"Model", "Module", "Operation", "Input"})
    return Table("layers", caption, raw, shown, text, long=True)


def constants(
    technology: Technology,
    used: Mapping[str, float],
    precision: str,
    memory: MemoryModel | None = None,
) -> Table:
    """Every constant of a technology and a memory model, with its source and range."""
    rows = [
        (
            price_name(key),
            precision,
            round(value, 12),
            "yes",
            "add" if key == "ac_pj" else "multiply + add",
        )
        for key, value in used.items()
    ]
    figures = [
        (
            figure.section.partition("_pj")[0],
            figure.key,
            figure.value,
            "",
            figure.source,
            figure.unit,
            figure.low,
            figure.high,
            figure.confidence,
        )
        for figure in (*technology.figures, *(memory.figures if memory else ()))
    ]
    columns = ["operation", "number_format", "value", "used", "source"]
    more = ["unit", "low", "high", "confidence"]
    priced = [(*row, "pJ", row[2], row[2], "") for row in rows]
    raw = pd.DataFrame([*priced, *figures], columns=[*columns, *more])
    raw = raw[["operation", "number_format", "value", "unit", "low", "high", "used", "confidence",
               "source"]]  # fmt: skip
    spread = [
        f"{value:g}" if low == high else f"{value:g} ({low:g} to {high:g})"
        for value, low, high in zip(raw["value"], raw["low"], raw["high"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "Operation": raw["operation"],
            "Format": raw["number_format"],
            "Value": spread,
            "Unit": raw["unit"],
            "Confidence": raw["confidence"],
            "Source": raw["source"],
        }
    )
    caption = f"Energy of one operation, {technology.title}. AC and MAC are the prices used here."
    return Table("constants", caption, raw, shown, frozenset(set(shown.columns) - {"Value"}))


def totals(entries: Sequence[Entry]) -> Table:
    """The totals of all counts: a row for each model in the CSV, a column for each elsewhere."""
    sums = [entry.profile.totals for entry in entries]
    samples = [entry.profile.samples for entry in entries]
    raw = pd.DataFrame(
        [
            {"model": e.name, "samples": n} | {f"{key}_total": value for key, value in row.items()}
            for e, n, row in zip(entries, samples, sums, strict=True)
        ]
    )
    shown = pd.DataFrame(
        [
            {"Quantity": _quantity(key)}
            | {
                e.name: format_si(s[key] / n) if key in s else "–"  # of shapes and rates alone
                for e, s, n in zip(entries, sums, samples, strict=True)
            }
            for key in dict.fromkeys(key for s in sums for key in s)
        ]
    )
    caption = (
        "All facts per sample. AC, MAC and MAC events in the exact convention; MAC events are the "
        "products of MAC rows whose inputs are not zero."
    )
    return Table("totals", caption, raw, shown, frozenset({"Quantity"}))


def _raw_layers(entry: Entry) -> pd.DataFrame:
    rows = entry.layers
    table = pd.DataFrame({"model": entry.name, "module": rows["module"]}, index=rows.index)
    for column in ("op", "input_class"):
        table[column] = rows[column]
    counts = ("calls", "dense_macs", "events", "input_elements", "input_nonzeros", "ac", "mac")
    for column in counts:
        table[f"{column}_per_sample"] = rows[column]
    table["firing_rate"] = rows["firing_rate"]
    for column in ("ac_pj", "mac_pj", *COMPONENTS, "total_pj"):
        if column in rows:
            table[f"{column.removesuffix('_pj')}_energy_pj_per_sample"] = rows[column]
    return table


def _shown_layers(entry: Entry) -> pd.DataFrame:
    rows, total = entry.layers, entry.priced.total_pj
    return pd.DataFrame(
        {
            "Module": rows["module"],
            "Operation": rows["op"],
            "Input": rows["input_class"],
            "Dense MACs": rows["dense_macs"].map(format_si),
            "Firing rate": rows["firing_rate"].map(format_share),
            "AC": rows["ac"].map(format_si),
            "MAC": rows["mac"].map(format_si),
            **{
                COMPONENTS[component].capitalize(): rows[component].map(format_energy_pj)
                for component in entry.moves_pj
            },
            "Energy": rows["total_pj"].map(format_energy_pj),
            "Share": [format_share(pj / total if total else None) for pj in rows["total_pj"]],
        }
    )


def _quantity(key: str) -> str:
    words = key.replace("_", " ").split()
    named = {"ac": "AC", "mac": "MAC", "macs": "MACs"}
    text = " ".join(named.get(word, word) for word in words)
    return text[0].upper() + text[1:]


def rates(entries: Sequence[Entry]) -> Table:
    """The values of the heat maps, before layers are put together: a row a layer and timestep."""
    timed = [entry for entry in entries if entry.steps is not None]
    raw = pd.concat(
        [
            entry.steps.assign(model=entry.name, firing_rate=1 - entry.steps["sparsity"])
            for entry in timed
            if entry.steps is not None
        ],
        ignore_index=True,
    )[["model", "module", "timestep", "elements", "nonzeros", "firing_rate"]]
    shown = pd.DataFrame(
        {
            "Model": raw["model"],
            "Layer": raw["module"],
            "Timestep": raw["timestep"].map(str),
            "Firing rate": raw["firing_rate"].map(format_share),
        }
    )
    caption = (
        "Share of non-zeros among the spikes that each layer reads in each timestep, counted from "
        "0, over all samples."
    )
    return Table("rates", caption, raw, shown, frozenset({"Model", "Layer"}), long=True)
