"""Quantised twins: the same integers as the spikes carry, computed by dense multiplication.

A neuron that sends one of L + 1 levels tells as much as an activation of ⌈log2(L + 1)⌉ bits, so a
spiking network is to be held against a dense one of that width, not of 32 bits alone.
"""

from __future__ import annotations

import math

import pandas as pd

from analyzer.energy.pricing.price import price
from analyzer.profiles import Profile
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP, Collection, about
from analyzer.study.runs.statistics import spread
from analyzer.twins.quantised import bits_of

__all__ = ["WEIGHT_BITS", "told_levels", "twins"]

WEIGHT_BITS = 8
"""Width of the weights of a quantised twin."""


def told_levels(profile: Profile) -> int:
    """Levels that a neuron tells above the lowest: how often a LIF neuron fired, or its own."""
    return int(about(profile).get("levels", profile.metadata["timesteps"]))


def twins(collection: Collection, technology: str, convention: str) -> pd.DataFrame:
    """Each spiking series of the topology against its quantised twins.

    Returns:
        ``series, levels, bits, accuracy, energy_mj`` of the spiking network, priced in the widths
        of its twin; ``twin_mj``, what the dense network takes in them, and the ``ratio`` to it;
        ``own_accuracy``, of the network's own levels and 8-bit weights computed densely; and
        ``ann_accuracy`` and its ``ann_accuracy_std``, of the ANN with activations rounded to as
        many levels and weights to 8 bits, without training. NaN where it was not measured.
    """
    anns = collection.of(ANN)
    rows = []
    for series in collection.series:
        some = collection.of(series)
        first = next(iter(some.values()))
        note = about(first)
        if note["model"] not in (OURS, CONVERTED, STBP):
            continue
        levels = told_levels(first)
        precision = f"w{WEIGHT_BITS}a{bits_of(levels)}"
        spiking = spread(
            [price(p, technology, convention, precision).total_mj for p in some.values()]
        )
        dense = spread(
            [price(p, technology, convention, precision).total_mj for p in anns.values()]
        )
        own = [about(p).get("twin_correct", math.nan) / p.samples for p in some.values()]
        rounded = spread(
            [
                about(p).get("quantised_correct", {}).get(str(levels), math.nan) / p.samples
                for p in anns.values()
            ]
        )
        rows.append(
            {
                "series": series,
                "levels": levels,
                "bits": bits_of(levels),
                "accuracy": spread([p.accuracy or 0.0 for p in some.values()]).mean,
                "energy_mj": spiking.mean,
                "twin_mj": dense.mean,
                "ratio": spiking.mean / dense.mean,
                "own_accuracy": spread(own).mean,
                "ann_accuracy": rounded.mean,
                "ann_accuracy_std": rounded.std,
            }
        )
    return pd.DataFrame(rows)
