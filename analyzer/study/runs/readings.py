"""The paradigms under every reading: conventions, memory models, bit budgets, quantised twins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd

from analyzer.energy.declared.convention import conventions
from analyzer.energy.paradigms.beyond import VARIANTS
from analyzer.energy.paradigms.bit_budget import bit_budget
from analyzer.energy.pricing.price import price
from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP, Collection
from analyzer.study.runs.statistics import spread
from analyzer.study.runs.twins import told_levels
from analyzer.twins.against import against_twin

__all__ = ["AGAINST_ANN", "AGAINST_TWIN", "readings", "readings_in_short"]

AGAINST_ANN, AGAINST_TWIN = "the ANN", "itself run once on integers"

Figure = Callable[[Profile], float]


def readings(
    collection: Collection, technology: str, convention: str, precision: str
) -> pd.DataFrame:
    """Each spiking paradigm against the ANN, and against its quantised twin, by every reading.

    Returns:
        ``reading``; ``against``, what each is divided by; and a column for each paradigm with the
        ratio of means over seeds, NaN where a reading can not read one.
    """
    names = [s for s in collection.series if s in (OURS, STBP) or s.startswith(CONVERTED)]
    rows = []
    for reading, figure in _figures(technology, convention, precision):
        dense = _mean(collection, ANN, figure)
        ratios = {name: _mean(collection, name, figure) / (dense or math.nan) for name in names}
        rows.append({"reading": reading, "against": AGAINST_ANN, **ratios})
    twins = {name: _against_twins(collection, name, technology, convention) for name in names}
    for reading in dict.fromkeys(reading for found in twins.values() for reading in found):
        ratios = {name: twins[name].get(reading, math.nan) for name in names}
        rows.append({"reading": reading, "against": AGAINST_TWIN, **ratios})
    return pd.DataFrame(rows)


def _figures(technology: str, convention: str, precision: str) -> Iterator[tuple[str, Figure]]:
    priced = [*conventions(), f"{convention}(elementwise=priced)"]
    for name in priced:
        yield f"convention {name}", _priced(technology, name, "fp32", None)
    for memory in VARIANTS:
        if memory is not None:
            yield f"{memory}, {precision}", _priced(technology, convention, precision, memory)
    for key, title in (("s_ace", "S-ACE"), ("ns_ace", "NS-ACE")):
        yield f"bit budget {title}, 8-bit weights", _effort(key)


def _priced(technology: str, convention: str, precision: str, memory: str | None) -> Figure:
    return lambda profile: price(profile, technology, convention, precision, memory).total_pj


def _effort(kind: str) -> Figure:
    return lambda profile: float(bit_budget([profile]).rows[kind].iloc[0])


def _mean(collection: Collection, series: str, figure: Figure) -> float:
    try:
        return spread([figure(profile) for profile in collection.of(series).values()]).mean
    except AnalyzerError:  # a technology without such a memory, a convention without these facts
        return math.nan


def _against_twins(
    collection: Collection, series: str, technology: str, convention: str
) -> dict[str, float]:
    found = [
        against_twin(profile, technology, convention, levels=told_levels(profile)).rows
        for profile in collection.of(series).values()
    ]
    sums = pd.concat(found).groupby("memory", sort=False)[["energy_pj", "dense_pj"]].mean()
    ratios = (sums["energy_pj"] / sums["dense_pj"]).to_dict()
    return {str(memory): float(ratio) for memory, ratio in ratios.items()}


def readings_in_short(table: pd.DataFrame) -> list[str]:
    """Under how many readings of energy each paradigm takes less, a sentence for each baseline."""
    said = []
    table = table[~table["reading"].str.startswith("bit budget")]
    for against, rows in table.groupby("against", sort=False):
        for name in [c for c in table if c not in ("reading", "against")]:
            known = rows[name].dropna()
            if known.empty:
                continue
            less = int((known < 1).sum())
            said.append(
                f"{name} takes less than {against} under {_of(less, len(known))} readings "
                f"({known.min():.3g} to {known.max():.3g} times)."
            )
    return said


def _of(less: int, number: int) -> str:
    if less == number:
        return f"all {number}"
    return f"{less} of {number}" if less else f"none of {number}"
