"""Energy of models and of their layers, as stacked bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.entries import Entry, collect
from analyzer.errors import AnalyzerError
from analyzer.plot.canvas import (
    as_list,
    columns_of,
    figure_of,
    fit_texts,
    grid,
    legend,
    note,
    one,
    pitch,
    rows_on_top,
    several,
)
from analyzer.plot.given import profiles_of
from analyzer.plot.labels import is_folded, largest, path_labels, wrapped
from analyzer.plot.style import AC_STYLE, GUIDE, MAC_STYLE, PART_STYLES, points
from analyzer.profiles import Profile
from analyzer.units import energy_unit, format_ratio

__all__ = [
    "LABELS",
    "STYLES",
    "draw_energy",
    "draw_layers",
    "energy",
    "energy_by_layer",
    "has_one_scale",
    "layers",
    "layers_of",
    "limit_of",
    "name_rows",
    "parts_of",
    "rows_in",
]

STYLES = MappingProxyType(
    {"ac_pj": AC_STYLE, "mac_pj": MAC_STYLE} | dict(zip(COMPONENTS, PART_STYLES, strict=True))
)
LABELS = MappingProxyType(
    {"ac_pj": "AC", "mac_pj": "MAC"} | {k: v.capitalize() for k, v in COMPONENTS.items()}
)


def energy(
    profiles: Profile | Iterable[Profile],
    *,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the energy of an inference of each model: a bar, accumulates and MACs stacked.

    At each bar stands its total and, in brackets, its ratio to the first.

    Args:
        profiles: One or more.
        technology: Constants to price with; see :func:`analyzer.technologies`.
        convention: Reading of the facts; see :func:`analyzer.conventions`.
        precision: Number format that is priced.
        memory: Memory model, whose parts are stacked too; None for arithmetic alone.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        AnalyzerError: If there is no profile, or one can not be priced so.

    Example:
        >>> import analyzer
        >>> snn = analyzer.from_rates(
        ...     {"module": ["fc"], "op": ["linear"], "dense_macs": [1000], "firing_rate": [0.2]},
        ...     name="snn",
        ... )
        >>> ax = analyzer.plot.energy(snn, convention="rate")
        >>> ax.get_xlabel()
        'Energy per sample (pJ)'
    """
    entries = collect(profiles_of(profiles), technology, convention, precision, memory)
    return draw_energy(entries, ax)


def layers(
    profiles: Profile | Iterable[Profile],
    *,
    top: int | None = None,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Axes | list[Axes]:
    """Draws the energy of each layer, in order of execution: a panel a model, a bar a layer.

    Where a model has more layers than bars, they are summed by their parent module or, where that
    leaves too few, the largest stand alone and the last bar holds all others.

    Args:
        profiles: One or more.
        top: Most bars of a panel; by default what lets a figure of a few panels fit a page, or
            what axes that were given have room for.
        technology: Constants to price with.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, whose parts are stacked too; None for arithmetic alone.
        ax: Axes to draw on, for several profiles a list of as many; a new figure by default.

    Returns:
        The axes, a list of them for several profiles.

    Raises:
        AnalyzerError: If there is no profile, one can not be priced so, or `ax` has another number
            of axes or shares its vertical axis.

    Example:
        >>> import analyzer
        >>> snn = analyzer.from_rates(
        ...     {"module": ["a", "b"], "op": ["linear"] * 2, "dense_macs": [1000, 500],
        ...      "firing_rate": [0.2, 0.4]},
        ...     name="snn",
        ... )
        >>> ax = analyzer.plot.layers(snn, convention="rate")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['a', 'b']
    """
    entries = collect(profiles_of(profiles), technology, convention, precision, memory)
    tables = layers_of(entries, rows_in(top, len(entries), ax))
    axes = draw_layers(entries, tables, ax)
    return axes[0] if len(axes) == 1 else axes


def draw_energy(entries: Sequence[Entry], ax: Axes | None = None) -> Axes:
    """As :func:`energy`, of what is priced already."""
    totals = [entry.priced.total_pj for entry in entries]
    size, unit = energy_unit(max(totals))
    drawn = one(ax, 0.95 + 2.6 * pitch() * len(entries))
    parts = parts_of(entries)
    sums = pd.DataFrame([entry.layers[parts].sum() for entry in entries])
    _bars(drawn, sums / size, height=0.55)
    texts = []
    for y, (entry, total) in enumerate(zip(entries, totals, strict=True)):
        text = entry.priced.total_text
        if totals[0] and len(entries) > 1:
            text += f" ({format_ratio(total / totals[0])})"
        texts.append(note(drawn, text, (total / size, y)))
    drawn.set_xlim(0, max(totals) / size or 1.0)
    drawn.set_ylim(len(entries) - 0.5, -0.5)
    names = [wrapped(entry.name) for entry in entries]
    drawn.set_yticks(range(len(entries)), names, parse_math=False)
    drawn.set_xlabel(f"Energy per sample ({unit})", loc="right")
    drawn.tick_params(axis="y", length=0)
    sns.despine(ax=drawn, left=True)
    legend(drawn, _handles(parts), own=ax is None)
    fit_texts(drawn, texts)
    return drawn


def draw_layers(
    entries: Sequence[Entry],
    tables: Sequence[pd.DataFrame],
    ax: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """As :func:`layers`, of what is priced already; always a list."""
    parts = parts_of(entries)
    rows = [len(t) + is_folded(t.index.to_list()) for t in tables]
    axes = several(ax, len(entries), "profiles", lambda: grid(rows, extra=0.35))
    peaks = [_peak(table) for table in tables]
    joined = any(len(each.get_shared_x_axes().get_siblings(each)) > 1 for each in axes)
    shared = joined or has_one_scale(tables)
    for each, entry, table, peak in zip(axes, entries, tables, peaks, strict=True):
        rows_on_top(each)
        size, unit = energy_unit(max(peaks) if shared else peak)
        each.set_xlim(0, ((max(peaks) if shared else peak) / size or 1.0) * 1.03)
        each.locator_params(axis="x", nbins=4)
        low, high = each.get_xlim()
        guides = [x for x in each.get_xticks() if low < x <= high]
        each.vlines(guides, -0.6, len(table) - 0.5, color=GUIDE, linewidth=0.5, zorder=0)
        each.vlines(0, -0.6, len(table) - 0.5, color="black", linewidth=0.6)
        _bars(each, table[parts] / size, height=0.68)
        name_rows(each, entry.name, table, alone=len(entries) == 1)
        each.set_xlabel(f"Energy per sample ({unit})", loc="right")
    legend(axes[0], _handles(parts), own=ax is None)
    return axes


def layers_of(entries: Sequence[Entry], limit: int) -> list[pd.DataFrame]:
    """The rows of the panels of some models, with the same parts in all of them."""
    parts = parts_of(entries)
    return [energy_by_layer(entry, limit, parts) for entry in entries]


def energy_by_layer(entry: Entry, limit: int, parts: Sequence[str]) -> pd.DataFrame:
    """Energies per row of the figure, in pJ; rows of one operation and input class are summed."""
    columns = [*parts, "total_pj"]
    keys = ["module", "op", "input_class"]
    rows = entry.layers.groupby(keys, sort=False, dropna=False)[columns].sum().reset_index()
    # Of one module: such as the products of attention, which read other classes of values.
    same = rows.groupby(["module", "op"], sort=False)
    number = (same.cumcount() + 1).astype(str)
    ops = rows["op"].where(same["op"].transform("size") == 1, rows["op"] + " " + number)
    modules = rows["module"].to_list()
    labels = path_labels(modules, ops.to_list())
    groups = largest(modules, labels, limit, rows["total_pj"])
    energies = np.ascontiguousarray(rows[columns].to_numpy().T)
    sums = [energies[:, members].sum(axis=1) for _, members in groups]
    folded = pd.DataFrame(sums, index=[label for label, _ in groups], columns=columns)
    folded.attrs["rows"] = len(rows)
    return folded


def has_one_scale(tables: Sequence[pd.DataFrame]) -> bool:
    """Whether all panels have one scale, so that bars compare; not if some would get too short."""
    peaks = [_peak(table) for table in tables]
    return min(peaks) * 8 >= max(peaks)


def _peak(table: pd.DataFrame) -> float:
    return float(table["total_pj"].max()) if len(table) else 0.0


def parts_of(entries: Sequence[Entry]) -> list[str]:
    """Columns of energy to stack: arithmetic, and all memory parts that any model has."""
    moves = {part for entry in entries for part in entry.moves_pj}
    return ["ac_pj", "mac_pj", *(part for part in COMPONENTS if part in moves)]


def limit_of(count: int) -> int:
    """The rows that a panel may have if a figure of a few panels is to be one page high."""
    lines = -(-count // columns_of(count))
    return int(min(max((9.3 / lines - 0.7) / pitch(), 8), 42))


def rows_in(top: int | None, count: int, ax: Axes | Sequence[Axes] | None) -> int:
    """The rows that each panel may have.

    Args:
        top: What the user asked for.
        count: Number of panels.
        ax: Axes that were given; their height decides where nothing was asked for.

    Raises:
        AnalyzerError: If fewer than two rows were asked for.
    """
    if top is not None:
        if top < 2:
            raise AnalyzerError(f"a panel has at least two rows, so top is not {top}.")
        return top
    if ax is None:
        return limit_of(count)
    heights = [each.get_window_extent().height / figure_of(each).dpi for each in as_list(ax)]
    return int(max(min(heights, default=0) / pitch(), 4))


def name_rows(ax: Axes, title: str, rows: pd.DataFrame, *, alone: bool) -> None:
    """Writes the title and row labels of a panel, and a remark if rows are folded into groups.

    Raises:
        AnalyzerError: If the axes share their rows with others, which would get these labels too.
    """
    if len(ax.get_shared_y_axes().get_siblings(ax)) > 1:
        raise AnalyzerError(
            "these axes share their vertical axis with others, and so would the names of layers: "
            "make them without sharey."
        )
    labels = rows.index.to_list()
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(max(ax.get_ylim()[0], len(labels) - 0.4), -0.6)
    # A title may go on to the end of the figure, beside the names of rows.
    letters = figure_of(ax).get_figwidth() / (1 if alone else columns_of(2)) * 118
    width = int(min(max(letters / points("axes.titlesize") - 22, 16), 60))
    ax.set_title(wrapped(title, width), parse_math=False)
    if is_folded(labels):
        ax.text(
            0,
            len(labels) - 0.25,
            f"{rows.attrs['rows']} rows in {len(labels)} groups",
            va="top",
            fontsize=points(),
            color="#5c6166",
            transform=ax.get_yaxis_transform(),
        )


def _bars(ax: Axes, parts: pd.DataFrame, height: float) -> None:
    """Draws stacked bars; zeros are left out, because their outline would look like a value."""
    starts = parts.cumsum(axis=1) - parts
    for part in map(str, parts):
        values, start = parts[part].to_numpy(), starts[part].to_numpy()
        at = np.flatnonzero(values > 0)
        ax.barh(at, values[at], height=height, left=start[at], **STYLES[part])


def _handles(parts: Sequence[str]) -> list[Patch]:
    return [Patch(**STYLES[part], label=LABELS[part]) for part in parts]
