"""Writes the answer to a question about prices into a folder: a page, a figure, tables as CSV.

The questions are ``explain``, ``sensitivity``, ``timesteps`` and ``memory`` of the command line;
:mod:`analyzer.plot` draws their figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from analyzer.energy.answer import Answer
from analyzer.energy.beyond import Beyond
from analyzer.energy.bit_budget import BitBudget
from analyzer.energy.explain import Explanation
from analyzer.energy.sensitivity import Sensitivity
from analyzer.inert import csv_of, in_markdown
from analyzer.plot.canvas import figure_of, paper, saved
from analyzer.report.output import place
from analyzer.tabular import to_markdown
from analyzer.units import format_energy_pj

__all__ = ["draw", "write"]


def draw(found: Answer) -> dict[str, bytes]:
    """Draws the figure of an answer; returns its files by name."""
    with paper(found.figure):
        return saved(figure_of(found.plot()), found.figure)


def write(found: Answer, output: Path) -> Path:
    """Writes the page, the figure, and the tables as CSV into a folder.

    Args:
        found: What a question returned.
        output: The folder; made if it is missing.

    Returns:
        The path of the page.

    Raises:
        AnalyzerError: If the folder can't be written.
    """
    name, page, tables = _page(found)
    files = {f"{name}.md": page.encode(), **(draw(found) if found.figure else {})}
    files |= {f"{stem}.csv": csv_of(rows).encode() for stem, rows in tables.items()}
    place(files, output, frozenset(files))
    return output / f"{name}.md"


def _page(found: Answer) -> tuple[str, str, Mapping[str, pd.DataFrame]]:
    """Name and text of the page, and the tables beside it."""
    if isinstance(found, Explanation):
        return "explanation", _of_explanation(found), {"rows": found.rows, "steps": found.steps}
    if isinstance(found, Beyond):
        return "memory", _of_memory(found), {"memory": found.rows}
    if isinstance(found, BitBudget):
        return "bit-budget", _short(found, found.to_markdown(), ""), {"bit-budget": found.rows}
    name = "sensitivity" if isinstance(found, Sensitivity) else found.figure
    return name, _short(found, found.to_markdown(), found.figure), {name: found.rows}


def _short(found: Answer, table: str, figure: str) -> str:
    notes = "".join(f"\n{in_markdown(note)}\n" for note in found.notes)
    picture = f"\n\n![]({figure}.svg)" if figure else ""
    return f"# {in_markdown(found.summary)}\n{notes}\n{table}{picture}\n"


def _of_explanation(found: Explanation) -> str:
    steps = found.steps
    signs = steps["difference_pj"].map(lambda pj: "+" if pj > 0 else "−")
    shown = steps[["from_reason", "to_reason", "operations"]].assign(
        difference=signs + steps["difference_pj"].abs().map(format_energy_pj)
    )
    names = [side.convention.name for side in (found.first, found.second)]
    shown.columns = pd.Index([*names, "rows", "difference"])
    return _short(found, to_markdown(shown, align="llrr"), "waterfall")


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
