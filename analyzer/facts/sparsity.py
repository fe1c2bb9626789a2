"""Tables of what counted operations read, by module, timestep or group, and what they repeat."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analyzer.facts.records import Contraction, GroupCount
from analyzer.facts.table import frame

__all__ = ["by_group", "by_module", "by_timestep", "redundancy", "share_of_zeros"]


def by_module(contractions: Iterable[Contraction]) -> pd.DataFrame:
    """Columns ``module, elements, nonzeros``: what the contractions of each module read."""
    sums: dict[str, list[int]] = {}
    for site in contractions:
        row = sums.setdefault(site.module, [0, 0])
        row[0] += sum(o.elements for o in site.activations)
        row[1] += sum(o.nonzeros for o in site.activations)
    rows = [(module, *row) for module, row in sums.items()]
    return frame(rows, ["module", "elements", "nonzeros"], text=("module",))


def share_of_zeros(activity: pd.DataFrame) -> float | None:
    """The share of zeros in such a table; None if nothing was read."""
    elements = int(activity["elements"].sum())
    return float(1 - activity["nonzeros"].sum() / elements) if elements else None


def by_timestep(contractions: Iterable[Contraction], timesteps: int) -> pd.DataFrame:
    """Columns ``module, timestep, elements, nonzeros``, of contractions whose time is known.

    Time is an axis of what they read; or the model is a loop over time, and runs each module once
    a timestep, or more often where something tells to which timestep each call belongs.
    """
    contractions = tuple(contractions)
    runs: dict[tuple[str, str], int] = {}
    for site in contractions:
        runs[site.module, site.op] = max(runs.get((site.module, site.op), 0), site.call + 1)
    sums: dict[tuple[str, int], list[int]] = {}
    for site in contractions:
        times = runs[site.module, site.op]
        if site.step_nonzeros is not None and site.step_elements is not None:
            steps = [(t, site.step_elements, n) for t, n in enumerate(site.step_nonzeros)]
        elif timesteps > 1 and (site.step is not None or times == timesteps):
            inputs = site.activations
            elements = sum(o.elements for o in inputs)
            step = site.call if site.step is None else site.step
            steps = [(step, elements, sum(o.nonzeros for o in inputs))]
        else:
            continue
        for t, elements, nonzeros in steps:
            row = sums.setdefault((site.module, t), [0, 0])
            row[0] += elements
            row[1] += nonzeros
    rows = [(*key, *row) for key, row in sums.items()]
    return frame(rows, ["module", "timestep", "elements", "nonzeros"], text=("module",))


def by_group(groups: Iterable[GroupCount], axis: str) -> pd.DataFrame:
    """Columns ``module, group, elements, nonzeros`` of one axis of ``records.AXES``."""
    rows = [(g.module, g.group, g.elements, g.nonzeros) for g in groups if g.axis == axis]
    return frame(rows, ["module", "group", "elements", "nonzeros"], text=("module",))


def redundancy(contractions: Iterable[Contraction]) -> pd.DataFrame:
    """Work that timesteps repeat with the same operands, and how much caching it would save."""
    sums: dict[tuple[str, str], list[int]] = {}
    for site in contractions:
        row = sums.setdefault((site.module, site.op), [0, 0, 0, 0])
        for position, work in enumerate((site.dense_macs, site.events)):
            row[position] += work
            if site.repeats:  # a site of its own for each timestep saves all of its work
                row[position + 2] += work - (work // site.steps if site.steps > 1 else 0)
    return frame(
        [(*key, *row) for key, row in sums.items() if row[2] or row[3]],
        ["module", "op", "dense_macs", "events", "saved_macs", "saved_events"],
        text=("module", "op"),
    )
