"""Figures of questions about prices: why conventions differ, which constant decides, and memory."""

from __future__ import annotations

import math
from textwrap import wrap

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analyzer.energy.explaining.explain import Explanation
from analyzer.energy.explaining.sensitivity import Sensitivity
from analyzer.energy.fitting.fit import Fit
from analyzer.energy.paradigms.beyond import Beyond
from analyzer.energy.paradigms.chips import Chips
from analyzer.plot.canvas import fit_texts, legend, note, one, pitch, width_of
from analyzer.plot.given import answer_of
from analyzer.plot.labels import path_labels, wrapped
from analyzer.plot.style import GUIDE, LESS, MORE, NEUTRAL, markers_of, points
from analyzer.units import energy_unit, format_energy_pj, signed

__all__ = ["chips", "fit", "memory", "tornado", "waterfall"]

_NARROW = 3.0
"""Below this width in inches a logarithmic axis has ticks at powers of ten alone."""


def waterfall(found: Explanation, *, ax: Axes | None = None) -> Axes:
    """Draws why two conventions differ: a bar a reason, from the one energy to the other.

    Args:
        found: What :func:`analyzer.explain` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> ax = analyzer.plot.waterfall(analyzer.explain(snn, "rate", "dense"))
        >>> [label.get_text() for label in ax.get_yticklabels()][::2]
        ['rate', 'dense']
    """
    answer_of(found, Explanation, "explain")
    letters = _letters(ax)
    steps = found.steps.itertuples(index=False)
    bars = [
        (found.first.convention.name, found.first.total_pj),
        *((_step(reason, other, letters), difference) for reason, other, _, difference in steps),
        (found.second.convention.name, found.second.total_pj),
    ]
    last = len(bars) - 1
    size, unit = energy_unit(max(found.first.total_pj, found.second.total_pj))
    drawn = one(ax, 0.9 + pitch() * sum(1.2 + max(label.count("\n"), 1) for label, _ in bars))
    level, texts = 0.0, []
    for row, (_, value) in enumerate(bars):
        total = row in (0, last)
        start = 0.0 if total else level
        color = NEUTRAL if total else MORE if value > 0 else LESS
        drawn.barh(row, value / size, left=start / size, color=color, height=0.6)
        level = start + value
        text = format_energy_pj(value) if total else signed(value)
        texts.append(note(drawn, text, (max(start, level) / size, row)))
        if row < last:
            drawn.vlines(level / size, row, row + 1, color=GUIDE, linewidth=0.8, zorder=0)
    drawn.set_yticks(range(len(bars)), [label for label, _ in bars], parse_math=False)
    drawn.set_ylim(last + 0.5, -0.5)
    drawn.set_xlim(left=0)
    drawn.set_xlabel(f"Energy per sample ({unit})", loc="right")
    sns.despine(ax=drawn)
    fit_texts(drawn, texts)
    return drawn


def _letters(ax: Axes | None) -> int:
    """Letters in a line of a label that leaves half of a figure to the bars.

    Labels of axes that were given lie outside of these, and may be as wide.
    """
    width = matplotlib.rcParams["figure.figsize"][0] if ax is None else 1.2 * width_of(ax)
    return max(int(width * 66 / points()), 12)


def _step(reason: str, other: str, width: int) -> str:
    return "\n".join([*wrap(f"{reason} →", width), *wrap(other, width)])


def tornado(found: Sensitivity, *, ax: Axes | None = None) -> Axes:
    """Draws which constant decides: a bar a constant, from its least to its greatest energy.

    At the ends stand the values of the constant there; the line is the energy as it is priced now.

    Args:
        found: What :func:`analyzer.sensitivity` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Example:
        >>> import analyzer
        >>> table = {"module": ["fc"], "op": ["linear"], "dense_macs": [1000], "firing_rate": [0.2]}
        >>> snn = analyzer.from_rates(table, name="snn")
        >>> found = analyzer.sensitivity(snn, convention="rate", vary={"activity": (0.5, 2)})
        >>> ax = analyzer.plot.tornado(found)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['activity']
    """
    answer_of(found, Sensitivity, "sensitivity")
    rows, now = found.rows, found.report.total_pj
    size, unit = energy_unit(max([now, *rows["high_pj"]]))
    drawn = one(ax, 0.9 + 2.3 * pitch() * max(len(rows), 1))
    ends = [
        *zip(range(len(rows)), rows["low_pj"], rows["low"], strict=True),
        *zip(range(len(rows)), rows["high_pj"], rows["high"], strict=True),
    ]
    texts = []
    for at, energy, value in ends:
        if energy == now:
            continue
        more = energy > now
        drawn.barh(
            at, (energy - now) / size, left=now / size, color=MORE if more else LESS, height=0.55
        )
        away, side = ((3, 0), "left") if more else ((-3, 0), "right")
        texts.append(note(drawn, str(value), (energy / size, at), away, ha=side))
    drawn.axvline(now / size, color="black", linewidth=0.8)
    drawn.set_yticks(range(len(rows)), rows["constant"])
    drawn.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    drawn.margins(x=0.02)
    if rows.empty:
        drawn.text(0.5, 0.5, "no constant varies", ha="center", transform=drawn.transAxes)
    drawn.set_xlabel(f"Energy per sample ({unit})", loc="right")
    sns.despine(ax=drawn)
    fit_texts(drawn, texts)
    return drawn


def memory(found: Beyond, *, ax: Axes | None = None) -> Axes:
    """Draws spiking models against a dense one: a row a memory model, a marker a spiking model.

    Args:
        found: What :func:`analyzer.beyond_arithmetic` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes, logarithmic, with each spiking model's energy relative to the dense one's.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv"], "op": ["conv2d"], "dense_macs": [1000]}
        >>> ann = analyzer.from_rates(table | {"firing_rate": [1.0]}, name="ann")
        >>> snn = analyzer.from_rates(table | {"firing_rate": [0.2]}, name="snn")
        >>> found = analyzer.beyond_arithmetic(ann, [snn], convention="rate", memories=[None])
        >>> ax = analyzer.plot.memory(found)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['arithmetic alone']
    """
    answer_of(found, Beyond, "beyond_arithmetic")
    rows = found.rows
    memories, models = (list(dict.fromkeys(rows[column])) for column in ("memory", "model"))
    drawn = one(ax, 1.1 + 1.95 * pitch() * len(memories))
    drawn.set_xscale("log")
    drawn.axvline(1, color="black", linewidth=0.8, zorder=1)
    styles = markers_of(models)
    apart = 0.6 / max(len(models), 1)  # markers of equal ratios must not hide each other
    lines = []
    for number, model in enumerate(models):
        mine = rows[rows["model"] == model]
        shift = (number - (len(models) - 1) / 2) * apart
        at = [memories.index(each) + shift for each in mine["memory"]]
        lines += drawn.plot(
            mine["ratio"], at, linestyle="none", label=wrapped(model), **styles[model]
        )
    _by_rows(drawn, memories)
    _ticks_of_ratios(drawn, [1.0, *rows["ratio"]])
    drawn.set_xlabel("Energy, dense model = 1 (logarithmic)", loc="right")
    sns.despine(ax=drawn, left=True)
    legend(drawn, lines, own=ax is None)
    return drawn


def chips(found: Chips, *, ax: Axes | None = None) -> Axes:
    """Draws what models take under each technology: a row a technology, a marker a model.

    Args:
        found: What :func:`analyzer.chips` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes, with energy per sample, logarithmic; lower bounds have an arrow to the right.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv"], "op": ["conv2d"], "dense_macs": [1000]}
        >>> ann = analyzer.from_rates(table | {"firing_rate": [1.0]}, name="ann")
        >>> snn = analyzer.from_rates(table | {"firing_rate": [0.2]}, name="snn")
        >>> found = analyzer.chips(ann, [snn], "rate", technologies=["7nm", "loihi"])
        >>> [label.get_text() for label in analyzer.plot.chips(found).get_yticklabels()]
        ['7nm int8', 'loihi']
    """
    answer_of(found, Chips, "chips")
    rows = found.rows
    formats = rows["precision"].where(rows["precision"] != "any", "")
    named = rows.assign(at=(rows["technology"] + " " + formats).str.strip())
    places, models = list(dict.fromkeys(named["at"])), list(dict.fromkeys(named["model"]))
    drawn = one(ax, 1.1 + 1.6 * pitch() * len(places))
    drawn.set_xscale("log")
    lines = []
    dense = named.drop_duplicates("at").dropna(subset="dense_pj")
    styles = markers_of([*models, "dense model"])
    for label, energies, some in (
        *((name, "energy_pj", named[named["model"] == name]) for name in models),
        ("dense model", "dense_pj", dense),
    ):
        at = [places.index(each) for each in some["at"]]
        style = {"linestyle": "none", "label": wrapped(label), **styles[label]}
        lines += drawn.plot(some[energies], at, **style)
        if energies == "energy_pj":
            bounds = some[some["lower_bound"]]
            for energy, place in zip(bounds[energies], bounds["at"], strict=True):
                drawn.annotate(
                    "", (energy, places.index(place)), (16, 0), textcoords="offset points",
                    arrowprops={"arrowstyle": "<-", "color": NEUTRAL},
                )  # fmt: skip
    _by_rows(drawn, places)
    _ticks_of_energies(drawn)
    drawn.set_xlabel("Energy per sample (logarithmic)", loc="right")
    sns.despine(ax=drawn, left=True)
    legend(drawn, lines, own=ax is None)
    return drawn


def fit(found: Fit, *, ax: Axes | None = None) -> Axes:
    """Draws the cores that each layer takes on a chip; layers that have no place say why.

    Args:
        found: What :func:`analyzer.fit` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes, a row a product in order of execution. Cores that are a lower bound have a ≥.

    Example:
        >>> import torch
        >>> import analyzer
        >>> profile = analyzer.profile(torch.nn.Linear(300, 2000).eval(), torch.eye(300))
        >>> ax = analyzer.plot.fit(analyzer.fit(profile, "loihi"))
        >>> ax.get_xlabel()
        'Cores of Loihi'
    """
    answer_of(found, Fit, "fit")
    rows = found.rows
    drawn = one(ax, 0.9 + 1.2 * pitch() * len(rows))
    texts = []
    cores = rows["cores"].fillna(0).tolist()
    bounds, verdicts = rows["lower_bound"].tolist(), rows["fits"].tolist()
    for at, (placed, bound, fits) in enumerate(zip(cores, bounds, verdicts, strict=True)):
        drawn.barh(at, placed, color=NEUTRAL if fits == "unknown" else LESS, height=0.6)
        text = f"{'≥ ' if bound else ''}{placed:,}" if placed else fits
        texts.append(note(drawn, text, (placed, at), color="black" if placed else MORE))
    labels = path_labels(rows["module"].replace("", "(model)").tolist(), rows["op"].tolist())
    drawn.set_yticks(range(len(rows)), labels, parse_math=False)
    drawn.set_ylim(len(rows) - 0.5, -0.5)
    drawn.set_xlim(0, max(1, *cores))
    drawn.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    drawn.set_xlabel(f"Cores of {found.chip.title}", loc="right")
    drawn.tick_params(axis="y", length=0)
    sns.despine(ax=drawn, left=True)
    fit_texts(drawn, texts)
    return drawn


def _by_rows(ax: Axes, names: list[str]) -> None:
    """Names the rows of axes, with a line behind the markers of each."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", color=GUIDE, linewidth=0.5)
    ax.set_axisbelow(True)


def _ticks_of_energies(ax: Axes) -> None:
    """Marks a logarithmic axis of picojoules in units of energy, as many as find room."""
    low, high = ax.get_xlim()
    ax.set_xlim(low, 2 * high)  # for the arrows
    decades = math.log10(2 * high / low)
    step = 3 if decades > width_of(ax) else 1
    ax.xaxis.set_major_locator(LogLocator(base=10.0**step, numticks=20))
    ax.xaxis.set_minor_locator(LogLocator(base=10.0, numticks=20))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda pj, _: format_energy_pj(pj, 1)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _ticks_of_ratios(ax: Axes, ratios: list[float]) -> None:
    """Marks a logarithmic axis of ratios so that at least two numbers stand on it."""
    span = max(ratios) / min(ratios)
    if width_of(ax) < _NARROW and span > 10:
        span = max(span, 101)
    subs = (
        (1.0,)
        if span > 100
        else (1.0, 2.0, 5.0)
        if span > 4
        else tuple(n / 10 for n in range(10, 100))
    )
    ax.set_xlim(min(ratios) / span**0.05 / 1.02, max(ratios) * span**0.05 * 1.02)
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    ax.xaxis.set_minor_formatter(NullFormatter())
