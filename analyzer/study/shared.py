"""What studies share: writing the folder; sparsity by group, training steps, memory against T."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyzer.plot.maps import GROUPS
from analyzer.plot.maps import sparsity_by_group as groups_of
from analyzer.plot.style import colors_of
from analyzer.profiles import Profile
from analyzer.report.output import place
from analyzer.report.tables import Table
from analyzer.units import format_bytes, format_ratio

__all__ = [
    "FIRST_LAYER", "draw_training_costs", "legend_below", "memory_slopes", "shown_groups",
    "shown_slopes", "shown_training", "sparsity_by_group", "write",
]  # fmt: skip

FIRST_LAYER = "stem.conv"
"""The layer of Ge²mS-T's topology that reads the image; all others read spikes."""


def write(
    output: Path,
    page: str,
    text: str,
    tables: Iterable[Table],
    more: Mapping[str, bytes] = MappingProxyType({}),
    owned: frozenset[str] = frozenset(),
) -> Path:
    """Writes the page of a study and its tables, all or none, and removes what ``owned`` names."""
    files = {page: text.encode(), **more}
    for table in tables:
        files |= {f"tables/{name}": content for name, content in table.files().items()}
    place(files, output, owned | files.keys())
    return output / page


def sparsity_by_group(profiles: Sequence[Profile], first: str = FIRST_LAYER) -> pd.DataFrame:
    """Sparsity of each group of each axis, over all modules but the first layer.

    Returns:
        Columns ``model, axis, group, sparsity``.
    """
    tables = [groups_of(profile, skip=[first]).assign(model=profile.name) for profile in profiles]
    return pd.concat(tables, ignore_index=True)[["model", "axis", "group", "sparsity"]]


def shown_groups(table: pd.DataFrame, model: str, zeros: Iterable[str]) -> pd.DataFrame:
    """Sparsity by group as text: a row a model, a column a group."""
    wide = table.assign(
        zeros=list(zeros), label=table["axis"] + " " + (table["group"].astype(int) + 1).astype(str)
    )
    order = list(dict.fromkeys(wide["label"].sort_values(key=lambda s: s.map(_group_order))))
    wide = wide.pivot(index=model, columns="label", values="zeros").fillna("–")
    names = list(dict.fromkeys(table[model]))
    return wide.loc[names, order].reset_index().rename(columns={model: "Model"})


def _group_order(label: str) -> int:
    """Where ``temporal 2`` stands among the columns of a table."""
    axis, group = label.split()
    return 100 * GROUPS.index(axis) + int(group)


def shown_training(table: pd.DataFrame) -> pd.DataFrame:
    """What a training step costs, as text."""
    return pd.DataFrame(
        {
            "Model": table["model"],
            "T": table["timesteps"].astype(str),
            "Saved for backward": table["saved_bytes"].map(format_bytes),
            "Measured peak": table["measured_peak_bytes"].map(format_bytes),
            "Step": (table["seconds"] * 1e3).map("{:.0f} ms".format),
        }
    )


def draw_training_costs(panels: Iterable[Axes], table: pd.DataFrame) -> None:
    """Draws saved bytes and time of a training step against T, each into a panel."""
    colors = colors_of(table["model"])
    costs = (("saved_bytes", 1e6, "saved for backward [MB]"), ("seconds", 1e-3, "step [ms]"))
    for axes, (column, unit, label) in zip(panels, costs, strict=True):
        for model, some in table.groupby("model", sort=False):
            steps, figures = some["timesteps"], some[column] / unit
            axes.plot(steps, figures, ".-", label=model, color=colors[str(model)])
        axes.set(xlabel="timesteps T", ylabel=label, ylim=(0, None))
        sns.despine(ax=axes)


def legend_below(figure: Figure, axes: Axes, ncols: int = 3, fontsize: float | None = 7) -> None:
    """Explains what axes show below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": ncols, "frameon": False}
    figure.legend(handles, labels, fontsize=fontsize, **where)


def memory_slopes(training: pd.DataFrame) -> pd.DataFrame:
    """How saved bytes grow with T.

    The slope is that of a line from the smallest to the largest T; the deviation is the largest
    distance of a value from that line, relative to the value.
    """
    rows = []
    for model, some in training.groupby("model", sort=False):
        if len(some) < 2:
            continue
        steps, saved = (some[c].to_numpy(float) for c in ("timesteps", "saved_bytes"))
        slope = (saved[-1] - saved[0]) / (steps[-1] - steps[0])
        off = np.abs(saved - (saved[0] + slope * (steps - steps[0]))) / saved
        rows.append(
            {
                "model": model,
                "bytes_per_timestep": slope,
                "growth": saved[-1] / saved[0],
                "largest_deviation": float(off.max()),
            }
        )
    return pd.DataFrame(rows)


def shown_slopes(table: pd.DataFrame) -> pd.DataFrame:
    """The growth of saved bytes, as text."""
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Bytes a timestep": table["bytes_per_timestep"].map("{:,.0f}".format),
            "Largest T / T=1": table["growth"].map(format_ratio),
            "Off a line": table["largest_deviation"].map("{:.2%}".format),
        }
    )
