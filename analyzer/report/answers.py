"""Writes the answer to a question about prices into a folder: a page, a figure, tables as CSV.

The questions are those of the command line that take ``-o``, such as ``explain`` and ``diff``;
:mod:`analyzer.plot` draws the figures of those that have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analyzer.advice.advise import Advice
from analyzer.energy.answer import Answer, Told
from analyzer.energy.explaining.difference import Difference
from analyzer.energy.explaining.explain import Explanation
from analyzer.energy.paradigms.beyond import Beyond
from analyzer.inert import csv_of, in_markdown
from analyzer.plot.canvas import figure_of, paper, saved
from analyzer.report.output import place
from analyzer.tabular import to_markdown
from analyzer.units import signed

__all__ = ["draw", "write"]


def draw(found: Answer) -> dict[str, bytes]:
    """Draws the figure of an answer; returns its files by name."""
    with paper(found.figure):
        return saved(figure_of(found.plot()), found.figure)


def write(found: Told, output: Path) -> Path:
    """Writes the page, the figure, and the tables as CSV into a folder.

    Raises:
        AnalyzerError: If the folder can't be written.
    """
    figure = found.figure if isinstance(found, Answer) else ""
    name = found.stem or figure
    page, tables = _page(found, name, figure)
    files = {f"{name}.md": page.encode(), **(draw(found) if isinstance(found, Answer) else {})}
    files |= {f"{stem}.csv": csv_of(rows).encode() for stem, rows in tables.items()}
    place(files, output, frozenset(files))
    return output / f"{name}.md"


def _page(found: Told, name: str, figure: str) -> tuple[str, Mapping[str, pd.DataFrame]]:
    """The text of the page, and the tables beside it."""
    tables = {name: found.rows}
    if isinstance(found, Explanation):
        return _of_explanation(found), {"rows": found.rows, "steps": found.steps}
    if isinstance(found, Beyond):
        return _of_memory(found), tables
    if isinstance(found, Difference):
        tables |= {"parts": found.parts, "provenance": found.provenance}
    if isinstance(found, Advice):
        return _of_advice(found), tables | {"costs": found.costs}
    return _short(found, found.to_markdown(), figure), tables


def _short(found: Told, table: str, figure: str) -> str:
    notes = "".join(f"\n{in_markdown(note)}\n" for note in found.notes)
    picture = f"\n\n![]({figure}.svg)" if figure else ""
    return f"# {in_markdown(found.summary)}\n{notes}\n{table}{picture}\n"


def _of_explanation(found: Explanation) -> str:
    steps = found.steps
    shown = steps[["from_reason", "to_reason", "operations"]].assign(
        difference=steps["difference_pj"].map(signed)
    )
    names = [side.convention.name for side in (found.first, found.second)]
    shown.columns = pd.Index([*names, "rows", "difference"])
    return _short(found, to_markdown(shown, align="llrr"), "waterfall")


def _of_advice(found: Advice) -> str:
    costs = to_markdown(found.shown_costs(), align="llrrl")
    advice = found.to_markdown() if len(found.rows) else "None."
    return _short(found, f"## What costs most\n\n{costs}\n\n## Advice\n\n{advice}", "")


def _of_memory(found: Beyond) -> str:
    table = found.to_markdown()
    basis = dict.fromkeys(f"- {in_markdown(report.basis)}" for report in found.reports)
    notes = "\n".join(f"- {in_markdown(note)}" for note in found.notes)
    page = (
        f"# Spikes against dense work, once memory counts\n\n{in_markdown(found.summary)}\n\n"
        "Rate: share of the dense work of driven layers that spikes cause. Break-even: the rate at "
        "which both would take the same; never where even silence would take more; above 100 % "
        f"where it takes less whatever fires.\n\n![](memory.svg)\n\n{table}\n\n"
        f"## Priced with\n\n{chr(10).join(basis)}\n"
    )
    return f"{page}\n## What limits these figures\n\n{notes}\n" if notes else page
