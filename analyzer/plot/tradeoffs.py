"""What an energy buys: accuracy against energy, and both against the number of timesteps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analyzer.energy.paradigms.break_even import BreakEven
from analyzer.energy.paradigms.timesteps import AgainstTimesteps, against_timesteps
from analyzer.energy.tables.compare import compare
from analyzer.energy.tables.comparison import Comparison
from analyzer.errors import AnalyzerError
from analyzer.plot.canvas import fit_texts, legend, note, numbered, one
from analyzer.plot.given import answer_of, profiles_of
from analyzer.plot.labels import wrapped
from analyzer.plot.style import GUIDE, LESS, MORE, markers_of
from analyzer.profiles import Profile
from analyzer.tabular import distinct
from analyzer.units import PJ_PER_MJ, energy_unit, format_share

__all__ = ["break_even", "pareto", "pareto_front", "timesteps"]

_FEW_STEPS = 6
"""Up to so many numbers of timesteps have a tick each."""


def pareto(
    profiles: Profile | Iterable[Profile] | Comparison | pd.DataFrame,
    *,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws accuracy against energy, a marker a model, and the front that none of them beats.

    A model is on the front if no other takes less energy and is as accurate, or is more accurate
    for as much.

    Args:
        profiles: Profiles that know their accuracy, or what :func:`analyzer.compare` returned, or
            its frame, with its prices.
        technology: Constants to price profiles with.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes; energy is on a logarithmic axis where it spans more than a factor of five.

    Raises:
        AnalyzerError: If there is no profile, one can not be priced so, or knows no accuracy.

    Example:
        >>> import analyzer
        >>> from dataclasses import replace
        >>> def at(name, macs, correct):
        ...     table = {"module": ["fc"], "op": ["linear"], "firing_rate": [0.2]}
        ...     made = analyzer.from_rates(table | {"dense_macs": [macs]}, name=name)
        ...     return replace(made, samples=100, correct=correct)
        >>> models = [at("small", 100, 80), at("large", 900, 95)]
        >>> ax = analyzer.plot.pareto(models, convention="rate")
        >>> ax.get_ylabel()
        'Accuracy (%)'
    """
    if isinstance(profiles, pd.DataFrame):
        table = profiles
    elif isinstance(profiles, Comparison):
        table = profiles.frame
    else:
        table = compare(profiles_of(profiles), technology, convention, precision, memory).frame
    if table.empty:
        raise AnalyzerError("nothing to draw: give at least one model.")
    lacking = table.loc[table["accuracy"].isna(), "model"]
    if len(lacking):
        raise AnalyzerError(
            f"no accuracy is known of {', '.join(map(str, lacking))}: profile with batches "
            "(inputs, labels), and with predict= if the output is not the scores of classes."
        )
    size, unit = energy_unit(float(table["energy_mj"].max()) * PJ_PER_MJ)
    energies = (table["energy_mj"] * PJ_PER_MJ / size).to_numpy()
    accuracies = 100 * table["accuracy"].to_numpy(float)
    drawn = one(ax, 2.9)
    front = pareto_front(energies, accuracies)
    drawn.step(
        energies[front], accuracies[front], where="post", color=GUIDE, linewidth=1.2, zorder=1
    )
    names = distinct([str(name) for name in table["model"]])
    styles = markers_of(names)
    markers = []
    for name, x, y in zip(names, energies, accuracies, strict=True):
        markers += drawn.plot(x, y, linestyle="none", label=wrapped(name), **styles[name])
    if min(energies) > 0 and max(energies) > 5 * min(energies):
        drawn.set_xscale("log")
        numbered(drawn.xaxis)
    else:
        drawn.set_xlim(left=0)
    drawn.margins(0.08)
    drawn.set_xlabel(f"Energy per sample ({unit})")
    drawn.set_ylabel("Accuracy (%)")
    sns.despine(ax=drawn)
    legend(drawn, markers, own=ax is None, ncols=3)
    return drawn


def pareto_front(
    energies: Sequence[float] | np.ndarray, accuracies: Sequence[float] | np.ndarray
) -> list[int]:
    """Positions of the models that no other beats, by rising energy."""
    order = sorted(range(len(energies)), key=lambda i: (energies[i], -accuracies[i]))
    front: list[int] = []
    for i in order:
        if not front or accuracies[i] > accuracies[front[-1]]:
            front.append(i)
    return front


def timesteps(
    profiles: AgainstTimesteps | Iterable[Profile],
    *,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the energy of one model against its number of timesteps, and its accuracy beside it.

    Args:
        profiles: Of one model at different T, or what :func:`analyzer.against_timesteps` returned,
            with its prices.
        technology: Constants to price profiles with.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes of the energy. Accuracy, where it is known, has an axis of its own at the right.

    Raises:
        AnalyzerError: As :func:`analyzer.against_timesteps` does.

    Example:
        >>> import analyzer
        >>> from dataclasses import replace
        >>> def at(T):
        ...     table = {"module": ["fc"], "op": ["linear"], "firing_rate": [0.2]}
        ...     made = analyzer.from_rates(table | {"dense_macs": [250 * T]}, name="snn")
        ...     return replace(made, metadata={**made.metadata, "timesteps": T})
        >>> ax = analyzer.plot.timesteps([at(4), at(8)], convention="rate")
        >>> ax.get_ylabel()
        'Energy per sample (pJ)'
    """
    found = profiles
    if not isinstance(found, AgainstTimesteps):
        found = against_timesteps(profiles_of(found), technology, convention, precision, memory)
    rows = found.rows
    size, unit = energy_unit(rows["energy_pj"].max())
    drawn = one(ax, 2.4)
    drawn.grid(axis="y", color=GUIDE, linewidth=0.5)
    drawn.plot(rows["timesteps"], rows["energy_pj"] / size, marker="o", color=LESS, label="energy")
    if len(rows) <= _FEW_STEPS:
        drawn.set_xticks(rows["timesteps"])
    else:
        drawn.xaxis.set_major_locator(MaxNLocator(_FEW_STEPS, integer=True))
    drawn.set_xlabel("Timesteps T")
    drawn.set_ylabel(f"Energy per sample ({unit})")
    drawn.set_ylim(bottom=0)
    sns.despine(ax=drawn, right=False)
    if rows["accuracy"].notna().any():
        right = drawn.twinx()
        right.plot(
            rows["timesteps"], 100 * rows["accuracy"], marker="s", linestyle="--", color=MORE,
            label="accuracy",
        )  # fmt: skip
        right.set_ylabel("Accuracy (%)")
        right.yaxis.set_major_locator(MaxNLocator(5))
        sns.despine(ax=right, right=False)
        legend(drawn, [*drawn.get_lines(), *right.get_lines()], own=ax is None)
    else:
        sns.despine(ax=drawn)
    return drawn


def break_even(found: BreakEven, *, ax: Axes | None = None) -> Axes:
    """Draws the energy of a spiking model against its firing rate, and that of its dense twin.

    Circles mark the rate now and the rate at which both take the same.

    Args:
        found: What :func:`analyzer.break_even` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes, with the rate in per cent of the dense work of driven layers, and the energy per
        sample.

    Example:
        >>> import analyzer
        >>> table = {"module": ["fc"], "op": ["linear"], "dense_macs": [1000]}
        >>> ann, snn = (
        ...     analyzer.from_rates(table | {"firing_rate": [rate]}, name=name)
        ...     for name, rate in (("ann", 1.0), ("snn", 0.2))
        ... )
        >>> ax = analyzer.plot.break_even(analyzer.break_even(snn, ann, convention="rate"))
        >>> ax.get_xlabel()
        'Firing rate (%)'
    """
    answer_of(found, BreakEven, "break_even")
    now, silent, dense = (r.total_pj for r in (found.spiking, found.silent, found.dense))
    below, above = ((5, -3), "left", "top"), ((-5, 3), "right", "bottom")
    marks = [(f"now: {format_share(found.rate)}", found.rate, now, below)]
    even, end = found.break_even_rate, max(1.0, 1.25 * found.rate)
    if even is not None and even <= end:
        marks.append((f"the same: {format_share(even)}", even, dense, above))
        end = min(end, 1.25 * max(even, found.rate))
    most = silent + (now - silent) / found.rate * end
    size, unit = energy_unit(max(dense, most))
    drawn = one(ax, 2.4)
    drawn.grid(axis="y", color=GUIDE, linewidth=0.5)
    lines = [
        *drawn.plot(
            [0, 100 * end], [silent / size, most / size], color=LESS,
            label=wrapped(found.spiking.name),
        ),
        drawn.axhline(dense / size, color=MORE, linestyle="--", label=wrapped(found.dense.name)),
    ]  # fmt: skip
    texts = []
    for text, rate, energy, (away, ha, va) in marks:
        at = (100 * rate, energy / size)
        drawn.plot(*at, marker="o", color=LESS)
        texts.append(note(drawn, text, at, away, ha=ha, va=va))
    drawn.set_xlim(0, 100 * end)
    drawn.set_ylim(bottom=0)
    drawn.set_xlabel("Firing rate (%)")
    drawn.set_ylabel(f"Energy per sample ({unit})")
    sns.despine(ax=drawn)
    fit_texts(drawn, texts)
    drawn.set_xlim(left=0)
    legend(drawn, lines, own=ax is None)
    return drawn
