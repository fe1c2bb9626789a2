"""What the study shows, in sentences that are made from the numbers of its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyzer.energy.beyond import ALONE
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP
from analyzer.study.runs.statistics import ONE_SEED, REAL, UNSHOWN, detectable
from analyzer.study.runs.twins import WEIGHT_BITS
from analyzer.units import format_energy_pj, format_ratio, format_share

__all__ = ["claims", "findings", "in_short", "memory_findings", "strength"]

_PJ_PER_MJ = 1e9
_NEAR = 0.01
"""Energies closer than this are called the same, whatever a test says."""

_MARGIN = 0.01
"""An accuracy that is surely not further below is called no less: a point."""

_SUMMED = ("qkformer-tiny", "spikformer-tiny")
"""Networks whose residuals add spikes."""

_MOSTLY = 0.5

_CONSTANT = 1.05
"""Memory that grows by less than this from the smallest to the largest T is called constant."""

Tables = Mapping[str, pd.DataFrame]
Row = Mapping[Any, Any]
"""A row of a table by column."""


def in_short(tables: Tables) -> list[str]:
    """What a reader takes away, in a few sentences."""
    series = _by_name(tables["series"])
    ours = series[OURS]
    said = [
        f"On arithmetic alone {OURS} takes "
        + _and(
            [
                f"{format_ratio(ours['energy_mj_mean'] / other['energy_mj_mean'])} the energy of "
                f"{name} for {_points(ours, other)} points of accuracy"
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
        f"{part} under {_and(some['memory'].tolist())}"
        for part, some in more.groupby("dearer", sort=False)
    ]
    if parts:
        said.append(f"Where it takes more, it is mostly for {'; for '.join(parts)}.")
    return said


def _named(rows: pd.DataFrame) -> str:
    return f" ({', '.join(rows['memory'])})" if len(rows) else ""


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def findings(tables: Tables) -> list[str]:
    """How Ge²mS-T does against each paradigm, in accuracy and arithmetic."""
    series = _by_name(tables["series"])
    return [
        *(_against(series[OURS], other, tables["differences"]) for other in _rivals(series)),
        *_lossless(tables["runs"]),
        *_per_correct(series),
        *_conversion(series),
        *_weights(tables["series"]),
        *_codings(tables["series"]),
        *_others(series),
        *_twin(tables["twins"]),
    ]


def _by_name(series: pd.DataFrame) -> dict[str, Row]:
    return {str(row["series"]): row for row in series.to_dict("records")}


def _rivals(series: Mapping[str, Row]) -> list[Row]:
    return [series[s] for s in series if s in (ANN, STBP) or s.startswith(CONVERTED)]


def _tested(ours: Row, other: Row, differences: pd.DataFrame) -> dict[str, Row]:
    """What was tested of two series, by figure."""
    pair = differences[
        (differences["ours"] == ours["series"]) & (differences["theirs"] == other["series"])
    ]
    return {str(row["figure"]): row for row in pair.to_dict("records")}


def _against(ours: Row, other: Row, differences: pd.DataFrame) -> str:
    tested = _tested(ours, other, differences)
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
    return [
        f"A right answer takes {_energy(series[OURS][figure])} of this arithmetic with {OURS}; the "
        f"least of all that were measured is {_energy(best[figure])}, with {best['series']}, "
        f"which is right in {format_share(best['accuracy_mean'])}."
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
    tried = _and([str(int(row["timesteps"])) for row in converted])
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
            f"the accumulates for {_points(row, start)} "
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
        f"Of {len(mine)} trained codings of four timesteps {_coding(least)} spends the fewest "
        f"accumulates ({format_ratio(least['ac_mean'] / most)} those of the greediest) at "
        f"{format_share(least['accuracy_mean'])}, and {_coding(best)} is most accurate at "
        f"{format_share(best['accuracy_mean'])}."
    ]


def _coding(row: Row) -> str:
    return str(row["series"]).removeprefix(OURS).strip() or "the default (G=2 K=2)"


def _others(series: Mapping[str, Row]) -> list[str]:
    ours = series[OURS]
    return [
        f"Against {name}, another network ({row['parameters']:,} parameters, "
        f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}): "
        f"{format_ratio(ours['energy_mj_mean'] / row['energy_mj_mean'])} the energy of arithmetic "
        f"and {_points(ours, row)} points of accuracy{_residuals(row)}."
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


def claims(tables: Tables) -> list[str]:
    """The properties that the abstract names, and whether they hold in this reading."""
    said = []
    runs, series = tables["runs"], _by_name(tables["series"])
    coded = runs[runs["trained"] & runs["differing_predictions"].notna()]
    differing, images = int(coded["differing_predictions"].sum()), int(coded["samples"].sum())
    said.append(
        _claim(
            "Lossless conversion",
            differing == 0,
            f"{differing} of {images:,} predictions of the {len(coded)} trained networks differ "
            "between the forms",
        )
    )
    slopes = tables["slopes"]
    if len(slopes):
        said += _overhead(slopes, tables["training"])
    said.append(_regulation(series))
    said += _multiplications(tables)
    said.append(_complexity(tables["multiplications"]))
    for other in _rivals(series):
        if other["series"] in (ANN, STBP):
            said.append(_both(series[OURS], other, tables["differences"]))
    if len(tables["memories"]):
        said.append(_ultra(tables["memories"]))
    return said


def _claim(name: str, holds: bool | None, because: str) -> str:
    """A claim, whether it holds (None where the seeds do not tell), and the figures."""
    verdict = {True: "holds", False: "does not hold", None: "is not shown to hold"}[holds]
    return f"{name}: {verdict} in this reading. {because}."


def _overhead(slopes: pd.DataFrame, training: pd.DataFrame) -> list[str]:
    growth = dict(zip(slopes["model"], slopes["growth"].astype(float), strict=True))
    ours = training[training["model"] == "ge2mst"]
    times = float(ours["seconds"].max() / ours["seconds"].min())
    ann = float(training[training["model"] == "ann"]["saved_bytes"].iloc[0])
    above = float(ours["saved_bytes"].mean()) / ann
    return [
        _claim(
            "Constant training overhead",
            growth["ge2mst"] <= _CONSTANT,
            f"From T={ours['timesteps'].min()} to T={ours['timesteps'].max()} the bytes saved for "
            f"backward grow {growth['ge2mst']:.2f} times (by STBP {growth['stbp']:.2f} times), "
            f"and the slowest step takes {times:.2f} times the fastest; the bytes are "
            f"{format_ratio(above)} those of the ANN",
        )
    ]


def _regulation(series: Mapping[str, Row]) -> str:
    pairs = []
    for name, row in series.items():
        free, limit, _ = name.partition(" m=")
        free = OURS if free == f"{OURS} G=2 K=2" else free
        if limit and row["base"] == OURS and free in series:
            pairs.append((row, series[free]))
    if not pairs:
        return "Precise regulation of spikes: not measured here, for no coding has a limit m."
    figure = "spikes_per_neuron_mean"
    said = "; ".join(
        f"{_coding(a)} sends {a[figure]:.3f} spikes a neuron against {b[figure]:.3f} without a "
        f"limit, for {_points(a, b)} points"
        for a, b in pairs
    )
    return _claim(
        "Precise regulation of spikes", all(a[figure] < b[figure] for a, b in pairs), said
    )


def _multiplications(tables: Tables) -> list[str]:
    table = tables["multiplications"]
    other = table[~table["is_stem"]]
    left, whole = float(other["mac"].sum()), float(table["mac"].sum())
    share = float(table[table["is_stem"]]["mac_pj"].sum() / table["total_pj"].sum())
    return [
        _claim(
            "Multiplication-free products",
            left == 0,
            f"Behind the stem {left:,.0f} of {whole:,.0f} multiply-accumulates an image are left; "
            f"the stem, which reads the image itself, takes {format_share(share)} of the energy of "
            "arithmetic. Not among these: the scales of neurons and of attention, "
            f"{float(table['scalings'].iloc[0]):,.0f} multiplications of single values, and "
            f"{float(table['doublings'].iloc[0]):,.0f} doublings, which are shifts",
        )
    ]


def _complexity(table: pd.DataFrame) -> str:
    row = table.to_dict("records")[0]
    less = row["attention"] / row["whole_map"]
    whole = row["dense"] - row["attention"] + row["whole_map"]
    return _claim(
        "Less complexity by grouped tokens",
        bool(less < 1),
        f"In windows the products of attention take {format_ratio(less)} the dense work that they "
        "would take over the whole map, in the better order of their factors each; of the whole "
        f"network that is {format_ratio(row['dense'] / whole)}",
    )


def _both(ours: Row, other: Row, differences: pd.DataFrame) -> str:
    tested = _tested(ours, other, differences)
    energy, accuracy = tested["energy_mj"], tested["accuracy"]
    worse = {
        "takes more energy": energy["verdict"] == REAL[True] and energy["difference"] > 0,
        "is less accurate": accuracy["verdict"] == REAL[True] and accuracy["difference"] < 0,
    }
    less = energy["verdict"] == REAL[True] and energy["difference"] < 0
    holds = False if any(worse.values()) else True if less and accuracy["low"] > -_MARGIN else None
    why = " and ".join(words for words, found in worse.items() if found)
    return _claim(
        f"Less energy and, to a point, no less accuracy than {other['series']}",
        holds,
        f"{format_ratio(ours['energy_mj_mean'] / other['energy_mj_mean'])} the energy of "
        f"arithmetic, {_points(ours, other)} points" + (f": it really {why}" if why else ""),
    )


def _ultra(memories: pd.DataFrame) -> str:
    dense = memories[memories["theirs"] == ANN]
    real = dense["verdict"] == REAL[True]
    less, more = dense[real & (dense["ratio"] < 1)], dense[real & (dense["ratio"] > 1)]
    holds = True if len(less) == len(dense) else False if len(more) else None
    return _claim(
        "Less energy than the ANN, however memory is read",
        holds,
        f"It takes really less under {len(less)} and really more under {len(more)} of "
        f"{len(dense)} readings of memory: {format_ratio(dense['ratio'].min())} to "
        f"{format_ratio(dense['ratio'].max())}",
    )


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


def _points(ours: Row, theirs: Row) -> str:
    """The difference of two accuracies in points; one that rounds to zero has no minus."""
    return f"{round(100 * (ours['accuracy_mean'] - theirs['accuracy_mean']), 2) + 0.0:+.2f}"


def _energy(mj: float) -> str:
    return format_energy_pj(mj * _PJ_PER_MJ)
