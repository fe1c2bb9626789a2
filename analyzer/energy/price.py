"""profile × convention × technology → energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyzer.energy.convention import Convention, convention
from analyzer.energy.technology import Technology, technology
from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile
from analyzer.tabular import to_html, to_latex, to_markdown
from analyzer.units import MJ_PER_PJ, format_energy_pj, format_si

__all__ = ["EnergyReport", "price"]

_ALIGN = "lllrrr"


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Energy of one inference, row by row.

    Attributes:
        name: Name of the profile.
        samples: Samples that the figures are a mean over.
        table: One row per module, operation and input class with ``ac`` and ``mac`` and the
            picojoules ``ac_pj``, ``mac_pj`` and ``total_pj``, all per sample; and the ``reason``
            that the convention reads it so, with ``is_driven``.
        technology: The constants used.
        convention: The reading used.
        precision: Number format that was priced.
        measured: Number format that the model computed in, empty where it is not known.
        uncovered: Operations that no rule covers; with any, all figures are lower bounds.
        timesteps: Timesteps of one inference, None where they are not known.
        above_one: Modules whose published firing rate is above 1.
        untrained: Whether nobody trained the weights.
    """

    name: str
    samples: int
    table: pd.DataFrame
    technology: Technology
    convention: Convention
    precision: str = "fp32"
    measured: str = ""
    uncovered: tuple[str, ...] = ()
    timesteps: int | None = None
    above_one: tuple[str, ...] = ()
    untrained: bool = False

    @property
    def total_pj(self) -> float:
        """Energy per sample in picojoules."""
        return float(self.table["total_pj"].sum())

    @property
    def total_mj(self) -> float:
        """Energy per sample in millijoules."""
        return self.total_pj * MJ_PER_PJ

    @property
    def constants(self) -> Mapping[str, float]:
        """The prices used, in picojoules."""
        prices = {"ac_pj": self.technology.ac_pj(self.precision)}
        if self.technology.multiplies:
            prices["mac_pj"] = self.technology.mac_pj(self.precision)
        return prices

    @property
    def unpriced_macs(self) -> float:
        """Multiply-accumulates per sample that the technology has no price of."""
        return 0.0 if self.technology.multiplies else float(self.table["mac"].sum())

    @property
    def spikes_per_synapse(self) -> float:
        """Accumulates per synapse and inference, over all layers with weights that spikes drive.

        Synapses are the dense connections of one timestep, a convolution's written out. Break-even
        with a dense network was put at 1.72 (Davidson & Furber 2021) and at 0.15 to 1.38
        (Dampfhoffer et al. 2023; both read in copies). NaN where nothing drives or T is unknown.
        """
        rows = self.table[self.table["is_driven"] & (self.table["weight_elements"] > 0)]
        synapses = float(rows["dense_macs"].sum()) / self.timesteps if self.timesteps else 0.0
        return float(rows["ac"].sum()) / synapses if synapses else float("nan")

    @property
    def total_text(self) -> str:
        """Energy per sample in words, marked where it is a lower bound."""
        bound = "≥ " if self.uncovered or self.unpriced_macs else ""
        return f"{bound}{format_energy_pj(self.total_pj)}"

    @property
    def notes(self) -> list[str]:
        """What limits the figures, one sentence each; every summary shows them."""
        found = []
        if self.untrained:
            found.append(f"{self.name}: its weights are untrained, so its activity means little.")
        if self.uncovered:
            names = ", ".join(self.uncovered)
            found.append(f"{self.name}: no rule covers {names}, so its figures are lower bounds.")
        if self.unpriced_macs:
            found.append(
                f"{self.name}: {self.technology.title} has no multiply-accumulate, so "
                f"{format_si(self.unpriced_macs)} of them are not priced and its energy is a lower "
                "bound."
            )
        if self.above_one:
            found.append(
                f"{self.name}: {self.above_one[0] or '(model)'} has a firing rate above 1: is "
                "it in percent?"
            )
        for what in (self.technology, self.convention):
            if what.confidence == "C":
                found.append(
                    f"{what.name}: its figures or rules were read in one secondary copy only."
                )
        circuit = bool(self.technology.add_pj)
        if circuit and self.measured and self.measured != self.precision.replace("fp", "float"):
            found.append(f"{self.name}: priced as {self.precision}, measured in {self.measured}.")
        return found

    def to_latex(self) -> str:
        """The table for a paper (booktabs)."""
        return to_latex(self._shown(), caption=self._caption(), align=_ALIGN)

    def to_markdown(self) -> str:
        """The table for a README or an issue."""
        return f"{to_markdown(self._shown(), align=_ALIGN)}\n\n{self._caption()}\n"

    def _repr_html_(self) -> str:
        return to_html(self._shown(), caption=self._caption())

    def __repr__(self) -> str:
        return f"EnergyReport({self._caption()})"

    @property
    def basis(self) -> str:
        """What the prices rest on, in words."""
        prices = ", ".join(f"{v:g} pJ/{k[:-3].upper()}" for k, v in self.constants.items())
        return (
            f"{self.technology.name} {self.precision} ({prices}), convention {self.convention.name}"
        )

    def _caption(self) -> str:
        head = f"{self.name}: {self.total_text} per sample, mean over {self.samples}; {self.basis}."
        return " ".join([head, *self.notes])

    def _shown(self) -> pd.DataFrame:
        rows = self.table
        shown: dict[str, Any] = {
            "module": rows["module"].replace("", "(model)"),
            "op": rows["op"],
            "input": rows["input_class"],
            "AC": rows["ac"].map(format_si),
            "MAC": rows["mac"].map(format_si),
            "energy": rows["total_pj"].map(format_energy_pj),
        }
        return pd.DataFrame(shown)


def price(
    profile: Profile, technology_name: str, convention_name: str, precision: str = "fp32"
) -> EnergyReport:
    """Prices a profile per sample.

    Energy of a row is ``ac · E_add + mac · (E_multiply + E_add)`` in picojoules.
    """
    chosen = technology(technology_name)
    precision = precision if chosen.add_pj else "any"  # format: of chips and processors
    reading = convention(convention_name)
    if not profile.samples:
        raise AnalyzerError(f"profile {profile.name!r} holds no sample: there is nothing to price.")
    rows = profile.operations(convention_name, reasons=True)
    totals = [str(c) for c in rows.select_dtypes("number") if not str(c).startswith("weight")]
    per_sample = rows.assign(**{column: rows[column] / profile.samples for column in totals})
    ac_pj = per_sample["ac"] * chosen.ac_pj(precision)
    mac_pj = per_sample["mac"] * chosen.mac_pj(precision)
    table = per_sample.assign(ac_pj=ac_pj, mac_pj=mac_pj, total_pj=ac_pj + mac_pj)
    return EnergyReport(
        name=profile.name,
        samples=profile.samples,
        table=table,
        technology=chosen,
        convention=reading,
        precision=precision,
        measured=profile.metadata.get("dtype") or "",
        uncovered=tuple(sorted({tally.op for tally in profile.uncounted})),
        timesteps=profile.metadata.get("timesteps"),
        above_one=tuple(s.module for s in profile.shapes if (s.rate or 0) > 1),
        untrained=str(profile.metadata.get("weights", "")).startswith("untrained"),
    )
