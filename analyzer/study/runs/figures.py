"""The figures of the study of trained runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from analyzer.plot.canvas import blank, numbered, paper, saved
from analyzer.plot.maps import GROUPS
from analyzer.plot.style import GUIDE, MARKERS, colors_of
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP
from analyzer.study.shared import draw_training_costs, legend_below

__all__ = ["FIGURES", "draw"]

FIGURES = ("accuracy_energy", "timesteps", "groups", "memories", "training")


def draw(tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Draws all figures that the tables have something for; returns the files by name."""
    drawn = _accuracy_energy(tables["runs"], tables["series"])
    drawn |= _timesteps(tables["timesteps"]) | _groups(tables["groups"])
    if len(tables["memories"]):
        drawn |= _memories(tables["memories"])
    if len(tables["training"]):
        drawn |= _training(tables["training"])
    return drawn


def _accuracy_energy(runs: pd.DataFrame, series: pd.DataFrame) -> dict[str, bytes]:
    """Every seed as a dot, means as markers; weights of accumulates as a curve."""
    plain = [s for s in (ANN, STBP, OURS) if s in set(series["series"])]
    converted = series[series["base"] == CONVERTED]["series"].tolist()
    topology = {ANN, STBP, OURS, CONVERTED}
    others = series[~series["base"].isin(topology)]["series"].tolist()
    codings = [s for s in series["series"] if s.startswith(f"{OURS} ") and "=" in s and "G=" in s]
    with paper("accuracy_energy"):
        figure = blank(4.2)
        left, right = figure.subplots(1, 2)
        _cloud(left, runs, series, [*plain, *converted, *others])
        left.set(title="paradigms and networks", ylabel="wrong answers [%], fewer upwards")
        bases = [s for s in (STBP, OURS) if s in plain]
        colors = _cloud(right, runs, series, bases + codings)
        for base in bases:
            _curve(right, series, base, colors[base])
        right.set(title="codings, and weights of accumulates")
        for axes in (left, right):
            _log_axes(axes)
            axes.legend(fontsize=5.5, loc="best")
        return saved(figure, "accuracy_energy")


def _cloud(
    axes: Axes, runs: pd.DataFrame, series: pd.DataFrame, names: list[str]
) -> dict[str, Any]:
    """Draws some series, and returns their colours."""
    colors = sns.color_palette("husl", len(names))
    for number, (name, color) in enumerate(zip(names, colors, strict=True)):
        mine = runs[runs["series"] == name]
        axes.scatter(
            1e3 * mine["energy_mj"], 100 * (1 - mine["accuracy"]), color=color, s=6, alpha=0.7
        )
        mean = series[series["series"] == name].iloc[0]
        axes.errorbar(
            1e3 * mean["energy_mj_mean"],
            100 * (1 - mean["accuracy_mean"]),
            xerr=_bar(1e3 * mean["energy_mj_std"]),
            yerr=_bar(100 * mean["accuracy_std"]),
            color=color,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4.5,
            linewidth=0.8,
            linestyle="none",
            label=name,
        )
    return dict(zip(names, colors, strict=True))


def _curve(axes: Axes, series: pd.DataFrame, base: str, color: Any) -> None:
    """The networks of one model that were trained with growing weights of accumulates."""
    weighted = series[(series["base"] == base) & series["series"].str.contains(r" w=", regex=False)]
    if weighted.empty:
        return
    some = pd.concat([series[series["series"] == base], weighted]).sort_values("synops_weight")
    axes.plot(
        1e3 * some["energy_mj_mean"],
        100 * (1 - some["accuracy_mean"]),
        marker=".",
        linewidth=0.9,
        color=color,
        label=f"{base}, w = {', '.join(f'{w:g}' for w in some['synops_weight'])}",
    )


def _bar(deviation: float) -> float | None:
    return None if pd.isna(deviation) else float(deviation)


def _log_axes(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log", xlabel="energy a sample [µJ]")
    numbered(axes.xaxis)
    numbered(axes.yaxis)
    axes.invert_yaxis()
    sns.despine(ax=axes)


def _timesteps(table: pd.DataFrame) -> dict[str, bytes]:
    colors = colors_of(table["base"])
    with paper("timesteps"):
        figure = blank(2.9)
        panels = figure.subplots(1, 2)
        figures = (("accuracy", 100, "accuracy [%]"), ("energy_mj", 1e3, "energy a sample [µJ]"))
        for axes, (column, factor, label) in zip(panels, figures, strict=True):
            for base, some in table.groupby("base", sort=False):
                axes.errorbar(
                    some["timesteps"],
                    factor * some[f"{column}_mean"],
                    yerr=(factor * some[f"{column}_std"]).fillna(0),
                    marker=".",
                    linewidth=0.9,
                    color=colors[str(base)],
                    label=base,
                )
                fit = some[some["trained"]]
                axes.plot(
                    fit["timesteps"],
                    factor * fit[f"{column}_mean"],
                    "o",
                    markersize=6,
                    fillstyle="none",
                    color=colors[str(base)],
                )
            axes.set(xlabel="timesteps T", ylabel=label)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            sns.despine(ax=axes)
        panels[1].set_yscale("log")
        numbered(panels[1].yaxis)
        legend_below(figure, panels[0])
        return saved(figure, "timesteps")


def _groups(table: pd.DataFrame) -> dict[str, bytes]:
    colors = colors_of(table["series"])
    with paper("groups"):
        figure = blank(3.2)
        panels = figure.subplots(1, len(GROUPS), sharey=True)
        for axes, axis in zip(panels, GROUPS, strict=True):
            for series, some in table[table["axis"] == axis].groupby("series", sort=False):
                axes.errorbar(
                    some["group"] + 1,
                    100 * some["sparsity_mean"],
                    yerr=(100 * some["sparsity_std"]).fillna(0),
                    fmt=".-",
                    linewidth=0.9,
                    color=colors[str(series)],
                    label=series,
                )
            axes.set(title=axis, xlabel="group", xticks=range(1, int(table["group"].max()) + 2))
            sns.despine(ax=axes)
        panels[0].set_ylabel("zeros [%]")
        legend_below(figure, panels[-1])
        return saved(figure, "groups")


def _memories(table: pd.DataFrame) -> dict[str, bytes]:
    """The energy of Ge²mS-T relative to each paradigm, a row for each memory model."""
    memories, theirs = (list(dict.fromkeys(table[c])) for c in ("memory", "theirs"))
    colors = colors_of(table["theirs"])
    with paper("memories"):
        figure = blank(1.4 + 0.32 * len(memories))
        axes = figure.subplots()
        axes.axvline(1, color="black", linewidth=0.8, zorder=1)
        apart = 0.7 / max(len(theirs), 1)
        for number, name in enumerate(theirs):
            mine = table[table["theirs"] == name]
            shift = (number - (len(theirs) - 1) / 2) * apart
            at = [memories.index(memory) + shift for memory in mine["memory"]]
            axes.scatter(
                mine["ratio"], at, color=colors[name], marker=MARKERS[number], s=18, label=name
            )
            axes.hlines(at, mine["low"], mine["high"], color=colors[name], linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yticks(range(len(memories)), memories)
        axes.grid(axis="y", color=GUIDE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"energy of {OURS} relative to each (logarithmic)")
        sns.despine(ax=axes, left=True)
        legend_below(figure, axes)
        return saved(figure, "memories")


def _training(table: pd.DataFrame) -> dict[str, bytes]:
    colors = colors_of(table["model"])
    with paper("training"):
        figure = blank(2.9)
        panels = figure.subplots(1, 3)
        draw_training_costs(panels[:2], table)
        for model, some in table.dropna(subset=["accuracy_mean"]).groupby("model", sort=False):
            fit = some[some["trained"].astype(bool)]
            panels[2].plot(
                fit["saved_bytes"] / 1e6,
                100 * fit["accuracy_mean"],
                "o",
                label=model,
                color=colors[str(model)],
            )
            for row in fit.to_dict("records"):
                panels[2].annotate(
                    f"T={row['timesteps']}",
                    (row["saved_bytes"] / 1e6, 100 * row["accuracy_mean"]),
                    fontsize=6,
                    xytext=(3, 3),
                    textcoords="offset points",
                )
        panels[2].set(xlabel="saved for backward [MB]", ylabel="accuracy [%]", xlim=(0, None))
        sns.despine(ax=panels[2])
        legend_below(figure, panels[0])
        return saved(figure, "training")
