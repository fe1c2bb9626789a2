"""Writes the answer to ``analyzer sensitivity`` as a tornado chart, a table and a page.

A tornado chart has one bar for each constant: from the energy at the low end of its range to that
at the high end, the longest bar on top. The answer comes from :func:`analyzer.sensitivity`.
"""

from __future__ import annotations

from pathlib import Path

import seaborn as sns

from analyzer.energy.sensitivity import Sensitivity, shown
from analyzer.report.output import place_answer
from analyzer.report.plotting import blank, paper, saved
from analyzer.tabular import to_markdown
from analyzer.units import energy_unit

__all__ = ["draw", "write"]

_LESS, _MORE = "#0072b2", "#d55e00"


def draw(found: Sensitivity) -> dict[str, bytes]:
    """Draws the chart, blue for less energy and orange for more; returns the files by name."""
    rows, now = found.rows, found.report.total_pj
    size, unit = energy_unit(max([now, *rows["high_pj"]]))
    with paper("tornado"):
        figure = blank(0.9 + 0.36 * max(len(rows), 1))
        axes = figure.subplots()
        ends = [
            *zip(range(len(rows)), rows["low_pj"], rows["low"], strict=True),
            *zip(range(len(rows)), rows["high_pj"], rows["high"], strict=True),
        ]
        for at, energy, value in ends:
            if energy == now:
                continue
            more = energy > now
            color = _MORE if more else _LESS
            axes.barh(at, (energy - now) / size, left=now / size, color=color, height=0.55)
            axes.annotate(
                str(value),
                (energy / size, at),
                (3 if more else -3, 0),
                textcoords="offset points",
                ha="left" if more else "right",
                va="center",
                fontsize=7.5,
            )
        axes.axvline(now / size, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), rows["constant"])
        axes.invert_yaxis()
        low, high = axes.get_xlim()
        axes.set_xlim(max(low - 0.18 * (high - low), -0.12 * high), high + 0.15 * (high - low))
        axes.set_xlabel(f"energy a sample [{unit}]")
        sns.despine(ax=axes)
        return saved(figure, "tornado")


def write(found: Sensitivity, output: Path) -> Path:
    """Writes ``sensitivity.md``, the chart and the rows as CSV into a folder.

    Returns:
        The path of ``sensitivity.md``.
    """
    notes = "".join(f"\n{note}\n" for note in found.notes)
    table = to_markdown(shown(found), align="lrrrrr")
    page = f"# {found.summary}\n{notes}\n{table}\n\n![](tornado.svg)\n"
    return place_answer(output, "sensitivity", page, {"sensitivity": found.rows}, draw(found))
