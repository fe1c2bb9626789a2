"""Writes the answer to ``analyzer timesteps``: energy and accuracy of a model against T.

The answer comes from :func:`analyzer.against_timesteps`; here it becomes a figure, a table and a
page in Markdown.
"""

from __future__ import annotations

from pathlib import Path

import seaborn as sns

from analyzer.energy.timesteps import AgainstTimesteps, shown
from analyzer.report.output import place_answer
from analyzer.report.plotting import GUIDE, blank, paper, saved
from analyzer.tabular import to_markdown
from analyzer.units import energy_unit

__all__ = ["draw", "write"]

_ENERGY, _ACCURACY = "#0072b2", "#d55e00"


def draw(found: AgainstTimesteps) -> dict[str, bytes]:
    """Draws energy over T and, if it is known, accuracy over T; returns the files by name."""
    rows = found.rows
    size, unit = energy_unit(rows["energy_pj"].max())
    known = rows["accuracy"].notna().any()
    with paper("timesteps"):
        figure = blank(2.6)
        axes = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
        plots = [(rows["energy_pj"] / size, f"energy a sample [{unit}]", _ENERGY)]
        if known:
            plots.append((100 * rows["accuracy"], "accuracy [%]", _ACCURACY))
        for ax, (values, label, color) in zip(axes, plots, strict=True):
            ax.grid(axis="y", color=GUIDE, linewidth=0.5)
            ax.plot(rows["timesteps"], values, marker="o", color=color)
            ax.set_xticks(rows["timesteps"])
            ax.set_xlabel("timesteps T")
            ax.set_ylabel(label)
            sns.despine(ax=ax)
        axes[0].set_ylim(bottom=0)
        return saved(figure, "timesteps")


def write(found: AgainstTimesteps, output: Path) -> Path:
    """Writes ``timesteps.md``, the figure and the rows as CSV into a folder.

    Returns:
        The path of ``timesteps.md``.
    """
    table = to_markdown(shown(found), align="rrrrr")
    notes = "".join(f"\n{note}\n" for note in found.notes)
    page = f"# {found.summary}\n{notes}\n{table}\n\n![](timesteps.svg)\n"
    return place_answer(output, "timesteps", page, {"timesteps": found.rows}, draw(found))
