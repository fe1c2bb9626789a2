"""Energy and accuracy against the number of timesteps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analyzer.energy.answer import Answer, each_once
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_energy_pj, format_share

__all__ = ["AgainstTimesteps", "against_timesteps"]


@dataclass(frozen=True, eq=False, repr=False)
class AgainstTimesteps(Answer):
    """One model at several numbers of timesteps.

    Attributes:
        reports: Priced, by rising T.
        rows: One row a profile: ``timesteps``, ``ac``, ``mac``, ``energy_pj``, ``accuracy`` (NaN
            where unknown), ``energy_per_correct_pj``, and ``added_pj``, what a timestep more takes
            than the row before; all per sample.
    """

    figure = "timesteps"

    reports: tuple[EnergyReport, ...]
    rows: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """What limits the figures, each once."""
        return each_once(*(report.notes for report in self.reports))

    @property
    def summary(self) -> str:
        """From the least to the most timesteps, in one sentence."""
        steps, energies, shares, right = (
            self.rows[column].tolist()
            for column in ("timesteps", "energy_pj", "accuracy", "energy_per_correct_pj")
        )
        text = (
            f"From T = {steps[0]} to T = {steps[-1]} energy goes from "
            f"{format_energy_pj(energies[0])} to {format_energy_pj(energies[-1])}"
        )
        if self.rows["accuracy"].gt(0).all():
            best = steps[right.index(min(right))]
            text += f", accuracy from {format_share(shares[0])} to {format_share(shares[-1])}"
            text += f"; a right answer is cheapest at T = {best}"
        return f"{text}; {self.reports[0].basis}."

    def shown(self) -> pd.DataFrame:
        """The rows as text."""
        rows = self.rows
        energies = {
            "Energy": "energy_pj",
            "A timestep more": "added_pj",
            "Energy per correct answer": "energy_per_correct_pj",
        }
        return pd.DataFrame(
            {"T": rows["timesteps"].map(str)}
            | {name: rows[column].map(format_energy_pj) for name, column in energies.items()}
            | {"Accuracy": rows["accuracy"].map(format_share)}
        )


def against_timesteps(
    profiles: Sequence[Facts],
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
) -> AgainstTimesteps:
    """Sets profiles of one model at different numbers of timesteps side by side.

    Use it to choose T: energy, accuracy and energy per right answer against T.

    Args:
        profiles: Of one model at different T, each measured on the same data; in any order.
        technology: Constants to price with.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.

    Raises:
        AnalyzerError: Where there are fewer than two, a T is not known or comes twice, or they are
            of several models.

    Example:
        >>> import analyzer
        >>> from dataclasses import replace
        >>> def at(T):  # in practice measured with timesteps=T, or loaded
        ...     table = {"module": ["fc"], "op": ["linear"], "firing_rate": [0.2]}
        ...     made = analyzer.from_rates(table | {"dense_macs": [250 * T]}, name="snn")
        ...     return replace(made, metadata={**made.metadata, "timesteps": T})
        >>> found = analyzer.against_timesteps([at(4), at(8)], convention="rate")
        >>> print(found.rows[["timesteps", "ac", "energy_pj", "added_pj"]])
           timesteps     ac  energy_pj  added_pj
        0          4  200.0      180.0       NaN
        1          8  400.0      360.0      45.0
    """
    steps = [profile.metadata.get("timesteps") for profile in profiles]
    lacking = [p.name for p, t in zip(profiles, steps, strict=True) if t is None]
    if lacking:
        raise AnalyzerError(f"profile {lacking[0]!r} does not say how many timesteps it holds.")
    if len(set(steps)) < len(steps) or len(steps) < 2:
        raise AnalyzerError(
            "give at least two profiles of one model, each measured at another number of timesteps "
            f"(--timesteps); these have T = {', '.join(map(str, steps)) or 'none'}."
        )
    models = sorted({str(profile.metadata.get("model")) for profile in profiles})
    if len(models) > 1:
        raise AnalyzerError(f"these are profiles of several models: {', '.join(models)}.")
    spiking = {any(t.state_elements for t in profile.tallies) for profile in profiles}
    if len(spiking) > 1:
        raise AnalyzerError(
            "some of these profiles have neurons and some have none: give one kind."
        )
    ordered = sorted(profiles, key=lambda profile: profile.metadata["timesteps"])
    reports = [price(p, technology, convention, precision, memory) for p in ordered]
    rows = pd.DataFrame(
        {
            "timesteps": [profile.metadata["timesteps"] for profile in ordered],
            "ac": [float(report.table["ac"].sum()) for report in reports],
            "mac": [float(report.table["mac"].sum()) for report in reports],
            "energy_pj": [report.total_pj for report in reports],
            "accuracy": [float("nan") if p.accuracy is None else p.accuracy for p in ordered],
        }
    )
    right = rows["accuracy"].where(rows["accuracy"] > 0)
    rows["energy_per_correct_pj"] = rows["energy_pj"] / right
    rows["added_pj"] = rows["energy_pj"].diff() / rows["timesteps"].diff()
    return AgainstTimesteps(tuple(reports), rows)
