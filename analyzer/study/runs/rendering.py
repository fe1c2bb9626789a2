"""Writes the study of trained runs into a folder: a page, tables and figures."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pandas as pd

from analyzer.inert import csv_of
from analyzer.plot.canvas import FORMATS
from analyzer.report.folder import stem_of
from analyzer.report.page import render as render_report
from analyzer.report.page import template
from analyzer.report.tables import Table
from analyzer.study.runs import shown
from analyzer.study.runs.claims import claims
from analyzer.study.runs.collection import OURS, Collection, about, read, runs_of
from analyzer.study.runs.costs import PRECISION, memories, training_costs
from analyzer.study.runs.figures import FIGURES, draw
from analyzer.study.runs.findings import findings, in_short, memory_findings, strength
from analyzer.study.runs.readings import readings, readings_in_short
from analyzer.study.runs.series import (
    against_timesteps,
    differences,
    groups,
    series_of,
    trainings,
)
from analyzer.study.runs.twins import twins
from analyzer.study.shared import FIRST_LAYER, memory_slopes, write
from analyzer.tabular import to_markdown

__all__ = ["PAGE", "is_in", "read", "render", "tables_of"]

PAGE = "runs.md"

OWNED = frozenset(
    {
        *(f"tables/{name}.{kind}" for name in shown.TITLES for kind in ("csv", "tex")),
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in FORMATS),
    }
)
_NAMES = MappingProxyType({"fashion-mnist": "Fashion-MNIST", "digits": "the embedded digits"})


def is_in(folder: Path) -> bool:
    """Whether a folder holds a study of trained runs."""
    return (folder / PAGE).exists()


def tables_of(collection: Collection, technology: str, convention: str) -> dict[str, pd.DataFrame]:
    """All tables of the study by name, as numbers."""
    runs = runs_of(collection.profiles, technology, convention)
    series = series_of(runs)
    timesteps = against_timesteps(series)
    training = collection.training
    return {
        "runs": runs,
        "series": series,
        "differences": differences(runs),
        "timesteps": timesteps,
        "twins": twins(collection, technology, convention),
        "memories": memories(collection, technology, convention),
        "readings": readings(collection, technology, convention, PRECISION),
        "groups": groups(collection),
        "training": training_costs(training, timesteps),
        "slopes": memory_slopes(training) if len(training) else pd.DataFrame(),
        "multiplications": _multiplications(collection, technology, convention),
        "trainings": trainings(collection),
    }


def _multiplications(collection: Collection, technology: str, convention: str) -> pd.DataFrame:
    """What Ge²mS-T multiplies for an image, by module; its first seed."""
    profile = next(iter(collection.of(OURS).values()))
    table = profile.energy(technology, convention).table
    kept = ["module", "op", "ac", "mac", "mac_pj", "total_pj"]
    # Horner's rule doubles by an addition with a factor; batch norm folds into the weights.
    single = [t for t in profile.tallies if not t.folds]
    doublings = sum(t.multiplies for t in single if t.op == "add") / profile.samples
    found = table[kept].assign(
        is_stem=table["module"] == FIRST_LAYER,
        scalings=sum(t.multiplies for t in single) / profile.samples - doublings,
        doublings=doublings,
        attention=about(profile)["attention_macs"],
        whole_map=about(profile)["whole_map_macs"],
        dense=profile.totals["dense_macs"] / profile.samples,
    )
    return found[(found["ac"] > 0) | (found["mac"] > 0)].reset_index(drop=True)


def render(
    collection: Collection, output: Path, *, technology: str = "45nm", convention: str = "exact"
) -> Path:
    """Writes the study into a folder; the same profiles give the same bytes."""
    raw = tables_of(collection, technology, convention)
    # What was measured is written as it was read, and the accuracies are joined for the page alone.
    tables = [
        shown.table(name, raw[name]) for name in shown.TITLES if name in raw and len(raw[name])
    ]
    written = [t for t in tables if t.name != "training"]
    more = {f"figures/{file}": content for file, content in draw(raw).items()}
    if len(collection.training):
        more["tables/training.csv"] = csv_of(collection.training).encode()
    profiles = collection.profiles
    render_report(
        profiles,
        Path(output),
        technology=technology,
        convention=convention,
        title=f"Trained networks on {_NAMES.get(collection.data, collection.data)}",
        stems=[stem_of(f"{about(p)['series']} s{about(p)['seed']}") for p in profiles],
        slim=True,
    )
    text = _page(raw, tables, collection, technology, convention)
    return write(Path(output), PAGE, text, written, more, OWNED)


def _page(
    raw: dict[str, pd.DataFrame],
    tables: list[Table],
    collection: Collection,
    technology: str,
    convention: str,
) -> str:
    return template("analyzer.study", "runs.md").render(
        data_name=_NAMES.get(collection.data, collection.data),
        samples=f"{collection.samples:,}",
        accuracy_images=f"{int(raw['runs']['accuracy_images'].max()):,}",
        technology=technology,
        convention=convention,
        precision=PRECISION,
        in_short=in_short(raw),
        findings=findings(raw),
        strength=strength(len(collection.of(OURS))),
        memory_findings=memory_findings(raw["memories"]) if len(raw["memories"]) else [],
        readings_in_short=readings_in_short(raw["readings"]),
        claims=claims(raw),
        tables=[
            {
                "title": shown.TITLES[table.name],
                "caption": table.caption,
                "markdown": to_markdown(table.shown, align=table.align),
            }
            for table in tables
        ],
        figures=", ".join(f"`figures/{name}`" for name in FIGURES if len(raw.get(name, "x"))),
    )
