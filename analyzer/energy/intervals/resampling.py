"""Bootstrap intervals of means, and the test whether paired differences are chance."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["interval_of_mean", "p_of_differences"]

_CONFIDENCE = 0.95
"""Share of data sets whose interval holds the mean of all data."""

_RESAMPLES = 4000
_AT_ONCE = 500
_FLIPS = 9999
_EXACT = 12
"""Differences up to which all choices of signs are tried."""
_SEED = 0


def interval_of_mean(
    values: NDArray[np.float64], number: int | None = None, mean: float | None = None
) -> tuple[float, float]:
    """The 95 % interval of a mean, by the bootstrap that corrects bias and skewness (BCa).

    It says how far the mean would differ on other data of the same kind. The random numbers are
    the same in each call. With fewer than some 20 values it is too narrow, as all bootstraps are.

    Args:
        values: A uniform choice of the samples.
        number: How many samples there are, where these are more than the choice: the mean of all
            is surer than that of the choice by the root of their ratio.
        mean: Their mean, where it is known better than by the choice.

    Returns:
        Both ends; NaN where there are fewer than two values.

    References:
        Efron, Better bootstrap confidence intervals (JASA 82, 1987).

    Example:
        >>> import numpy as np
        >>> low, high = interval_of_mean(np.arange(100.0))
        >>> 43 < low < 45 and 54 < high < 56
        True
    """
    kept = len(values)
    if kept < 2:
        return math.nan, math.nan
    number = kept if number is None else number
    own = float(values.mean())
    middle = own if mean is None else mean
    if (values == values[0]).all():
        return middle, middle
    centred = values - own
    random = np.random.default_rng(_SEED)
    means = np.empty(_RESAMPLES)
    for at in range(0, _RESAMPLES, _AT_ONCE):
        drawn = random.integers(0, kept, (_AT_ONCE, kept), dtype=np.int32)
        means[at : at + _AT_ONCE] = centred[drawn].mean(1)
    slack = 1e-12 * np.abs(centred).max()  # equal means may differ by rounding
    below = (means < -slack).mean() + (np.abs(means) <= slack).mean() / 2
    means *= math.sqrt(kept / number)
    normal = NormalDist()
    least = 1 / (2 * _RESAMPLES)
    bias = normal.inv_cdf(min(max(below, least), 1 - least))
    spread = float((centred**2).mean())
    skewness = float((centred**3).mean()) / spread**1.5
    acceleration = skewness / (6 * math.sqrt(number))
    ends = []
    for share in ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2):
        z = bias + normal.inv_cdf(share)
        corrected = normal.cdf(bias + z / (1 - acceleration * z))
        ends.append(middle + float(np.quantile(means, corrected)))
    return ends[0], ends[1]


def p_of_differences(differences: NDArray[np.float64]) -> float:
    """How likely a mean difference as large comes of chance alone: a paired permutation test.

    If the two models do not differ, each difference might as well have the other sign. The p-value
    is two-sided: the share of choices of signs whose mean is at least as far from zero. Up to 12
    differences all choices are tried; of more 9,999 at random, always the same, so that p is 0.0001
    at least.

    Returns:
        The p-value; NaN without any difference.

    References:
        Fisher, The design of experiments (1935), section 21; Phipson and Smyth, Permutation
        p-values should never be zero (2010).

    Example:
        >>> import numpy as np
        >>> p_of_differences(np.array([1.0, 2.0, 3.0, 4.0]))  # 2 of 2⁴ choices
        0.125
    """
    number = len(differences)
    if not number:
        return math.nan
    seen = abs(float(differences.sum()))
    slack = 1e-12 * float(np.abs(differences).sum())  # equal sums may differ by rounding
    if number <= _EXACT:
        bits = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
        return float((_sums(bits, differences) >= seen - slack).mean())
    random = np.random.default_rng(_SEED)
    hits, left = 1, _FLIPS
    while left:
        some = min(left, 1000)
        bits = random.integers(0, 2, (some, number), dtype=np.int8)
        hits += int((_sums(bits, differences) >= seen - slack).sum())
        left -= some
    return hits / (_FLIPS + 1)


def _sums(bits: NDArray[Any], differences: NDArray[np.float64]) -> Any:
    return np.abs((2.0 * bits - 1) @ differences)
