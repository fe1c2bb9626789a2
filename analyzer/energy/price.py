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


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Energy of one inference, row by row.

    Attributes:
        name: Name of the profile.
        samples: Samples that the figures are a mean over.
        table: One row per module, operation and input class with ``ac`` and ``mac`` and the
            picojoules ``ac_pj``, ``mac_pj`` and ``total_pj``, all per sample.
        technology: The constants used.
        convention: The reading used.
        precision: Number format that was priced.
    """

    name: str
    samples: int
    table: pd.DataFrame
    technology: Technology
    convention: Convention
    precision: str = "fp32"

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
        return {
            "ac_pj": self.technology.ac_pj(self.precision),
            "mac_pj": self.technology.mac_pj(self.precision),
        }

    def to_latex(self) -> str:
        """The table for a paper (booktabs)."""
        return to_latex(self._shown(), caption=self._caption())

    def to_markdown(self) -> str:
        """The table for a README or an issue."""
        return f"{to_markdown(self._shown())}\n\n{self._caption()}\n"

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
        energy = format_energy_pj(self.total_pj)
        return f"{self.name}: {energy} per sample, mean over {self.samples}; {self.basis}."

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
    reading = convention(convention_name)
    if not profile.samples:
        raise AnalyzerError(f"profile {profile.name!r} holds no sample: there is nothing to price.")
    rows = profile.operations(convention_name)
    totals = [str(c) for c in rows.select_dtypes("int64") if not str(c).startswith("weight")]
    per_sample = rows.assign(**{column: rows[column] / profile.samples for column in totals})
    ac_pj = per_sample["ac"] * chosen.ac_pj(precision)
    mac_pj = per_sample["mac"] * chosen.mac_pj(precision)
    table = per_sample.assign(ac_pj=ac_pj, mac_pj=mac_pj, total_pj=ac_pj + mac_pj)
    return EnergyReport(profile.name, profile.samples, table, chosen, reading, precision)
