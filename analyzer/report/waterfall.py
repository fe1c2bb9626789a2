"""Writes the answer to ``analyzer explain`` as a waterfall chart, tables and a page.

A waterfall chart leads from the energy under one convention to that under another, one bar for
each reason why they differ. The answer comes from :func:`analyzer.explain`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns

from analyzer.energy.explain import Explanation, in_millijoules
from analyzer.report.output import place_answer
from analyzer.report.plotting import GUIDE, blank, paper, saved
from analyzer.tabular import to_markdown
from analyzer.units import MJ_PER_PJ

__all__ = ["draw", "write"]

_TOTAL, _LESS, _MORE = "#595959", "#0072b2", "#d55e00"


def draw(found: Explanation) -> dict[str, bytes]:
    """Draws the chart in mJ, blue where the second convention gives less energy.

    Returns:
        The files by name.
    """
    bars = in_millijoules(found)
    with paper("waterfall"):
        figure = blank(0.9 + 0.42 * len(bars))
        axes = figure.subplots()
        level = 0.0
        for row, (_, value) in enumerate(bars):
            total = row in (0, len(bars) - 1)
            start = 0.0 if total else level
            color = _TOTAL if total else _MORE if value > 0 else _LESS
            axes.barh(row, value, left=start, color=color, height=0.6)
            level = start + value
            text = f"{value:.3g} mJ" if total else f"{value:+.3g} mJ"
            axes.text(max(start, level), row, f" {text}", va="center", fontsize=7.5)
            if row + 1 < len(bars):
                axes.vlines(level, row, row + 1, color=GUIDE, linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(bars)), [label.replace(" → ", " →\n") for label, _ in bars])
        axes.tick_params(axis="y", labelsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("energy a sample [mJ]")
        axes.set_xlim(0, 1.2 * axes.get_xlim()[1])
        sns.despine(ax=axes)
        return saved(figure, "waterfall")


def write(found: Explanation, output: Path) -> Path:
    """Writes ``explanation.md``, the chart, and rows and steps as CSV into a folder.

    Returns:
        The path of ``explanation.md``.
    """
    steps = found.steps.assign(difference_mj=found.steps["difference_pj"] * MJ_PER_PJ)
    shown = steps[["from_reason", "to_reason", "operations"]].assign(
        difference=steps["difference_mj"].map("{:+.4g} mJ".format)
    )
    names = [side.convention.name for side in (found.first, found.second)]
    shown.columns = pd.Index([*names, "rows", "difference"])
    notes = "".join(f"\n{note}\n" for note in found.notes)
    page = f"# {found.summary}\n{notes}\n{to_markdown(shown, align='llrr')}\n\n![](waterfall.svg)\n"
    tables = {"rows": found.rows, "steps": found.steps}
    return place_answer(output, "explanation", page, tables, draw(found))
