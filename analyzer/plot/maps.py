"""How much fires where: firing rates by layer and timestep, zeros by group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analyzer.entries import spiking_steps
from analyzer.errors import AnalyzerError
from analyzer.plot.bars import name_rows, rows_in
from analyzer.plot.canvas import blank, figure_of, grid, legend, rows_on_top, several
from analyzer.plot.given import profiles_of
from analyzer.plot.labels import fold, is_folded, path_labels, wrapped
from analyzer.plot.style import markers_of, points
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
    top: int | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Axes | list[Axes]:
    """Draws a heat map of firing rates: a row a layer that reads spikes, a column a timestep.

    The rate is the share of what the layer reads that is not zero. Layers that read real values are
    left out: their density is no firing rate, and would hide the differences between those that do.

    Args:
        profiles: One or more whose timesteps are known.
        top: Most rows of a panel; more layers are put together, by parent module or with their
            neighbours, and their spikes are pooled. By default what lets a figure of a few panels
            fit a page, or what axes that were given have room for.
        ax: Axes to draw on, for several profiles a list of as many; a new figure by default.

    Returns:
        The axes, a list of them for several profiles.

    Raises:
        AnalyzerError: If no timesteps are known of a profile, or none of its layers reads spikes;
            or `ax` has another number of axes or shares its vertical axis.

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
    given = profiles_of(profiles)
    names = distinct([profile.name for profile in given])
    tables = []
    for profile in given:
        steps = spiking_steps(profile)
        if steps is None:
            profile.sparsity("timestep")  # says how to measure it, where there is no time
            raise AnalyzerError(f"no layer of profile {profile.name!r} reads spikes.")
        tables.append(steps)
    limit = rows_in(top, len(tables), ax)
    axes = draw_rates(names, [rates_by_layer(each, limit) for each in tables], ax)
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
        by: Which of ``temporal``, ``spatial`` and ``structural`` to draw, a panel each; those that
            no profile knows are left out.
        skip: Modules that do not count, such as the first layer, which reads the image.
        ax: Axes to draw on, a list of as many as there are panels; a new figure by default.

    Returns:
        The axes, one a panel.

    Raises:
        AnalyzerError: If no profile knows any of these groups or a module to skip, or `ax` has
            another number of axes.

    Example:
        >>> import analyzer, torch
        >>> model = analyzer.models.build("ge2mst-tiny").eval()
        >>> p = analyzer.profile(model, torch.rand(2, 1, 32, 32))
        >>> [ax.get_title() for ax in analyzer.plot.groups(p, skip=["stem.conv"])]
        ['temporal', 'spatial', 'structural']
    """
    given = profiles_of(profiles)
    by, skip = _checked(given, by, skip)
    tables = [sparsity_by_group(profile, by, skip) for profile in given]
    known = [axis for axis in by if any(axis in set(table["axis"]) for table in tables)]
    if not known:
        for profile in given:
            profile.sparsity(by[0])  # says how to measure it
        raise AnalyzerError("no module is left whose groups could be drawn: skip fewer.")
    names = distinct([profile.name for profile in given])
    styles = markers_of(names)

    def make() -> list[Axes]:
        figure = blank(2.3 + 0.06 * len(given))
        return list(figure.subplots(1, len(known), sharey=True, squeeze=False).flat)

    axes = several(ax, len(known), "axes of groups", make)
    for each, axis in zip(axes, known, strict=True):
        for name, table in zip(names, tables, strict=True):
            some = table[table["axis"] == axis]
            each.plot(some["group"] + 1, some["sparsity"], label=wrapped(name), **styles[name])
        ends = [t[t["axis"] == axis]["group"].max() for t in tables if axis in set(t["axis"])]
        each.set(title=axis, xlabel="group", xticks=range(1, int(max(ends)) + 2))
        each.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
        sns.despine(ax=each)
    axes[0].set_ylabel("zeros (%)")
    if len(given) > 1:
        lines = [*axes[0].get_lines()]
        legend(axes[0], lines, own=ax is None, ncols=3)
    return axes


def _checked(
    given: Sequence[Profile], by: Sequence[str] | str, skip: Sequence[str] | str
) -> tuple[list[str], list[str]]:
    """The axes of groups and the modules to skip as lists."""
    axes = [by] if isinstance(by, str) else list(by)
    modules = [skip] if isinstance(skip, str) else list(skip)
    unknown = next((axis for axis in axes if axis not in GROUPS), None)
    if unknown is not None or not axes:
        raise AnalyzerError(f"no groups are {unknown or 'none'}: choose of {', '.join(GROUPS)}.")
    known = {site.module for profile in given for site in profile.contractions}
    missing = [module for module in modules if module not in known]
    if missing:
        raise AnalyzerError(f"no module is called {missing[0]!r}, so it can not be skipped.")
    return axes, modules


def sparsity_by_group(
    profile: Profile, by: Sequence[str] = GROUPS, skip: Sequence[str] = ()
) -> pd.DataFrame:
    """Sparsity of each group over all modules but some.

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
    tables: Sequence[pd.DataFrame],
    ax: Axes | Sequence[Axes] | None = None,
) -> list[Axes]:
    """As :func:`rates`, of rows that :func:`rates_by_layer` returned; always a list."""
    highest = max(float(np.nanmax(table.to_numpy(), initial=0)) for table in tables)
    ceiling = max(math.ceil(highest * 10) / 10, 0.1)
    rows = [len(t) + is_folded(t.index.to_list()) for t in tables]
    axes = several(ax, len(tables), "profiles", lambda: grid(rows, extra=0.75))
    shades = sns.light_palette(_SHADE, as_cmap=True)
    mesh: ScalarMappable | None = None
    for each, name, table in zip(axes, names, tables, strict=True):
        rows_on_top(each)
        count = len(table.columns)
        mesh = each.pcolormesh(
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
    assert mesh is not None
    # Above a figure of our own; beside axes that were given, whatever else lies above them.
    own: dict[str, Any] = {"location": "top", "shrink": 0.5, "aspect": 40, "pad": 0.01}
    beside: dict[str, Any] = {"location": "right", "aspect": 30, "pad": 0.03}
    home = axes if len({figure_of(each) for each in axes}) == 1 else axes[-1]
    bar = figure_of(axes[-1]).colorbar(mesh, ax=home, **(own if ax is None else beside))
    bar.set_label("Firing rate (%)")
    bar.formatter = PercentFormatter(1, symbol="")
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
    read, fired = (
        np.array([np.nansum(counts.to_numpy()[members], axis=0) for _, members in rows])
        for counts in (elements, nonzeros)
    )
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
