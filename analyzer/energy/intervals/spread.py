"""How work and energy differ from sample to sample, and how sure their means are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.answer import Told
from analyzer.energy.intervals.resampling import interval_of_mean
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_energy_pj, format_si, with_margin

__all__ = ["FIGURES", "Spread", "intervals_of", "samples_of"]

FIGURES: Mapping[str, str] = MappingProxyType({"ac": "AC", "mac": "MAC", "energy_pj": "Energy"})
"""Columns of a table of samples, and what tables call them."""


@dataclass(frozen=True, eq=False, repr=False)
class Spread(Told):
    """How the work and the energy of a model differ from sample to sample.

    Attributes:
        report: The profile, priced.
        samples: A row a sample that is kept: ``sample``, its number in the data from 0, and its
            ``ac``, ``mac`` and ``energy_pj``.
        intervals: The 95 % interval of the mean of each of them.
    """

    words = frozenset({"Figure"})

    report: EnergyReport
    samples: pd.DataFrame
    intervals: Mapping[str, tuple[float, float]]

    @property
    def notes(self) -> list[str]:
        """What limits the figures."""
        found, kept = list(self.report.notes), len(self.samples)
        if kept < self.report.samples:
            found.insert(
                0,
                f"{self.report.name}: means are over all {self.report.samples} samples, all else "
                f"is of {kept} of them, chosen at random.",
            )
        return found

    @property
    def summary(self) -> str:
        """The mean energy with its interval, in one sentence."""
        report = self.report
        low, high = self.intervals["energy_pj"]
        if math.isnan(low):
            return f"{report.name}: {report.total_text}, of one sample, so nothing tells its error."
        text = with_margin(report.total_text, report.total_pj, (high - low) / 2)
        energies = self.samples["energy_pj"]
        least, most = (format_energy_pj(float(x)) for x in (energies.min(), energies.max()))
        return (
            f"{report.name}: {text} per sample (mean over {report.samples}, 95 % interval "
            f"{format_energy_pj(low)} to {format_energy_pj(high)}), from {least} to {most}; "
            f"{report.basis}."
        )

    @property
    def rows(self) -> pd.DataFrame:  # type: ignore[override]
        """One row with mean, interval, standard deviation and quantiles of each figure."""
        means = means_of(self.report)
        cells: dict[str, Any] = {"model": self.report.name, "samples": self.report.samples}
        for key in FIGURES:
            name, unit = (key.removesuffix("_pj"), "_pj" * key.endswith("_pj"))
            values, (low, high) = self.samples[key], self.intervals[key]
            found = {"": means[key], "_low": low, "_high": high,
                     "_std": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                     "_min": values.min(), "_median": values.median(),
                     "_max": values.max()}  # fmt: skip
            cells |= {f"{name}{what}{unit}": float(value) for what, value in found.items()}
        return pd.DataFrame([cells])

    def shown(self) -> pd.DataFrame:
        """A line each for AC, MAC and energy."""
        row = self.rows.iloc[0]
        lines = []
        for key, heading in FIGURES.items():
            name, unit = (key.removesuffix("_pj"), "_pj" * key.endswith("_pj"))
            text = format_energy_pj if unit else format_si

            def cell(what: str, text: Any = text, name: str = name, unit: str = unit) -> str:
                return str(text(row[f"{name}{what}{unit}"]))

            mean, low, high = (row[f"{name}{what}{unit}"] for what in ("", "_low", "_high"))
            interval = "–" if math.isnan(low) else f"{cell('_low')} to {cell('_high')}"
            lines.append(
                [heading, with_margin(cell(""), mean, (high - low) / 2), interval, cell("_std"),
                 cell("_min"), cell("_median"), cell("_max")]
            )  # fmt: skip
        headings = ["Figure", "Mean", "95 % interval", "Std", "Least", "Median", "Most"]
        return pd.DataFrame(lines, columns=headings)


def samples_of(profile: Facts, report: EnergyReport) -> pd.DataFrame:
    """Work and energy of each sample that is kept: ``sample``, ``ac``, ``mac``, ``energy_pj``.

    Which rows spikes drive is decided over all data, for a sample as for the whole. So sample by
    sample the figures add up to the total, except where a convention multiplies two means: mean
    levels (``value``), the smaller of two rates (``min``), rates of inputs of different sizes.
    """
    numbers: tuple[int, ...] = () if profile.sampled is None else profile.sampled.indices
    tables = []
    for rows in profile.rows_of_samples():
        priced = price(
            _Samples(profile, rows), report.technology, report.convention,
            report.precision, report.memory,
        ).table  # fmt: skip
        columns = {"ac": priced["ac"], "mac": priced["mac"], "energy_pj": priced["total_pj"]}
        table = pd.DataFrame({"profile": priced["profile"], **columns})
        tables.append(table.groupby("profile", sort=False).sum())
    if not tables:
        return pd.DataFrame(columns=["sample", *FIGURES], dtype="float64")
    found = pd.concat(tables).astype("float64").reset_index(names="sample")
    found = found.assign(sample=found["sample"].astype("int64"))
    # with a memory model the updates of neurons come last, so put samples in their order
    # and what holds no products has no rows of a sample
    found = found.set_index("sample").reindex(list(numbers), fill_value=0.0)
    return found.rename_axis("sample").reset_index()


def intervals_of(report: EnergyReport, samples: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The 95 % interval of the mean AC, MAC and energy of a profile."""
    means = means_of(report)
    return {
        key: interval_of_mean(samples[key].to_numpy(np.float64), report.samples, means[key])
        for key in FIGURES
    }


def means_of(report: EnergyReport) -> dict[str, float]:
    """AC, MAC and energy per sample, the means over all samples."""
    table = report.table
    return {
        "ac": float(table["ac"].sum()),
        "mac": float(table["mac"].sum()),
        "energy_pj": report.total_pj,
    }


def check_sampled(profile: Facts) -> None:
    """Refuses a profile that does not know single samples."""
    if profile.sampled is None or not len(profile.sampled):
        raise AnalyzerError(
            f"profile {profile.name!r} does not know what single samples did: measure it with "
            "per_sample=True (`analyzer profile --per-sample`); a sum knows it where all samples "
            "of both profiles were kept."
        )


class _Samples:
    """A profile whose rows are those of single samples, one after another, to be priced at once."""

    def __init__(self, profile: Facts, rows: pd.DataFrame) -> None:
        self._profile = profile
        self.rows = rows
        self.samples = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._profile, name)
