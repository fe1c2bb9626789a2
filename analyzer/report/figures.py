"""The figures of a report with their captions: energy, layers, firing rates, AC against MAC.

:mod:`analyzer.plot` draws them; :func:`draw` saves all of them in every format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.entries import Entry, data_of
from analyzer.errors import AnalyzerError
from analyzer.plot.bars import (
    draw_energy,
    draw_layers,
    has_one_scale,
    layers_of,
    limit_of,
    parts_of,
)
from analyzer.plot.canvas import (
    FORMATS,
    figure_of,
    fit_texts,
    legend,
    note,
    one,
    paper,
    pitch,
    saved,
)
from analyzer.plot.labels import wrapped
from analyzer.plot.maps import draw_rates, rates_by_layer
from analyzer.plot.style import AC_STYLE, GUIDE, MAC_STYLE
from analyzer.units import energy_unit, format_si

__all__ = ["CAPTIONS", "EARLIER", "FILES", "NAMES", "Drawing", "draw"]

NAMES = ("energy", "layers", "rates", "ac_mac")

FILES = tuple(f"{name}.{kind}" for name in NAMES for kind in FORMATS)
"""Every file that a report may write into its folder ``figures``."""

CAPTIONS = "captions.md"
"""The file beside them that has a caption for each."""

MOST_PANELS = 12
"""Figures with a panel a model show the first so many; the page has all."""

EARLIER = tuple(f"{old}.{kind}" for old in ("energy_per_layer", "firing_rate") for kind in FORMATS)
"""Files of versions that called two of them by other names."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure."""

    name: str
    title: str
    caption: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class _Plot:
    ax: Axes
    title: str
    caption: str


def draw(
    entries: Sequence[Entry],
    *,
    width: float | str = "page",
    font: str | None = None,
    only: Sequence[str] | None = None,
    noted: Callable[[str], object] = lambda doing: None,
) -> tuple[Drawing, ...]:
    """Draws the figures for which there is data, in the order of the page.

    Raises:
        AnalyzerError: If a figure has another name.
    """
    plots: dict[str, tuple[Callable[[Sequence[Entry]], _Plot], Sequence[Entry]]] = {
        "energy": (_energy, entries),
        "layers": (_layers, entries),
        "rates": (_rates, [entry for entry in entries if entry.steps is not None]),
        "ac_mac": (_ac_mac, entries),
    }
    asked, only = only, NAMES if only is None else only
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise AnalyzerError(f"no figure is called {unknown[0]!r}: choose of {', '.join(NAMES)}.")
    drawings = []
    for name, (plot, subjects) in plots.items():
        if asked and name in asked and not subjects:
            raise AnalyzerError(
                f"the figure {name} needs timesteps, and no profile tells what its layers read in "
                "each: profile with timesteps=T, or ask for other figures."
            )
        if name not in only or not subjects:
            continue
        noted(f"drawing {name}")
        shown = subjects[:MOST_PANELS] if name in ("layers", "rates") else subjects
        with paper(name, width, font=font):
            made = plot(shown)
            files = saved(figure_of(made.ax), name)
        caption = f"{made.caption} Data: {data_of(shown)}."
        if len(shown) < len(subjects):
            caption += f" The first {len(shown)} of {len(subjects)} models."
        drawings.append(Drawing(name, made.title, caption, files))
    return tuple(drawings)


def _energy(entries: Sequence[Entry]) -> _Plot:
    _, unit = energy_unit(max(entry.priced.total_pj for entry in entries))
    against = f", in brackets against {entries[0].name}" if len(entries) > 1 else ""
    return _Plot(
        draw_energy(entries),
        "Energy per model",
        f"Energy of one inference in {unit}, accumulates (AC) and multiply-accumulates (MAC)"
        f"{_moved(entries)} stacked; at the bar its total{against}. Mean over the samples.",
    )


def _layers(entries: Sequence[Entry]) -> _Plot:
    tables = layers_of(entries, limit_of(len(entries)))
    return _Plot(
        draw_layers(entries, tables)[0],
        "Energy per layer",
        "Energy of one inference in each layer, in order of execution, AC and MAC"
        f"{_moved(entries)} stacked. "
        + (
            "All panels have one scale. "
            if has_one_scale(tables)
            else "Each panel has its own scale and unit. "
        )
        + _folding(tables),
    )


def _rates(entries: Sequence[Entry]) -> _Plot:
    steps = [entry.steps for entry in entries if entry.steps is not None]
    tables = [rates_by_layer(each, limit_of(len(steps))) for each in steps]
    return _Plot(
        draw_rates([entry.name for entry in entries], tables)[0],
        "Firing rate per layer and timestep",
        "Share of non-zeros among the spikes that each layer reads, in per cent, for every "
        "timestep (counted from 0). Layers that read real values are left out. " + _folding(tables),
    )


def _ac_mac(entries: Sequence[Entry]) -> _Plot:
    counts = [(float(e.layers["ac"].sum()), float(e.layers["mac"].sum())) for e in entries]
    positive = [value for pair in counts for value in pair if value > 0] or [1.0, 10.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    span = high - low
    nothing = 10 ** (low - max(0.12 * span, 0.3))
    ax = one(None, 0.95 + 3.4 * pitch() * len(entries))
    texts = []
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
            texts.append(note(ax, format_si(value), (x, y + shift), (6, 0)))
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
    legend(ax, handles, own=True)
    fit_texts(ax, texts)
    return _Plot(
        ax,
        "AC against MAC",
        "Accumulates (AC) and multiply-accumulates (MAC) of one inference on a logarithmic axis. "
        "A logarithmic axis has no zero: exact zeros stand apart at its left, as open marks. Mean "
        "over the samples.",
    )


def _moved(entries: Sequence[Entry]) -> str:
    """The parts that a memory model adds, as words for captions."""
    names = [COMPONENTS[part] for part in parts_of(entries)[2:]]
    return f", and {', '.join(names)} under the memory model," if names else ""


def _folding(tables: Sequence[pd.DataFrame]) -> str:
    text = "Long module paths are abbreviated. "
    if any(" rows)" in str(label) for rows in tables for label in rows.index):
        text += "Rows are summed per parent module where there are too many to show. "
    if any(" +" in str(label) for rows in tables for label in rows.index):
        text += "“+n” stands for a row summed with the n that follow it. "
    if any(str(label).startswith("all others") for rows in tables for label in rows.index):
        text += "The largest rows stand alone where there are too many to show. "
    return text.strip()


def _power(exponent: int) -> str:
    return f"{10.0**exponent:g}" if exponent < 0 else format_si(10.0**exponent, 1)
