"""What the study shows, in sentences that are made from the numbers of its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyzer.energy.paradigms.beyond import ALONE
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP
from analyzer.study.runs.statistics import ONE_SEED, REAL, UNSHOWN, detectable
from analyzer.study.runs.twins import WEIGHT_BITS
from analyzer.study.runs.words import (
    Row,
    Tables,
    by_name,
    coding_of,
    joined,
    points_between,
    rivals,
    tests_of,
)
from analyzer.units import format_energy_mj, format_energy_pj, format_ratio, format_share

__all__ = ["findings", "in_short", "memory_findings", "strength"]

_NEAR = 0.01
"""Energies closer than this are called the same, whatever a test says."""

_SUMMED = ("qkformer-tiny", "spikformer-tiny")
"""Networks whose residuals add spikes."""

_MOSTLY = 0.5


def in_short(tables: Tables) -> list[str]:
    """What a reader takes away, in a few sentences."""
    series = by_name(tables["series"])
    ours = series[OURS]
    said = [
        f"On arithmetic alone {OURS} takes "
        + joined(
            [
                f"{format_ratio(ours['energy_mj_mean'] / other['energy_mj_mean'])} the energy of "
                f"{name} for {points_between(ours, other)} points of accuracy"
                for name, other in series.items()
                if name in (ANN, STBP)
            ]
        )
        + ".",
        *_conversion(series),
        *_weights(tables["series"]),
    ]
    if not len(tables["memories"]):
        return said
    read = tables["memories"][tables["memories"]["memory"] != ALONE]
    dense = read[read["theirs"] == ANN]
    less, more = dense[dense["ratio"] < 1], dense[dense["ratio"] > 1]
    said.append(
        f"Of {len(dense)} readings of memory, some of them variants of one, {len(less)} say that "
        "it takes less than the ANN"
        f"{_named(less)}, and {len(more)} that it takes more{_named(more)}."
    )
    parts = [
        f"{part} under {joined(some['memory'].tolist())}"
        for part, some in more.groupby("dearer", sort=False)
    ]
    if parts:
        said.append(f"Where it takes more, it is mostly for {'; for '.join(parts)}.")
    return said


def _named(rows: pd.DataFrame) -> str:
    return f" ({', '.join(rows['memory'])})" if len(rows) else ""


def findings(tables: Tables) -> list[str]:
    """How Ge²mS-T does against each paradigm, in accuracy and arithmetic."""
    series = by_name(tables["series"])
    return [
        *(_against(series[OURS], other, tables["differences"]) for other in rivals(series)),
        *_lossless(tables["runs"]),
        *_per_correct(series),
        *_conversion(series),
        *_weights(tables["series"]),
        *_codings(tables["series"]),
        *_others(series),
        *_twin(tables["twins"]),
    ]


def _against(ours: Row, other: Row, differences: pd.DataFrame) -> str:
    tested = tests_of(ours, other, differences)
    energy = ours["energy_mj_mean"] / other["energy_mj_mean"]
    points = 100 * (ours["accuracy_mean"] - other["accuracy_mean"])
    accuracy = f"{abs(points):.2f} points {'more' if points > 0 else 'less'} accuracy"
    return (
        f"Against {other['series']}: {ours['series']} takes {format_ratio(energy)} the energy of "
        f"arithmetic ({_verdict(tested['energy_mj'])}) and has {accuracy} "
        f"({_verdict(tested['accuracy'])})."
    )


def _verdict(row: Row) -> str:
    """What a test says, in words."""
    if row["test"] == "none":
        return "too few seeds or no deviation to test"
    real = row["verdict"] == REAL[True]
    said = "a real difference" if real else "not shown to be a real difference"
    return f"{said}, p = {row['adjusted_p']:.2g} of {row['test']} t tests, adjusted"


def _lossless(runs: pd.DataFrame) -> list[str]:
    said = []
    for what, some in (
        ("networks with ExpG-IF neurons", runs[runs["base"] == OURS]),
        ("conversions, whose weights are not rounded", runs[runs["base"] == CONVERTED]),
    ):
        if some.empty:
            continue
        said.append(
            f"The forms with and without a time axis of {what} ({len(some)} networks) differ in "
            f"{int(some['differing_predictions'].sum())} of {int(some['samples'].sum()):,} "
            "predictions; the largest difference of a logit is "
            f"{some['largest_logit_difference'].max():.2g}."
        )
    return said


def _per_correct(series: Mapping[str, Row]) -> list[str]:
    figure = "energy_per_correct_mj_mean"
    known = [row for row in series.values() if not math.isnan(row[figure])]
    best = min(known, key=lambda row: float(row[figure]))
    ours, least = (format_energy_mj(row[figure]) for row in (series[OURS], best))
    return [
        f"A right answer takes {ours} of this arithmetic with {OURS}; the least of all that were "
        f"measured is {least}, with {best['series']}, which is right in "
        f"{format_share(best['accuracy_mean'])}."
    ]


def _conversion(series: Mapping[str, Row]) -> list[str]:
    """From which T on conversion is as accurate as Ge²mS-T, and what that costs."""
    ours = series[OURS]
    converted = [row for name, row in series.items() if name.startswith(CONVERTED)]
    enough = [other for other in converted if other["accuracy_mean"] >= ours["accuracy_mean"]]
    if not converted:
        return []
    if not enough:
        most = max(int(other["timesteps"]) for other in converted)
        return [f"No conversion up to T={most} is as accurate as {OURS} in the mean."]
    first = min(enough, key=lambda row: int(row["timesteps"]))
    ratio = ours["energy_mj_mean"] / first["energy_mj_mean"]
    tried = joined([str(int(row["timesteps"])) for row in converted])
    return [
        f"Of the conversions to T = {tried}, the shortest that is as accurate as {OURS} in the "
        f"mean has T={int(first['timesteps'])}, and {OURS} takes {format_ratio(ratio)} its "
        "energy of arithmetic."
    ]


def _weights(table: pd.DataFrame) -> list[str]:
    """What training for fewer accumulates buys."""
    said = []
    for base in (OURS, STBP):
        rows = [row for row in table.to_dict("records") if row["base"] == base]
        start = next((row for row in rows if row["series"] == base), None)
        weighted = [row for row in rows if row["synops_weight"] > 0]
        if start is None or not weighted:
            continue
        parts = [
            f"w = {row['synops_weight']:g} takes {format_ratio(row['ac_mean'] / start['ac_mean'])} "
            f"the accumulates for {points_between(row, start)} "
            "points"
            for row in weighted
        ]
        one = max(row["seeds"] for row in weighted) == 1
        alone = " (one seed each, so no test of the accuracy)" if one else ""
        said.append(f"Trained for fewer accumulates, {base} with {'; '.join(parts)}{alone}.")
    return said


def _codings(table: pd.DataFrame) -> list[str]:
    """Which coding spends least, and which is most accurate."""
    mine = [
        row
        for row in table.to_dict("records")
        if row["base"] == OURS and not row["synops_weight"] and row["trained"]
    ]
    if len(mine) < 2:
        return []
    least = min(mine, key=lambda row: float(row["ac_mean"]))
    most = max(float(row["ac_mean"]) for row in mine)
    best = max(mine, key=lambda row: float(row["accuracy_mean"]))
    return [
        f"Of {len(mine)} trained codings of four timesteps {coding_of(least)} spends the fewest "
        f"accumulates ({format_ratio(least['ac_mean'] / most)} those of the greediest) at "
        f"{format_share(least['accuracy_mean'])}, and {coding_of(best)} is most accurate at "
        f"{format_share(best['accuracy_mean'])}."
    ]


def _others(series: Mapping[str, Row]) -> list[str]:
    ours = series[OURS]
    return [
        f"Against {name}, another network ({row['parameters']:,} parameters, "
        f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}): "
        f"{format_ratio(ours['energy_mj_mean'] / row['energy_mj_mean'])} the energy of arithmetic "
        f"and {points_between(ours, row)} points of accuracy{_residuals(row)}."
        for name, row in series.items()
        if row["base"] not in (ANN, CONVERTED, OURS, STBP)
    ]


def _residuals(row: Row) -> str:
    """What makes a spiking network expensive whose layers read sums of spikes."""
    share = row["mac_share"]
    if row["base"] not in _SUMMED or share < _MOSTLY:
        return ""
    return (
        f" ({format_share(share)} of its energy is multiply-accumulates, most of them where layers "
        "read integer sums of spikes, which its paper prices as accumulates)"
    )


def _twin(twins: pd.DataFrame) -> list[str]:
    row = next(row for row in twins.to_dict("records") if row["series"] == OURS)
    said = (
        f"Its quantised twin has the same {int(row['levels'])} levels in {int(row['bits'])} bits, "
        f"multiplied densely by {WEIGHT_BITS}-bit weights: {OURS} takes "
        f"{format_ratio(row['ratio'])} its energy of arithmetic in these widths"
    )
    if not math.isnan(row["own_accuracy"]):
        said += (
            "; of the images that work is measured on the twin reaches "
            f"{format_share(row['own_accuracy'])} with the weights of {OURS} "
            f"(it {format_share(row['accuracy'])})"
        )
    if not math.isnan(row["ann_accuracy"]):
        said += f", {format_share(row['ann_accuracy'])} with those of the ANN, rounded untrained"
    return [f"{said}."]


def memory_findings(memories: pd.DataFrame) -> list[str]:
    """Where Ge²mS-T wins and loses once memory counts, and what would have to change."""
    said = []
    for memory, some in memories.groupby("memory", sort=False):
        near = (some["ratio"] - 1).abs() < _NEAR
        real = (some["verdict"] == REAL[True]) & ~near
        parts = [
            f"{words} {_listed(rows)}"
            for words, rows in (
                ("less than that of", some[real & (some["ratio"] < 1)]),
                ("more than that of", some[real & (some["ratio"] > 1)]),
                ("within 1 % of that of", some[near]),
                ("not shown to differ from that of", some[(some["verdict"] == UNSHOWN) & ~near]),
                (
                    "untested, for want of seeds, against that of",
                    some[(some["verdict"] == ONE_SEED) & ~near],
                ),
            )
            if len(rows)
        ]
        said.append(f"Under {memory}, the energy of {OURS} is {'; '.join(parts)}.")
        ann = some[some["theirs"] == ANN]
        said += [_change(str(memory), row) for row in ann.to_dict("records")]
    return said


def _listed(rows: pd.DataFrame) -> str:
    named = zip(rows["theirs"], rows["ratio"], strict=True)
    return ", ".join(f"{theirs} ({format_ratio(ratio)})" for theirs, ratio in named)


def _change(memory: str, row: Mapping[Any, Any]) -> str:
    """What would have to change for Ge²mS-T to take what the ANN takes."""
    now, needed = row["rate"], row["break_even_rate"]
    if math.isnan(needed):
        rate = "even silent it would take more than the ANN"
    elif needed > 1:
        rate = "it would take less than the ANN even where every neuron always fires"
    else:
        rate = (
            f"it would take what the ANN takes at a rate of {format_share(needed)} "
            f"(now {format_share(now)})"
        )
    factor = row["memory_factor"]
    if memory == ALONE:
        return f"Under {memory}, {rate}."
    if math.isnan(factor):
        return f"Under {memory}, {rate}; no price of memory alone would make both the same."
    price = f"if each access to memory cost {format_ratio(factor)} what it does"
    if not math.isnan(row["access_pj"]):
        price += (
            f" ({format_energy_pj(row['access_pj'])} for 32 bits in place of "
            f"{format_energy_pj(row['access_now_pj'])})"
        )
    return f"Under {memory}, {rate}; both would take the same {price}."


def strength(seeds: int) -> str:
    """How weak a test of so many seeds is, in one sentence."""
    if seeds < 2:
        return (
            "One seed each tells nothing of what another seed would give: no difference is tested."
        )
    return (
        f"With {seeds} seeds a side a t test finds a difference of {detectable(seeds):.1f} "
        "standard deviations of a seed in 80 % of such studies, even without adjustment for the "
        "number of tests, and smaller ones more rarely: what is not shown "
        "to be real may still be."
    )
