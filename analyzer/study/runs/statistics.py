"""Means over seeds, and which differences between them are real."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import stats

__all__ = [
    "LEVEL",
    "ONE_SEED",
    "REAL",
    "UNSHOWN",
    "Difference",
    "Spread",
    "detectable",
    "difference",
    "holm",
    "spread",
    "verdict",
]

LEVEL = 0.05
"""A difference is called real where chance alone would give it more rarely than this."""

UNSHOWN, ONE_SEED = "not shown to be", "untested"
REAL = MappingProxyType({True: "real", False: UNSHOWN, None: ONE_SEED})
"""What a test says of a difference, in words; None where no test is possible."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds."""

    mean: float
    std: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of some values."""
    found = np.asarray(values, float)
    std = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(float(found.mean()) if len(found) else math.nan, std)


@dataclass(frozen=True)
class Difference:
    """The difference of two means over seeds, and what a t test says of it.

    Attributes:
        mean: Ours minus theirs.
        low: Lower end of the 95 % interval, NaN where no test is possible.
        high: Upper end of it.
        p: How often chance alone would give as much; NaN where no test is possible.
        test: ``paired``, ``Welch``, or ``none``.
        seeds: Seeds of ours and of theirs.
    """

    mean: float
    low: float
    high: float
    p: float
    test: str
    seeds: tuple[int, int]


def difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, paired: bool = False
) -> Difference:
    """Compares two sets of seeds by a t test.

    Trainings of different networks share nothing by having the same seed, so Welch's test, which
    takes them as independent and their deviations as unequal, is the rule. Values that come from
    the same weights, such as an ANN's and its conversion's, are compared seed by seed.

    Args:
        ours: Values by seed.
        theirs: The same of what it is compared with.
        paired: Whether values of one seed belong together; seeds that one side lacks are left out.

    Returns:
        The difference. No test is possible with fewer than two seeds, or where no value varies.
    """
    if paired:
        both = [seed for seed in ours if seed in theirs]
        apart = np.array([ours[seed] - theirs[seed] for seed in both], float)
        mean = float(apart.mean()) if len(apart) else math.nan
        counts = (len(both), len(both))
        if len(apart) < 2 or not apart.std():
            return Difference(mean, math.nan, math.nan, math.nan, "none", counts)
        error, freedom = float(apart.std(ddof=1)) / math.sqrt(len(apart)), float(len(apart) - 1)
        return _tested(mean, error, freedom, "paired", counts)
    a, b = (np.array(list(values.values()), float) for values in (ours, theirs))
    counts = (len(a), len(b))
    mean = float(a.mean() - b.mean()) if len(a) and len(b) else math.nan
    if min(counts) < 2 or not (a.std() or b.std()):
        return Difference(mean, math.nan, math.nan, math.nan, "none", counts)
    parts = [float(values.var(ddof=1)) / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True)
    )
    return _tested(mean, error, freedom, "Welch", counts)


def _tested(
    mean: float, error: float, freedom: float, test: str, counts: tuple[int, int]
) -> Difference:
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    return Difference(mean, mean - reach, mean + reach, p, test, counts)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusts the p values of several tests, so that all together are wrong as rarely as one.

    Args:
        p: One a test; NaN where none was possible, which stays NaN and counts as no test.
    """
    found = np.asarray(p, float)
    adjusted = np.full(len(found), math.nan)
    order = [i for i in np.argsort(found) if not math.isnan(found[i])]
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * float(found[i])))
        adjusted[i] = worst
    return [float(x) for x in adjusted]


def verdict(p: float) -> str:
    """What a test says of a difference, by its p value; NaN where no test was possible."""
    return REAL[None if math.isnan(p) else p < LEVEL]


def detectable(seeds: int) -> float:
    """The difference of means that a test of two such sets finds in 80 % of studies.

    Args:
        seeds: Seeds a side, at least two.

    Returns:
        In standard deviations of one seed.
    """
    freedom = 2 * seeds - 2
    limit = float(stats.t.ppf(1 - LEVEL / 2, freedom))
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        shift = middle * math.sqrt(seeds / 2)
        found = stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(-limit, freedom, shift)
        # Far out scipy loses the tail (NaN), and every study finds the difference.
        low, high = (middle, high) if found <= 0.8 else (low, middle)
    return high
