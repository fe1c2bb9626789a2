"""Writes the answer to a question about prices into a folder: a page, a figure, tables as CSV.

The questions are ``explain``, ``sensitivity``, ``timesteps`` and ``memory`` of the command line;
:mod:`analyzer.plot` draws their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analyzer.energy import beyond, sensitivity, timesteps
from analyzer.energy.beyond import Beyond
from analyzer.energy.explain import Explanation
from analyzer.energy.sensitivity import Sensitivity
from analyzer.energy.timesteps import AgainstTimesteps
from analyzer.plot import answers as figures
from analyzer.plot import tradeoffs
from analyzer.plot.canvas import figure_of, paper, saved
from analyzer.report.output import place
from analyzer.tabular import to_markdown
from analyzer.units import format_energy_pj

__all__ = ["Answer", "draw", "write"]

Answer = AgainstTimesteps | Beyond | Explanation | Sensitivity


def draw(found: Answer) -> dict[str, bytes]:
    """Draws the figure of an answer; returns its files by name."""
    name, plot = _figure(found)
    with paper(name):
        return saved(figure_of(plot(found)), name)


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
    files = {f"{name}.md": page.encode(), **draw(found)}
    files |= {f"{stem}.csv": rows.to_csv(index=False).encode() for stem, rows in tables.items()}
    place(files, output, frozenset(files))
    return output / f"{name}.md"


def _figure(found: Answer) -> tuple[str, Callable[[Any], Axes]]:
    if isinstance(found, Explanation):
        return "waterfall", figures.waterfall
    if isinstance(found, Sensitivity):
        return "tornado", figures.tornado
    if isinstance(found, Beyond):
        return "memory", figures.memory
    return "timesteps", tradeoffs.timesteps


def _page(found: Answer) -> tuple[str, str, Mapping[str, pd.DataFrame]]:
    """Name and text of the page, and the tables beside it."""
    if isinstance(found, Explanation):
        return "explanation", _of_explanation(found), {"rows": found.rows, "steps": found.steps}
    if isinstance(found, Sensitivity):
        table = to_markdown(sensitivity.shown(found), align="lrrrrr")
        return "sensitivity", _short(found, table, "tornado"), {"sensitivity": found.rows}
    if isinstance(found, Beyond):
        return "memory", _of_memory(found), {"memory": found.rows}
    table = to_markdown(timesteps.shown(found), align="rrrrr")
    return "timesteps", _short(found, table, "timesteps"), {"timesteps": found.rows}


def _short(found: Answer, table: str, figure: str) -> str:
    notes = "".join(f"\n{note}\n" for note in found.notes)
    return f"# {found.summary}\n{notes}\n{table}\n\n![]({figure}.svg)\n"


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
    table = to_markdown(beyond.shown(found), align="llrrrrr")
    basis = dict.fromkeys(f"- {report.basis}" for report in found.reports)
    notes = "\n".join(f"- {note}" for note in found.notes)
    page = (
        f"# Spikes against dense work, once memory counts\n\n{found.summary}\n\n"
        "Rate: share of the dense work of driven layers that spikes cause. Break-even: the rate at "
        "which both would take the same; never where even silence would take more; above 100 % "
        f"where it takes less whatever fires.\n\n![](memory.svg)\n\n{table}\n\n"
        f"## Priced with\n\n{chr(10).join(basis)}\n"
    )
    return f"{page}\n## What limits these figures\n\n{notes}\n" if notes else page
