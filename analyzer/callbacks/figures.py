"""From a profile to figures by name, as loggers of trainings take them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from analyzer.energy.declared.convention import convention as convention_of
from analyzer.energy.declared.memory import memory_model
from analyzer.energy.declared.technology import technology as technology_of
from analyzer.energy.pricing.precision import prices
from analyzer.energy.pricing.report import EnergyReport
from analyzer.profiles import Profile
from analyzer.units import MJ_PER_PJ

__all__ = ["Figures", "check_prices", "figures_of"]

Figures = dict[str, float]
"""Figures by name."""


def check_prices(convention: str, technology: str, precision: str, memory: str | None) -> None:
    """Refuses what no profile could be priced with.

    Raises:
        AnalyzerError: Where a name is not known, or the technology has no price in that format.
    """
    convention_of(convention)
    constants = technology_of(technology)
    if precision != "auto":  # which the model tells, once it ran
        texts = dict.fromkeys(("module", "op", "input_class"), pd.Series(dtype="str"))
        numbers = ("weight_elements", "weight_bits", "mac")
        none = pd.DataFrame(texts | dict.fromkeys(numbers, pd.Series(dtype="float64")))
        prices(constants, precision, none, "")
    if memory is not None:
        memory_model(memory)


def figures_of(profile: Profile, report: EnergyReport, prefix: str, *, layers: bool) -> Figures:
    """The figures of one probe, per sample.

    What is not known is left out: models without spiking neurons have no firing rate.

    Args:
        profile: What was counted.
        report: Its AC, MAC and energy.
        prefix: What all names begin with, and a slash.
        layers: Whether to add AC, MAC and energy of each module.

    Returns:
        ``ac``, ``mac`` and ``energy_mj`` of one sample; where layers spike, ``firing_rate`` (spikes
        per neuron, timestep and sample), ``silent_layers`` (how many never fired) and of each layer
        ``rate/<module>`` and ``silent/<module>`` (1 where it never fired, else 0); and
        ``layer_ac/``, ``layer_mac/`` and ``layer_energy_mj/<module>``. MLflow keeps names as paths
        of files, so none is a folder of another, and modules are named in letters that it takes.
    """
    table = report.table
    found: Figures = {
        "ac": float(table["ac"].sum()),
        "mac": float(table["mac"].sum()),
        "energy_mj": report.total_mj,
    }
    sent = profile.sent or ()
    places = _places([*table["module"], *(s.module for s in sent)])
    spiking = [s for s in sent if s.outputs and not s.values.real]
    if spiking:
        silent = set(profile.silent_layers)
        found["firing_rate"] = sum(s.nonzeros for s in spiking) / sum(s.outputs for s in spiking)
        found["silent_layers"] = len(silent)
        for s in spiking:
            found[f"rate/{places[s.module]}"] = s.nonzeros / s.outputs
            found[f"silent/{places[s.module]}"] = int(s.module in silent)
    if layers:
        sums = table.groupby("module", sort=False)[["ac", "mac", "total_pj"]].sum()
        for path, row in sums.iterrows():
            place = places[str(path)]
            found[f"layer_ac/{place}"] = float(row["ac"])
            found[f"layer_mac/{place}"] = float(row["mac"])
            found[f"layer_energy_mj/{place}"] = float(row["total_pj"]) * MJ_PER_PJ
    return {f"{prefix}/{name}": value for name, value in found.items()}


def _places(modules: Iterable[str]) -> dict[str, str]:
    """What each module is called: as its path where loggers take that, and ``model`` for the root.

    No two are called the same, whatever they are called in the model.
    """
    called = {module: re.sub(r"[^\w. -]", "_", module) or "model" for module in modules}
    taken: set[str] = set()
    for module in sorted(called, key=lambda module: (called[module] != module, module)):
        while called[module] in taken:
            called[module] += "_"
        taken.add(called[module])
    return called
