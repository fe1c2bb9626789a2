"""Writes the answer to ``analyzer memory``: spiking models against a dense one, by memory model.

The answer comes from :func:`analyzer.beyond_arithmetic`; here it becomes a figure, a table and a
page in Markdown.
"""

from __future__ import annotations

from pathlib import Path

import seaborn as sns
from matplotlib.ticker import FuncFormatter, NullFormatter

from analyzer.energy.beyond import Beyond, shown
from analyzer.report.output import place_answer
from analyzer.report.plotting import GUIDE, blank, paper, saved
from analyzer.tabular import to_markdown

__all__ = ["draw", "write"]


def draw(found: Beyond) -> dict[str, bytes]:
    """Draws the energy of each spiking model relative to the dense one; returns the files by name.

    One row for each memory model, one marker for each spiking model.
    """
    rows = found.rows
    memories, models = (list(dict.fromkeys(rows[column])) for column in ("memory", "model"))
    with paper("memory"):
        figure = blank(1.1 + 0.3 * len(memories))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.hlines(range(len(memories)), *_span(found), color=GUIDE, linewidth=0.5, zorder=0)
        axes.axvline(1, color="black", linewidth=0.8, zorder=1)
        colours = sns.color_palette("colorblind", len(models))
        apart = 0.6 / max(len(models), 1)  # markers of equal ratios must not hide each other
        styles = zip(models, colours, "osD^vP*X" * len(models), strict=False)
        for number, (model, colour, marker) in enumerate(styles):
            mine = rows[rows["model"] == model]
            shift = (number - (len(models) - 1) / 2) * apart
            at = [memories.index(memory) + shift for memory in mine["memory"]]
            axes.scatter(mine["ratio"], at, color=colour, marker=marker, s=26, label=model)
        axes.set_yticks(range(len(memories)), memories)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("energy, dense model = 1 (logarithmic)")
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        sns.despine(ax=axes, left=True)
        return saved(figure, "memory")


def _span(found: Beyond) -> tuple[float, float]:
    return float(min(1, found.rows["ratio"].min())), float(max(1, found.rows["ratio"].max()))


def write(found: Beyond, output: Path) -> Path:
    """Writes ``memory.md``, the figure and the rows as CSV into a folder.

    Returns:
        The path of ``memory.md``.
    """
    table = to_markdown(shown(found), align="llrrrrr")
    basis = dict.fromkeys(f"- {report.basis}" for report in found.reports)
    notes = "\n".join(f"- {note}" for note in found.notes)
    page = (
        f"# Spikes against dense work, once memory counts\n\n{found.summary}\n\n"
        "Rate: share of the dense work of driven layers that spikes cause. Break-even: the rate at "
        "which both would take the same; never where even silence would take more; above 100 % "
        f"where it takes less whatever fires.\n\n![](memory.svg)\n\n{table}\n\n"
        f"## Priced with\n\n{chr(10).join(basis)}\n"
    )
    if notes:
        page += f"\n## What limits these figures\n\n{notes}\n"
    return place_answer(output, "memory", page, {"memory": found.rows}, draw(found))
