"""Two models on the same samples: how much they differ, and whether that is chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.answer import Told, each_once
from analyzer.energy.intervals.resampling import interval_of_mean, p_of_differences
from analyzer.energy.intervals.spread import FIGURES, check_sampled, means_of, samples_of
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_energy_pj, format_si, signed

__all__ = ["Paired", "paired"]

_LEVEL = 0.05
"""p-values below are called a difference, as is usual."""


@dataclass(frozen=True, eq=False, repr=False)
class Paired(Told):
    """How the second of two models differs from the first, sample by sample.

    Attributes:
        first: The one model, priced.
        second: The other.
        samples: A row a sample that both keep: ``sample``, its number in the data, and the
            differences ``ac``, ``mac`` and ``energy_pj``, second less first.
        intervals: The 95 % interval of the mean of each difference.
        p: The two-sided p-value of each, by a permutation test of pairs.
    """

    words = frozenset({"Figure"})

    first: EnergyReport
    second: EnergyReport
    samples: pd.DataFrame
    intervals: Mapping[str, tuple[float, float]]
    p: Mapping[str, float]

    @property
    def notes(self) -> list[str]:
        """What limits the answer, each once."""
        return each_once(self.first.notes, self.second.notes)

    @property
    def summary(self) -> str:
        """The difference in energy, and whether chance explains it, in one sentence."""
        a, b = self.first, self.second
        pairs, p = len(self.samples), self.p["energy_pj"]
        difference = b.total_pj - a.total_pj
        basis = f"{pairs} {'pair' if pairs == 1 else 'pairs'} of samples, {a.basis}"
        least = 2.0 ** (1 - pairs)
        if least > _LEVEL:
            few = "one pair of samples is" if pairs == 1 else f"{pairs} pairs of samples are"
            return (
                f"{b.name} takes {signed(difference)} against {a.name} per sample, "
                f"but {few} too few to tell whether that is chance ({basis})."
            )
        if p >= _LEVEL:
            low, high = (signed(x) for x in self.intervals["energy_pj"])
            return (
                f"{b.name} and {a.name} do not differ by more than chance in energy per sample: "
                f"{signed(difference)}, 95 % interval {low} to {high}, p = {p:.2g} "
                f"({basis})."
            )
        way, sign = ("more", 1) if difference > 0 else ("less", -1)
        least_pj, most_pj = sorted(sign * x for x in self.intervals["energy_pj"])
        return (
            f"{b.name} takes {format_energy_pj(abs(difference))} {way} than {a.name} per sample "
            f"(95 % interval {format_energy_pj(least_pj)} to {format_energy_pj(most_pj)}, "
            f"p = {p:.2g}), more than chance explains ({basis})."
        )

    @property
    def rows(self) -> pd.DataFrame:  # type: ignore[override]
        """One row with the mean difference of each figure, its interval and its p-value."""
        one, two = means_of(self.first), means_of(self.second)
        cells: dict[str, Any] = {
            "first": self.first.name, "second": self.second.name, "pairs": len(self.samples)
        }  # fmt: skip
        for key in FIGURES:
            name, unit = (key.removesuffix("_pj"), "_pj" * key.endswith("_pj"))
            low, high = self.intervals[key]
            cells |= {
                f"{name}_difference{unit}": two[key] - one[key],
                f"{name}_low{unit}": low,
                f"{name}_high{unit}": high,
                f"{name}_p": self.p[key],
            }
        return pd.DataFrame([cells])

    def shown(self) -> pd.DataFrame:
        """A line each for AC, MAC and energy."""
        one, two = means_of(self.first), means_of(self.second)
        lines = []
        for key, heading in FIGURES.items():
            text = format_energy_pj if key.endswith("_pj") else format_si
            low, high = (signed(x, text) for x in self.intervals[key])
            lines.append(
                [heading, text(one[key]), text(two[key]), signed(two[key] - one[key], text),
                 f"{low} to {high}", f"{self.p[key]:.2g}"]
            )  # fmt: skip
        columns = ["Figure", self.first.name, self.second.name, "Difference", "95 % interval", "p"]
        return pd.DataFrame(lines, columns=columns)


def paired(
    first: Facts,
    second: Facts,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    *,
    aligned: bool = False,
) -> Paired:
    """Says how far two models differ on the same samples, and whether that may be chance.

    Samples differ from each other more than two checkpoints do on the same sample, so intervals
    of two means may overlap where the models differ for certain. This looks at the difference
    within each sample: its mean with a 95 % interval (bootstrap, BCa), and the p-value of a
    permutation test of pairs. Both speak of other samples of the same kind. They do not speak of
    other trainings of the same two networks: for these measure several seeds.

    Args:
        first: Measured with ``per_sample=True``; such as a checkpoint.
        second: The same of another, on the same samples in the same order.
        technology: Name or file of the constants.
        convention: Name or file of the reading of the facts.
        precision: Number format that is priced.
        memory: Name or file of a memory model; None prices arithmetic alone.
        aligned: Whether the samples are the same, in the same order, though what the models were
            given differs, as where one takes each image once a timestep.

    Raises:
        AnalyzerError: Where a profile does not know single samples, or both were measured on
            different samples.

    Example:
        >>> import torch
        >>> import analyzer
        >>> spikes = (torch.arange(160).reshape(20, 8) % 3 == 0).float()
        >>> profiles = [
        ...     analyzer.profile(
        ...         torch.nn.Linear(8, width).eval(), spikes, name=name, per_sample=True
        ...     )
        ...     for name, width in (("wide", 10), ("narrow", 5))
        ... ]
        >>> found = analyzer.paired(*profiles)
        >>> print(f"{found.frame['ac_difference'][0]:.1f} AC, p = {found.p['ac']:.4f}")
        -13.5 AC, p = 0.0001
    """
    profiles = (first, second)
    for profile in profiles:
        check_sampled(profile)
    one, two = first.sampled, second.sampled
    assert one is not None
    assert two is not None
    if first.samples != second.samples or one.indices != two.indices:
        raise AnalyzerError(
            f"{first.name!r} and {second.name!r} hold {first.samples} and {second.samples} samples "
            f"({len(one)} and {len(two)} of them one by one), so they are no pairs: measure both "
            "on the same data."
        )
    if one.digest != two.digest and not aligned:
        raise AnalyzerError(
            f"{first.name!r} and {second.name!r} were given different inputs, so their samples "
            "may be no pairs: measure both on the same data in the same order; or where only the "
            "form of the inputs differs, say so with aligned=True (--aligned)."
        )
    reports = [price(p, technology, convention, precision, memory) for p in profiles]
    tables = [samples_of(p, r) for p, r in zip(profiles, reports, strict=True)]
    keys = list(FIGURES)
    samples = tables[0][["sample"]].join(tables[1][keys] - tables[0][keys])
    means = [means_of(report) for report in reports]
    intervals, p = {}, {}
    for key in keys:
        values = samples[key].to_numpy(np.float64)
        difference = means[1][key] - means[0][key]
        intervals[key] = interval_of_mean(values, first.samples, difference)
        p[key] = p_of_differences(values)
    return Paired(reports[0], reports[1], samples, intervals, p)
