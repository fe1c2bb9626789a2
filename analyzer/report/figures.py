"""Draws the figures of a report page: energy, energy per layer, firing rates, AC against MAC.

Each function takes the priced profiles and returns a matplotlib figure with its caption;
:func:`draw` saves all of them in every format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analyzer.energy.traffic import COMPONENTS
from analyzer.report.entries import Entry, data_of
from analyzer.report.plotting import (
    AC_STYLE,
    FORMATS,
    GUIDE,
    MAC_STYLE,
    MOVE_STYLES,
    PITCH,
    blank,
    fold,
    inline,
    panels,
    paper,
    path_labels,
    saved,
    wrapped,
)
from analyzer.units import energy_unit, format_energy_pj, format_ratio, format_si

__all__ = ["FILES", "Drawing", "draw"]

NAMES = ("energy", "energy_per_layer", "firing_rate", "ac_mac")

FILES = tuple(f"{name}.{kind}" for name in NAMES for kind in FORMATS)
"""Every file that a report may write into its folder ``figures``."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: Stem of its file names.
        title: Its heading on the page.
        caption: What it shows, in which unit, from which data.
        svg: The SVG element for the page.
        files: Contents of its files by name.
    """

    name: str
    title: str
    caption: str
    svg: str
    files: dict[str, bytes]


_STYLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"ac_pj": AC_STYLE, "mac_pj": MAC_STYLE} | dict(zip(COMPONENTS, MOVE_STYLES, strict=True))
)


@dataclass(frozen=True)
class _Plot:
    figure: Figure
    title: str
    caption: str
    alt: str


def draw(entries: Sequence[Entry]) -> tuple[Drawing, ...]:
    """Draws all figures for which there is data, in the order of the page."""
    timed = [entry for entry in entries if entry.steps is not None]
    plots: list[tuple[str, Callable[[Sequence[Entry]], _Plot], Sequence[Entry]]] = [
        ("energy", _energy, entries),
        ("energy_per_layer", _energy_per_layer, entries),
        ("firing_rate", _firing_rate, timed),
        ("ac_mac", _ac_mac, entries),
    ]
    drawings = []
    for name, plot, subjects in plots:
        if not subjects:
            continue
        with paper(name):
            made = plot(subjects)
            files = saved(made.figure, name)
        svg = inline(files[f"{name}.svg"], name, made.alt)
        caption = f"{made.caption} Data: {data_of(subjects)}."
        drawings.append(Drawing(name, made.title, caption, svg, files))
    return tuple(drawings)


def _energy(entries: Sequence[Entry]) -> _Plot:
    totals = [entry.priced.total_pj for entry in entries]
    size, unit = energy_unit(max(totals))
    figure = blank(0.95 + 0.4 * len(entries))
    ax = figure.subplots()
    sums = pd.DataFrame([entry.layers[_parts(entries)].sum() for entry in entries])
    _bars(ax, sums / size, height=0.55)
    longest = max(totals) / size or 1.0
    for y, (entry, total) in enumerate(zip(entries, totals, strict=True)):
        text = entry.priced.total_text
        if totals[0] and len(entries) > 1:
            text += f" ({format_ratio(total / totals[0])})"
        ax.text(total / size + longest * 0.012, y, text, va="center", fontsize=8)
    ax.set_xlim(0, longest * 1.36)
    ax.set_ylim(len(entries) - 0.5, -0.5)
    ax.set_yticks(range(len(entries)), [wrapped(entry.name) for entry in entries])
    ax.set_xlabel(f"Energy per sample ({unit})")
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    _legend(figure, _parts(entries))
    against = f", in brackets against {entries[0].name}" if len(entries) > 1 else ""
    return _Plot(
        figure,
        "Energy per model",
        f"Energy of one inference in {unit}, accumulates (AC) and multiply-accumulates (MAC)"
        f"{_moved(entries)} stacked; at the bar its total{against}. Mean over the samples.",
        "Bar chart of the energy per sample. "
        + "; ".join(f"{e.name}: {e.priced.total_text}" for e in entries),
    )


def _energy_per_layer(entries: Sequence[Entry]) -> _Plot:
    parts = _parts(entries)
    grouped = [_folded_energy(entry, _limit(len(entries)), parts) for entry in entries]
    peaks = [float(rows["total_pj"].max()) if len(rows) else 0.0 for rows in grouped]
    # With one scale bars can be compared across models, if no panel's bars become too short.
    shared = min(peaks) * 8 >= max(peaks)
    figure, axes = panels(_lengths(grouped), extra=0.35)
    for ax, entry, rows, peak in zip(axes, entries, grouped, peaks, strict=True):
        size, unit = energy_unit(max(peaks) if shared else peak)
        ax.set_xlim(0, ((max(peaks) if shared else peak) / size or 1.0) * 1.03)
        ax.locator_params(axis="x", nbins=4)
        low, high = ax.get_xlim()
        guides = [x for x in ax.get_xticks() if low < x <= high]
        ax.vlines(guides, -0.6, len(rows) - 0.5, color=GUIDE, linewidth=0.5, zorder=0)
        ax.vlines(0, -0.6, len(rows) - 0.5, color="black", linewidth=0.6)
        _bars(ax, rows[parts] / size, height=0.68)
        _panel(ax, entry, rows, alone=len(entries) == 1)
        ax.set_xlabel(f"Energy per sample ({unit})")
    _legend(figure, parts)
    return _Plot(
        figure,
        "Energy per layer",
        "Energy of one inference in each layer, in order of execution, AC and MAC"
        f"{_moved(entries)} stacked. "
        + ("All panels have one scale. " if shared else "Each panel has its own scale and unit. ")
        + _folding(entries, grouped),
        "Bar charts of the energy per layer. " + "; ".join(_highest(entry) for entry in entries),
    )


def _firing_rate(entries: Sequence[Entry]) -> _Plot:
    grouped = [_folded_rates(entry, _limit(len(entries))) for entry in entries]
    highest = max(float(np.nanmax(rates.to_numpy())) for rates in grouped)
    ceiling = max(math.ceil(highest * 10) / 10, 0.1)
    figure, axes = panels(_lengths(grouped), extra=0.75)
    shades = sns.light_palette("#00466f", as_cmap=True)
    for ax, entry, rates in zip(axes, entries, grouped, strict=True):
        steps = len(rates.columns)
        ax.pcolormesh(
            np.arange(steps + 1) - 0.5,
            np.arange(len(rates) + 1) - 0.5,
            np.ma.masked_invalid(rates.to_numpy()),
            cmap=shades,
            vmin=0,
            vmax=ceiling,
            edgecolors="white" if steps <= 16 else "none",
            linewidth=0.6,
        )
        if steps <= 6:
            _annotate(ax, rates, ceiling, shades)
        ax.set_xlim(-0.5, steps - 0.5)
        shown = range(0, steps, max(1, -(-steps // 8)))
        ax.set_xticks(list(shown), [str(rates.columns[t]) for t in shown])
        ax.spines.top.set_visible(False)
        ax.tick_params(axis="x", length=0)
        _panel(ax, entry, rates, alone=len(entries) == 1)
        ax.set_xlabel("Timestep")
    bar = figure.colorbar(
        axes[0].collections[0], ax=axes, location="top", shrink=0.5, aspect=40, pad=0.01
    )
    bar.set_label("Firing rate (%)")
    bar.ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f}")
    bar.outline.set_visible(False)
    return _Plot(
        figure,
        "Firing rate per layer and timestep",
        "Share of non-zeros among the activations that each layer reads, in per cent, for every "
        "timestep (counted from 0); for real-valued inputs this is their density. "
        + _folding(entries, grouped),
        "Heat maps of the firing rate per layer and timestep. "
        + "; ".join(
            f"{e.name}: {len(r.columns)} timesteps" for e, r in zip(entries, grouped, strict=True)
        ),
    )


def _ac_mac(entries: Sequence[Entry]) -> _Plot:
    counts = [(float(e.layers["ac"].sum()), float(e.layers["mac"].sum())) for e in entries]
    positive = [value for pair in counts for value in pair if value > 0] or [1.0, 10.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    span = high - low
    nothing = 10 ** (low - max(0.12 * span, 0.3))
    figure = blank(0.95 + 0.52 * len(entries))
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.axvline(math.sqrt(nothing * 10**low), color=GUIDE, linewidth=0.8, linestyle=(0, (4, 3)))
    for y, pair in enumerate(counts):
        for value, shift, style in zip(pair, (-0.19, 0.19), (AC_STYLE, MAC_STYLE), strict=True):
            x = value if value > 0 else nothing
            ax.plot([nothing, x], [y + shift] * 2, color=GUIDE, linewidth=0.6, zorder=1)
            ax.plot(
                x,
                y + shift,
                marker="o" if style is AC_STYLE else "s",
                markersize=6,
                markerfacecolor=style["facecolor"] if value > 0 else "white",
                markeredgecolor=style["edgecolor"],
                markeredgewidth=0.8,
                linestyle="none",
                zorder=3,
            )
            ax.annotate(
                format_si(value),
                (x, y + shift),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    ax.set_xlim(nothing / 10 ** (0.04 * span), 10 ** (high + 0.12 * span))
    decades = range(low, high + 1, max(1, math.ceil(span / 8)))
    ax.set_xticks([nothing, *(10.0**k for k in decades)], ["0", *(_power(k) for k in decades)])
    ax.minorticks_off()
    ax.set_ylim(len(entries) - 0.5, -0.5)
    ax.set_yticks(range(len(entries)), [wrapped(entry.name) for entry in entries])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Operations per sample (logarithmic; 0 apart)")
    sns.despine(ax=ax, left=True)
    handles = [
        ax.plot(
            [],
            [],
            marker=marker,
            linestyle="none",
            markersize=6,
            label=label,
            markerfacecolor=style["facecolor"],
            markeredgecolor=style["edgecolor"],
        )[0]
        for marker, label, style in (("o", "AC", AC_STYLE), ("s", "MAC", MAC_STYLE))
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False)
    return _Plot(
        figure,
        "AC against MAC",
        "Accumulates (AC) and multiply-accumulates (MAC) of one inference on a logarithmic axis. "
        "A logarithmic axis has no zero: exact zeros stand apart at its left, as open marks. Mean "
        "over the samples.",
        "Dot plot of operations per sample. "
        + "; ".join(
            f"{e.name}: {format_si(ac)} AC, {format_si(mac)} MAC"
            for e, (ac, mac) in zip(entries, counts, strict=True)
        ),
    )


def _folded_energy(entry: Entry, limit: int, parts: Sequence[str]) -> pd.DataFrame:
    """Energies per row of the figure; rows that differ only in their input class are summed."""
    columns = [*parts, "total_pj"]
    rows = entry.layers.groupby(["module", "op"], sort=False)[columns].sum().reset_index()
    modules = rows["module"].to_list()
    groups = fold(modules, path_labels(modules, rows["op"].to_list()), limit)
    sums = [rows.iloc[members][columns].sum() for _, members in groups]
    folded = pd.DataFrame(sums, index=[label for label, _ in groups], columns=columns)
    folded.attrs["rows"] = len(rows)
    return folded


def _folded_rates(entry: Entry, limit: int) -> pd.DataFrame:
    """Rates: one row for each layer or group of layers, one column for each timestep.

    NaN where a layer read nothing.
    """
    steps = entry.steps
    assert steps is not None  # the caller leaves out entries without time
    sums = steps.groupby(["module", "timestep"])
    order = steps["module"].unique()
    elements = sums["elements"].sum().unstack("timestep").reindex(order)
    nonzeros = sums["nonzeros"].sum().unstack("timestep").reindex(order)
    modules = elements.index.to_list()
    groups = fold(modules, path_labels(modules, [""] * len(modules)), limit)
    read = np.array([elements.iloc[members].sum().to_numpy() for _, members in groups])
    fired = np.array([nonzeros.iloc[members].sum().to_numpy() for _, members in groups])
    rates = np.divide(fired, read, out=np.full(read.shape, np.nan), where=read > 0)
    folded = pd.DataFrame(rates, index=[label for label, _ in groups], columns=elements.columns)
    folded.attrs["rows"] = len(modules)
    return folded


def _parts(entries: Sequence[Entry]) -> list[str]:
    """Columns of energy to stack: arithmetic, and all memory parts that any model has."""
    moves = {part for entry in entries for part in entry.moves_pj}
    return ["ac_pj", "mac_pj", *(part for part in COMPONENTS if part in moves)]


def _moved(entries: Sequence[Entry]) -> str:
    """The parts that a memory model adds, as words for captions."""
    names = [COMPONENTS[part] for part in _parts(entries)[2:]]
    return f", and {', '.join(names)} under the memory model," if names else ""


def _bars(ax: Axes, parts: pd.DataFrame, height: float) -> None:
    """Draws stacked bars; zeros are left out, because their outline would look like a value."""
    starts = parts.cumsum(axis=1) - parts
    for part in map(str, parts):
        values, start = parts[part].to_numpy(), starts[part].to_numpy()
        at = np.flatnonzero(values > 0)
        ax.barh(at, values[at], height=height, left=start[at], **_STYLES[part])


def _panel(ax: Axes, entry: Entry, groups: pd.DataFrame, *, alone: bool) -> None:
    """Writes the title and row labels of a panel, and a remark if rows are folded into groups."""
    labels = groups.index.to_list()
    ax.set_yticks(range(len(labels)), labels)
    ax.set_title(wrapped(entry.name, 60 if alone else 26))
    if _is_folded(labels):
        ax.text(
            0,
            len(labels) - 0.25,
            f"{groups.attrs['rows']} rows in {len(labels)} groups",
            va="top",
            fontsize=8,
            color="#5c6166",
            transform=ax.get_yaxis_transform(),
        )


def _annotate(ax: Axes, rates: pd.DataFrame, ceiling: float, shades: Colormap) -> None:
    """Writes the rates into their cells, white on dark cells and black on others."""
    for (i, j), rate in np.ndenumerate(rates.to_numpy()):
        luminance = sns.utils.relative_luminance(shades(rate / ceiling))
        dark = not math.isnan(rate) and luminance < 0.18
        colour = "white" if dark else "black"
        ax.text(j, i, _percent(rate), ha="center", va="center", fontsize=8, color=colour)


def _lengths(grouped: Sequence[pd.DataFrame]) -> list[int]:
    """Lines that each panel needs: its rows, and one for the remark if rows are folded."""
    return [len(rows) + _is_folded(rows.index.to_list()) for rows in grouped]


def _is_folded(labels: Sequence[str]) -> bool:
    return any(label.endswith(" rows)") or " +" in label for label in labels)


def _limit(count: int) -> int:
    """The rows that a panel may have if a figure of `count` panels is to be one page high."""
    lines = -(-count // 2)
    return int(min(max((9.3 / lines - 0.7) / PITCH, 8), 42))


def _folding(entries: Sequence[Entry], grouped: Sequence[pd.DataFrame]) -> str:
    text = "Long module paths are abbreviated. "
    if any(" rows)" in str(label) for rows in grouped for label in rows.index):
        text += "Rows are summed per parent module where there are too many to show. "
    if any(" +" in str(label) for rows in grouped for label in rows.index):
        text += "“+n” stands for a row summed with the n that follow it. "
    return text.strip()


def _highest(entry: Entry) -> str:
    if not entry.priced.total_pj:
        return f"{entry.name}: no energy"
    row = entry.layers.iloc[int(entry.layers["total_pj"].to_numpy().argmax())]
    return f"{entry.name}: most in {row['module']}, {format_energy_pj(row['total_pj'])}"


def _percent(rate: float) -> str:
    if math.isnan(rate):
        return "–"
    if rate == 0:
        return "0"
    return "<1" if rate < 0.005 else f"{100 * rate:.0f}"


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}" if exponent < 0 else format_si(10.0**exponent, 1)


def _legend(figure: Figure, parts: Sequence[str]) -> None:
    labels = {"ac_pj": "AC", "mac_pj": "MAC"} | {k: v.capitalize() for k, v in COMPONENTS.items()}
    handles = [Patch(**_STYLES[part], label=labels[part]) for part in parts]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False)
