"""At what firing rate a spiking model takes as much energy as a dense one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from analyzer.energy.answer import Answer
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_share

__all__ = ["BreakEven", "between", "break_even", "rates"]


@dataclass(frozen=True, eq=False, repr=False)
class BreakEven(Answer):
    """At what activity a spiking model takes what its dense twin takes.

    What spikes cause is taken to grow with the firing rate, all else not to.

    Attributes:
        spiking: The spiking model, priced.
        dense: Its twin, priced.
        silent: The spiking model, if no neuron of it fired.
        rate: Share of the dense work of driven layers that spikes cause now.
        break_even_rate: Where both take the same energy; None where the spiking model takes more
            even if it is silent. Above 1 it takes less even where every neuron always fires.
    """

    figure = "break_even"
    words = frozenset({"Spiking", "Dense"})

    spiking: EnergyReport
    dense: EnergyReport
    silent: EnergyReport
    rate: float
    break_even_rate: float | None

    @property
    def notes(self) -> list[str]:
        """What limits the answer."""
        return [*self.spiking.notes, *self.dense.notes]

    @property
    def summary(self) -> str:
        """The answer in one sentence."""
        a, b = self.spiking, self.dense
        now = f"{a.name} takes {a.total_text} at a rate of {self.rate:.3g}, {b.name} {b.total_text}"
        if self.break_even_rate is None:
            return f"{now}; even silent it would take more, {self.silent.total_text}."
        if self.break_even_rate > 1:
            return f"{now}; it would take less even where every neuron always fires."
        return f"{now}; both would take the same at a rate of {self.break_even_rate:.3g}."

    @property
    def rows(self) -> pd.DataFrame:  # type: ignore[override]
        """Both models in one row, with what they take and the rates."""
        return pd.DataFrame(
            {
                "spiking": [self.spiking.name],
                "dense": [self.dense.name],
                "spiking_pj": [self.spiking.total_pj],
                "silent_pj": [self.silent.total_pj],
                "dense_pj": [self.dense.total_pj],
                "rate": [self.rate],
                "break_even_rate": [
                    math.nan if self.break_even_rate is None else self.break_even_rate
                ],
            }
        )

    def shown(self) -> pd.DataFrame:
        """The row as text."""
        even = self.break_even_rate
        cells = {
            "Spiking": self.spiking.name,
            "Dense": self.dense.name,
            "Energy": self.spiking.total_text,
            "If silent": self.silent.total_text,
            "Dense energy": self.dense.total_text,
            "Rate now": format_share(self.rate),
            "Break-even": "never" if even is None else format_share(even),
        }
        return pd.DataFrame([cells])


def break_even(
    spiking: Facts,
    dense: Facts,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    dense_memory: str | None = None,
) -> BreakEven:
    """Finds the firing rate at which a spiking model takes the energy of its dense twin.

    Use it to say how far a spiking model is from paying, or from not paying any more.

    Args:
        spiking: With accumulates, or there is no rate to vary.
        dense: What it is set against, under the same prices.
        technology: Constants to price with.
        convention: Reading of the facts of both.
        precision: Number format that is priced.
        memory: Memory model of both, None for arithmetic alone.
        dense_memory: That of the dense twin, where its widths or reuse are others.

    Raises:
        AnalyzerError: Where no operation of the first is driven by spikes, or an energy is only a
            lower bound.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> ann = analyzer.from_rates(
        ...     table | {"dense_macs": [250, 25], "firing_rate": [1, 1]}, name="ann"
        ... )
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> print(analyzer.break_even(snn, ann, convention="rate").summary)
        snn takes 640 pJ at a rate of 0.2, ann 1.27 nJ; both would take the same at a rate of 0.894.
    """
    silent = price(spiking, technology, convention, precision, memory, activity=0)
    ours = price(spiking, technology, convention, precision, memory)
    theirs = price(dense, technology, convention, precision, dense_memory or memory)
    return between(ours, silent, theirs)


def between(ours: EnergyReport, silent: EnergyReport, theirs: EnergyReport) -> BreakEven:
    """The break-even of a spiking model, as it is and with no neuron firing, and a dense one."""
    for report in (ours, theirs):
        if report.is_lower_bound:
            raise AnalyzerError(
                f"there is no break-even with a lower bound: {' '.join(report.notes)}"
            )
    rate, even = rates(ours, silent, theirs.total_pj)
    if math.isnan(even):
        raise AnalyzerError(
            f"profile {ours.name!r} has no accumulates under {ours.convention.name!r}, so no rate "
            "to vary: it takes a spiking model here, and its dense twin in the other place."
        )
    return BreakEven(ours, theirs, silent, rate, None if even < 0 else even)


def rates(
    ours: EnergyReport, silent: EnergyReport, dense_pj: float, fixed_pj: float = 0.0
) -> tuple[float, float]:
    """The share of dense work that spikes cause now, and that at which both would take the same.

    Args:
        ours: The spiking model as it is.
        silent: The same with no neuron firing.
        dense_pj: What the dense model takes, NaN where that is not known.
        fixed_pj: What the spiking model takes beside, whatever fires.

    Returns:
        Both; the second is minus infinity where even silence takes more, and NaN where nothing
        that spikes cause takes energy, or the dense model's is not known.
    """
    driven = ours.table[ours.table["is_driven"]]
    work, by_spikes = float(driven["dense_macs"].sum()), ours.total_pj - silent.total_pj
    rate = float(driven["ac"].sum()) / work if work else math.nan
    left = dense_pj - silent.total_pj - fixed_pj
    if not by_spikes or math.isnan(left):
        return rate, math.nan
    return rate, rate * left / by_spikes if left >= 0 else -math.inf
