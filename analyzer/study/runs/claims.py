"""Whether the properties that the abstract of Ge²mS-T names hold in this reading."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analyzer.study.runs.collection import ANN, OURS, STBP
from analyzer.study.runs.statistics import REAL
from analyzer.study.runs.words import (
    Row,
    Tables,
    by_name,
    coding_of,
    points_between,
    rivals,
    tests_of,
)
from analyzer.units import format_ratio, format_share

__all__ = ["claims"]

_MARGIN = 0.01
"""An accuracy that is surely not further below is called no less: a point."""

_CONSTANT = 1.05
"""Memory that grows by less than this from the smallest to the largest T is called constant."""


def claims(tables: Tables) -> list[str]:
    """The properties that the abstract names, and whether they hold in this reading."""
    said = []
    runs, series = tables["runs"], by_name(tables["series"])
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
    for other in rivals(series):
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
        f"{coding_of(a)} sends {a[figure]:.3f} spikes a neuron against {b[figure]:.3f} without a "
        f"limit, for {points_between(a, b)} points"
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
    tested = tests_of(ours, other, differences)
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
        f"arithmetic, {points_between(ours, other)} points" + (f": it really {why}" if why else ""),
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
