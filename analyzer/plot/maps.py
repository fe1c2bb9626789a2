"""How much fires where: firing rates by layer and timestep, zeros by group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analyzer.entries import spiking_steps
from analyzer.errors import AnalyzerError
from analyzer.plot.bars import limit_of, name_rows
from analyzer.plot.canvas import blank, figure_of, grid, legend, rows_on_top, several
from analyzer.plot.labels import fold, is_folded, path_labels
from analyzer.plot.style import MARKERS, colors_of, points
from analyzer.profiles import Profile
from analyzer.tabular import distinct

__all__ = ["GROUPS", "draw_rates", "groups", "rates", "rates_by_layer", "sparsity_by_group"]

GROUPS = ("temporal", "spatial", "structural")
"""The axes that sparsity is reported for."""

_SHADE = "#00466f"
_FEW_STEPS = 6
"""Up to so many timesteps the rates are written into their cells, where there is room."""


def rates(
    profiles: Profile | Iterable[Profile],
    *,
    ax: Axes | Sequence[Axes] | None = None,
) -> Axes | list[Axes]:
    """Draws a heat map of firing rates: a row a layer that reads spikes, a column a timestep.

    The rate is the share of what the layer reads that is not zero. Layers that read real values are
    left out: their density is no firing rate, and would hide the differences between those that do.

    Args:
        profiles: One or more whose timesteps are known.
        ax: Axes to draw on, for several profiles a list of as many; a new figure by default.

    Returns:
        The axes, a list of them for several profiles.

    Raises:
        AnalyzerError: If no timesteps are known of a profile, or none of its layers reads spikes;
            or `ax` has another number of axes.

    Example:
        >>> import analyzer, torch
        >>> from analyzer.models.neurons import IF
        >>> model = torch.nn.Sequential(IF(), torch.nn.Linear(4, 2)).eval()
        >>> x = 2 * torch.rand(3, 5, 4)  # [T, B, 4]
        >>> p = analyzer.profile(model, x, timesteps=3, layouts={"": "T B D", "1": "T B D"})
        >>> ax = analyzer.plot.rates(p)
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['0', '1', '2']
    """
    several_given = [profiles] if isinstance(profiles, Profile) else list(profiles)
    names = distinct([profile.name for profile in several_given])
    tables = []
    for profile in several_given:
        steps = spiking_steps(profile)
        if steps is None or steps.empty:
            profile.sparsity("timestep")  # says how to measure it, where there is no time
            raise AnalyzerError(f"no layer of profile {profile.name!r} reads spikes.")
        tables.append(steps)
    axes = draw_rates(names, tables, ax)
    return axes[0] if len(axes) == 1 else axes


def groups(
    profiles: Profile | Iterable[Profile],
    *,
    by: Sequence[str] = GROUPS,
    skip: Sequence[str] = (),
    ax: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draws the share of zeros in each temporal, spatial and structural group: a line a model.

    Args:
        profiles: One or more that were measured with groups.
        by: Which axes to draw, a panel each; those that no profile knows are left out.
        skip: Modules that do not count, such as the first layer, which reads the image.
        ax: Axes to draw on, a list of as many as there are panels; a new figure by default.

    Returns:
        The axes, one a panel.

    Raises:
        AnalyzerError: If no profile knows any of these groups, or `ax` has another number of axes.

    Example:
        >>> import analyzer, torch
        >>> model = analyzer.models.build("ge2mst-tiny").eval()
        >>> p = analyzer.profile(model, torch.rand(2, 1, 32, 32))
        >>> [ax.get_title() for ax in analyzer.plot.groups(p, skip=["stem.conv"])]
        ['temporal', 'spatial', 'structural']
    """
    given = [profiles] if isinstance(profiles, Profile) else list(profiles)
    tables = [sparsity_by_group(profile, by, skip) for profile in given]
    known = [axis for axis in by if any(axis in set(table["axis"]) for table in tables)]
    if not known:
        for profile in given:
            profile.sparsity(by[0])  # says how to measure it
        raise AnalyzerError("give at least one profile that was measured with groups.")
    names = distinct([profile.name for profile in given])
    colors = colors_of(names)

    def make() -> list[Axes]:
        figure = blank(2.3 + 0.06 * len(given))
        return list(figure.subplots(1, len(known), sharey=True, squeeze=False).flat)

    axes = several(ax, len(known), "axes of groups", make)
    for each, axis in zip(axes, known, strict=True):
        for name, table, marker in zip(names, tables, cycle(MARKERS), strict=False):
            some = table[table["axis"] == axis]
            each.plot(
                some["group"] + 1, some["sparsity"], marker=marker, color=colors[name], label=name
            )
        ends = [t[t["axis"] == axis]["group"].max() for t in tables if axis in set(t["axis"])]
        each.set(title=axis, xlabel="group", xticks=range(1, int(max(ends)) + 2))
        each.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
        sns.despine(ax=each)
    axes[0].set_ylabel("zeros (%)")
    if len(given) > 1:
        lines = [*axes[0].get_lines()]
        legend(axes[0], lines, own=ax is None, ncols=3)
    return axes


def sparsity_by_group(
    profile: Profile, by: Sequence[str] = GROUPS, skip: Sequence[str] = ()
) -> pd.DataFrame:
    """Sparsity of each group over all modules but some.

    Args:
        profile: Measured with groups; what it does not know is left out.
        by: Axes of groups.
        skip: Modules that do not count.

    Returns:
        Columns ``axis, group, sparsity``, groups counted from 0.
    """
    rows = []
    for axis in by:
        try:
            table = profile.sparsity(axis)
        except AnalyzerError:  # an ANN has no time axis
            continue
        sums = table[~table["module"].isin(skip)].groupby("group")[["elements", "nonzeros"]].sum()
        for group, (elements, nonzeros) in sums.iterrows():
            rows.append({"axis": axis, "group": group, "sparsity": 1 - nonzeros / elements})
    return pd.DataFrame(rows, columns=["axis", "group", "sparsity"])


def draw_rates(
    names: Sequence[str],
    steps: Sequence[pd.DataFrame],
    ax: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """As :func:`rates`, of tables of activity by module and timestep; always a list."""
    tables = [rates_by_layer(each, limit_of(len(steps))) for each in steps]
    highest = max(float(np.nanmax(table.to_numpy(), initial=0)) for table in tables)
    ceiling = max(math.ceil(highest * 10) / 10, 0.1)
    rows = [len(t) + is_folded(t.index.to_list()) for t in tables]
    axes = several(ax, len(tables), "profiles", lambda: grid(rows, extra=0.75))
    shades = sns.light_palette(_SHADE, as_cmap=True)
    for each, name, table in zip(axes, names, tables, strict=True):
        rows_on_top(each)
        count = len(table.columns)
        each.pcolormesh(
            np.arange(count + 1) - 0.5,
            np.arange(len(table) + 1) - 0.5,
            np.ma.masked_invalid(table.to_numpy()),
            cmap=shades,
            vmin=0,
            vmax=ceiling,
            edgecolors="white" if count <= 16 else "none",
            linewidth=0.6,
        )
        if count <= _FEW_STEPS:
            _annotate(each, table, ceiling, shades)
        each.set_xlim(-0.5, count - 0.5)
        shown = range(0, count, max(1, -(-count // 8)))
        each.set_xticks(list(shown), [str(table.columns[t]) for t in shown])
        each.spines.top.set_visible(False)
        each.tick_params(axis="x", length=0)
        name_rows(each, name, table, alone=len(tables) == 1)
        each.set_xlabel("Timestep")
    bar = figure_of(axes[0]).colorbar(
        axes[0].collections[0], ax=axes, location="top", shrink=0.5, aspect=40, pad=0.01
    )
    bar.set_label("Firing rate (%)")
    bar.ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    bar.outline.set_visible(False)
    return axes


def rates_by_layer(steps: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Rates: one row for each layer or group of layers, one column for each timestep.

    NaN where a layer read nothing.
    """
    sums = steps.groupby(["module", "timestep"])
    order = steps["module"].unique()
    elements = sums["elements"].sum().unstack("timestep").reindex(order)
    nonzeros = sums["nonzeros"].sum().unstack("timestep").reindex(order)
    modules = elements.index.to_list()
    rows = fold(modules, path_labels(modules, [""] * len(modules)), limit)
    read = np.array([elements.iloc[members].sum().to_numpy() for _, members in rows])
    fired = np.array([nonzeros.iloc[members].sum().to_numpy() for _, members in rows])
    found = np.divide(fired, read, out=np.full(read.shape, np.nan), where=read > 0)
    folded = pd.DataFrame(found, index=[label for label, _ in rows], columns=elements.columns)
    folded.attrs["rows"] = len(modules)
    return folded


def _annotate(ax: Axes, table: pd.DataFrame, ceiling: float, shades: Colormap) -> None:
    """Writes the rates into their cells, white on dark cells and black on others."""
    for (i, j), rate in np.ndenumerate(table.to_numpy()):
        luminance = sns.utils.relative_luminance(shades(rate / ceiling))
        dark = not math.isnan(rate) and luminance < 0.18
        colour = "white" if dark else "black"
        ax.text(j, i, _percent(rate), ha="center", va="center", fontsize=points(), color=colour)


def _percent(rate: float) -> str:
    if math.isnan(rate):
        return "–"
    if rate == 0:
        return "0"
    return "<1" if rate < 0.005 else f"{100 * rate:.0f}"
