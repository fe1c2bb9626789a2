"""Tables of the study: means and deviations over seeds, differences, groups and codings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP, Collection, is_rival
from analyzer.study.runs.statistics import difference, holm, spread, verdict
from analyzer.study.shared import sparsity_by_group

__all__ = [
    "FIGURES",
    "against_timesteps",
    "differences",
    "groups",
    "seeds_of",
    "series_of",
    "trainings",
]

FIGURES = ("accuracy", "ac", "energy_mj", "energy_per_correct_mj", "sparsity", "spikes_per_neuron")
"""Columns of runs that are shown with mean and deviation."""


def series_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each series.

    Returns:
        ``series, base, paradigm, trained, synops_weight, timesteps, parameters, seeds``, and of
        each of :data:`FIGURES` ``_mean`` and ``_std``.
    """
    rows = []
    kept = [
        "base",
        "paradigm",
        "trained",
        "synops_weight",
        "timesteps",
        "parameters",
        "mac",
        "mac_share",
    ]
    for series, some in runs.groupby("series", sort=False):
        row = {"series": series, **some.iloc[0][kept].to_dict(), "seeds": len(some)}
        for figure in FIGURES:
            found = spread(some[figure].tolist())
            row |= {f"{figure}_mean": found.mean, f"{figure}_std": found.std}
        rows.append(row)
    return pd.DataFrame(rows)


def seeds_of(runs: pd.DataFrame, series: str, figure: str) -> dict[int, float]:
    """A figure of a series by seed."""
    some = runs[runs["series"] == series]
    return dict(zip(some["seed"].astype(int), some[figure].astype(float), strict=True))


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """What the seeds say of each difference that the study speaks of, in accuracy and in energy.

    Ge²mS-T against each other series of its topology, and each conversion against its ANN. The p
    values of one figure are adjusted together (Holm).

    Returns:
        ``figure, ours, theirs, difference, low, high, p, adjusted_p, test, seeds, verdict``.
    """
    rows = []
    for figure in ("accuracy", "energy_mj"):
        found = [
            (
                ours,
                theirs,
                difference(
                    seeds_of(runs, ours, figure),
                    seeds_of(runs, theirs, figure),
                    paired=_same_weights(ours, theirs),
                ),
            )
            for ours, theirs in _pairs(runs["series"].unique())
        ]
        adjusted = holm([each.p for _, _, each in found])
        for (ours, theirs, each), p in zip(found, adjusted, strict=True):
            rows.append(
                {
                    "figure": figure,
                    "ours": ours,
                    "theirs": theirs,
                    "difference": each.mean,
                    "low": each.low,
                    "high": each.high,
                    "p": each.p,
                    "adjusted_p": p,
                    "test": each.test,
                    "seeds": " and ".join(map(str, each.seeds)),
                    "verdict": verdict(p),
                }
            )
    return pd.DataFrame(rows)


def _pairs(series: Iterable[str]) -> list[tuple[str, str]]:
    plain = [s for s in series if is_rival(s)]
    pairs = [(OURS, other) for other in plain]
    return pairs + [(s, ANN) for s in plain if s.startswith(CONVERTED)]


def _same_weights(ours: str, theirs: str) -> bool:
    return {ours.split()[0], theirs.split()[0]} == {CONVERTED, ANN}


def groups(collection: Collection) -> pd.DataFrame:
    """Sparsity of each temporal, spatial and structural group of the paradigms.

    Returns:
        ``series, axis, group, sparsity_mean, sparsity_std``.
    """
    shown = [s for s in collection.series if s == OURS or is_rival(s)]
    rows = []
    for series in shown:
        table = sparsity_by_group(tuple(collection.of(series).values()))
        for (axis, group), some in table.groupby(["axis", "group"], sort=False):
            found = spread(some["sparsity"].tolist())
            rows.append(
                {
                    "series": series,
                    "axis": axis,
                    "group": group,
                    "sparsity_mean": found.mean,
                    "sparsity_std": found.std,
                }
            )
    return pd.DataFrame(rows)


def against_timesteps(series: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and energy of the paradigms by number of timesteps.

    Args:
        series: As :func:`series_of` gives them.

    Returns:
        ``base, timesteps, trained`` and the means and deviations of accuracy and energy.
    """
    plain = {OURS, STBP, CONVERTED, ANN}
    varied = series["series"].map(lambda s: s in plain or " T=" in s)
    some = series[series["base"].isin(plain) & varied & (series["synops_weight"] == 0)]
    kept = ["accuracy_mean", "accuracy_std", "energy_mj_mean", "energy_mj_std", "seeds"]
    found = some[["base", "timesteps", "trained", *kept]]
    return found.sort_values(["base", "timesteps"]).reset_index(drop=True)


def trainings(collection: Collection) -> pd.DataFrame:
    """One row for each training: its command, time and machine, and what it reached."""
    told: dict[str, Mapping[str, object]] = {}
    for profile in collection.profiles:
        note = profile.metadata["study"]
        if note["trained"]:
            told[note["file"]] = note
    keys = ("series", "seed", "epochs", "recorded_accuracy", "cpu_seconds", "machine", "command")
    return pd.DataFrame([{key: note[key] for key in keys} for note in told.values()])
