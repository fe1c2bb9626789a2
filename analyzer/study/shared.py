"""Tables that both studies of paradigms show: sparsity by group, training memory against T."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile

__all__ = ["FIRST_LAYER", "GROUPS", "group_order", "memory_slopes", "sparsity_by_group"]

GROUPS = ("temporal", "spatial", "structural")
"""The axes that sparsity is reported for."""

FIRST_LAYER = "stem.conv"
"""The layer of Ge²mS-T's topology that reads the image; all others read spikes."""


def sparsity_by_group(profiles: Sequence[Profile], first: str = FIRST_LAYER) -> pd.DataFrame:
    """Sparsity of each group of each axis, over all modules but the first layer.

    Returns:
        Columns ``model, axis, group, sparsity``.
    """
    rows = []
    for profile in profiles:
        for axis in GROUPS:
            try:
                table = profile.sparsity(axis)
            except AnalyzerError:  # an ANN has no time axis
                continue
            driven = table[table["module"] != first]
            sums = driven.groupby("group")[["elements", "nonzeros"]].sum()
            for group, (elements, nonzeros) in sums.iterrows():
                rows.append(
                    {
                        "model": profile.name,
                        "axis": axis,
                        "group": group,
                        "sparsity": 1 - nonzeros / elements,
                    }
                )
    return pd.DataFrame(rows)


def group_order(label: str) -> int:
    """Where ``temporal 2`` stands among the columns of a table."""
    axis, group = label.split()
    return 100 * GROUPS.index(axis) + int(group)


def memory_slopes(training: pd.DataFrame) -> pd.DataFrame:
    """How saved bytes grow with T.

    The slope is that of a line from the smallest to the largest T; the deviation is the largest
    distance of a value from that line, relative to the value.
    """
    rows = []
    for model, some in training.groupby("model", sort=False):
        if len(some) < 2:
            continue
        steps, saved = (some[c].to_numpy(float) for c in ("timesteps", "saved_bytes"))
        slope = (saved[-1] - saved[0]) / (steps[-1] - steps[0])
        off = np.abs(saved - (saved[0] + slope * (steps - steps[0]))) / saved
        rows.append(
            {
                "model": model,
                "bytes_per_timestep": slope,
                "growth": saved[-1] / saved[0],
                "largest_deviation": float(off.max()),
            }
        )
    return pd.DataFrame(rows)
