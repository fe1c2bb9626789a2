"""From a profile to figures by name, as loggers of trainings take them."""

from __future__ import annotations

from analyzer.inert import one_line
from analyzer.profiles import Profile
from analyzer.units import MJ_PER_PJ

__all__ = ["Figures", "figures_of"]

Figures = dict[str, float]
"""Figures by name."""


def figures_of(
    profile: Profile,
    prefix: str,
    *,
    convention: str,
    technology: str,
    precision: str,
    memory: str | None,
    layers: bool,
) -> Figures:
    """The figures of one probe, per sample.

    What is not known is left out: models without spiking neurons have no firing rate.

    Args:
        profile: What was counted.
        prefix: What all names begin with, and a slash.
        convention: Reading of the facts, for AC, MAC and energy.
        technology: Constants of the energy.
        precision: Number format that is priced.
        memory: Memory model of the energy; None prices arithmetic alone.
        layers: Whether to add AC, MAC and energy of each module.

    Returns:
        ``ac``, ``mac`` and ``energy_mj`` of one sample; where layers spike, ``firing_rate`` (spikes
        per neuron, timestep and sample), ``silent_layers`` (how many never fired) and of each layer
        ``rate/<module>`` and ``silent/<module>`` (1 where it never fired, else 0); and ``ac/``,
        ``mac/`` and ``energy_mj/<module>``.
    """
    report = profile.energy(technology, convention, precision, memory)
    table = report.table
    found: Figures = {
        "ac": float(table["ac"].sum()),
        "mac": float(table["mac"].sum()),
        "energy_mj": report.total_mj,
    }
    spiking = [s for s in profile.sent or () if s.outputs and not s.values.real]
    if spiking:
        silent = set(profile.silent_layers)
        found["firing_rate"] = sum(s.nonzeros for s in spiking) / sum(s.outputs for s in spiking)
        found["silent_layers"] = len(silent)
        for sent in spiking:
            module = _named(sent.module)
            found[f"rate/{module}"] = sent.nonzeros / sent.outputs
            found[f"silent/{module}"] = int(sent.module in silent)
    if layers:
        sums = table.groupby("module", sort=False)[["ac", "mac", "total_pj"]].sum()
        for path, row in sums.iterrows():
            place = _named(str(path))
            found[f"ac/{place}"] = float(row["ac"])
            found[f"mac/{place}"] = float(row["mac"])
            found[f"energy_mj/{place}"] = float(row["total_pj"]) * MJ_PER_PJ
    return {f"{prefix}/{name}": value for name, value in found.items()}


def _named(module: str) -> str:
    return one_line(module) or "(model)"
