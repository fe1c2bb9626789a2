"""How far the figures of a card may be off because the data are a sample."""

from __future__ import annotations

import math
from statistics import NormalDist

from analyzer.energy.pricing.report import EnergyReport
from analyzer.profiles import Profile
from analyzer.units import format_energy_pj

__all__ = ["accuracy_interval", "energy_interval", "wilson"]


def wilson(correct: int, samples: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson, JASA 1927).

    It stays inside of 0 and 1, and is of use also where all or no samples are correct.

    Args:
        correct: Samples that count.
        samples: All samples, at least one.
        level: How often such intervals hold the true share.

    Returns:
        The lower and the upper end.

    Example:
        >>> low, high = wilson(359, 360)
        >>> f"{low:.4f} {high:.4f}"
        '0.9844 0.9995'
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / samples
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    middle, scale = share + z * z / (2 * samples), 1 + z * z / samples
    low = (middle - spread) / scale if correct else 0.0
    high = (middle + spread) / scale if correct < samples else 1.0
    return low, high


def accuracy_interval(profile: Profile) -> str:
    """The interval of the accuracy in words, or why there is none."""
    if profile.correct is None or not profile.samples:
        return "none, for no accuracy was measured"
    low, high = wilson(profile.correct, profile.samples)
    return (
        f"{100 * low:.2f} % to {100 * high:.2f} % (Wilson, from {profile.correct} of "
        f"{profile.samples}; of other samples of the same kind, not of other trainings)"
    )


def energy_interval(profile: Profile, priced: EnergyReport) -> str:
    """The interval of the mean energy in words, or why it is not known and how to get it."""
    if priced.interval_pj is not None and not math.isnan(priced.interval_pj[0]):
        low, high = map(format_energy_pj, priced.interval_pj)
        return (
            f"{low} to {high} (bootstrap over samples; of other samples of the same kind, not of "
            "other trainings)"
        )
    if profile.shapes:
        return "not known: nothing was run, so there are no samples that could differ"
    if profile.samples == 1:
        return (
            "not known: one sample does not tell how much samples differ; measure the model on more"
        )
    chosen = priced.convention
    whole = chosen.undriven == "dense" and chosen.first != "rated-mac"
    if whole and not priced.table["is_driven"].any():
        return (
            "of no width for inputs of one shape: no spikes drive an operation, so what is charged "
            "depends on shapes alone"
        )
    return (
        f"not known: the profile holds sums over its {profile.samples:,} samples and not what each "
        "of them took; measure it with per_sample=True (`analyzer profile --per-sample`)"
    )
