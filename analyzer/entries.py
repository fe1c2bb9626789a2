"""Prices the profiles of a report or figure once, for all its tables and panels.

Every part of a report reads the :class:`Entry` objects that :func:`collect` returns, so that they
agree on names, prices and order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd

from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.errors import AnalyzerError
from analyzer.facts.sent import in_words
from analyzer.profiles import Profile
from analyzer.tabular import distinct

__all__ = [
    "Entry",
    "clean",
    "collect",
    "data_of",
    "module_name",
    "named_apart",
    "shown",
    "spikes_in_words",
    "spiking_steps",
]


@dataclass(frozen=True, eq=False)
class Entry:
    """One profile of a report with its energy.

    Attributes:
        name: Unique in the report, printable.
        profile: The profile under that name.
        priced: Its energy.
        layers: Rows of ``priced.table`` with ``firing_rate`` (NaN if the row read nothing).
        steps: Activity per module and timestep of the layers that read spikes, None if the profile
            has no time axis or no such layer.
    """

    name: str
    profile: Profile
    priced: EnergyReport
    layers: pd.DataFrame
    steps: pd.DataFrame | None

    @property
    def notes(self) -> list[str]:
        """What limits the energies, one printable sentence each."""
        return [clean(note) for note in self.priced.notes]

    @property
    def spikes(self) -> str:
        """How much its spiking layers fire, and which never do; empty where nothing says."""
        return spikes_in_words(self.profile)

    @property
    def moves_pj(self) -> dict[str, float]:
        """Energy per sample in pJ of all but the arithmetic of layers, by column; without zeros."""
        parts = self.priced.components
        return {component: parts[component] for component in COMPONENTS if parts.get(component)}

    @property
    def mac_share(self) -> float | None:
        """Share of the energy that multiply-accumulates take; None if the energy is zero."""
        total = self.priced.total_pj
        return self.priced.components["mac_pj"] / total if total else None


def collect(
    profiles: Sequence[Profile],
    technology: str,
    convention: str,
    precision: str = "fp32",
    memory: str | None = None,
) -> tuple[Entry, ...]:
    """Prices profiles for a report.

    Of several profiles with one name, the later ones become ``name (2)`` and so on.

    Raises:
        AnalyzerError: If there are no profiles, or a name is unknown.
    """
    if not profiles:
        raise AnalyzerError("nothing to report: give at least one profile.")
    return tuple(
        _entry(profile, profile.energy(technology, convention, precision, memory))
        for profile in named_apart(profiles)
    )


def named_apart(profiles: Sequence[Profile]) -> list[Profile]:
    """The profiles under printable names; of one name the later ones become ``name (2)`` and on."""
    names = distinct([clean(profile.name) or "model" for profile in profiles])
    return [
        replace(profile, metadata={**profile.metadata, "name": name})
        for profile, name in zip(profiles, names, strict=True)
    ]


def spikes_in_words(profile: Profile) -> str:
    """How much the spiking layers of a profile fire, and which never do; empty if unknown."""
    return clean(in_words(profile.sent or ()))


def clean(text: object) -> str:
    """Text on one line without control characters, which XML and LaTeX do not allow."""
    return _cleaned(str(text))


def module_name(module: object) -> str:
    """The path of a module, printable; that of the model itself is empty, and gets a name."""
    return clean(module) or "(model)"


@lru_cache(maxsize=1 << 14)  # a report of many models asks for each of its texts many times
def _cleaned(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shown(value: Any) -> str:
    """A metadata value as text; a dash if it is missing."""
    if value is None or value in ("", [], {}, ()):
        return "–"
    if isinstance(value, Mapping) and "text" in value:
        return clean(value["text"])
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(k)} {clean(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(clean(v) for v in value)
    return clean(value)


def data_of(entries: Sequence[Entry]) -> str:
    """The data that profiles were measured on, for captions; once if it is the same for all."""
    seen = [
        (shown(e.profile.metadata.get("data")).replace("–", "data not recorded"), e.profile.samples)
        for e in entries
    ]
    phrases = [f"{data}, {n} {'sample' if n == 1 else 'samples'}" for data, n in seen]
    if len(set(phrases)) == 1:
        return phrases[0] + (" each" if len(entries) > 1 else "")
    most, times = Counter(phrases).most_common(1)[0]
    usual = most if times > 1 else None
    odd = [f"{e.name}: {text}" for e, text in zip(entries, phrases, strict=True) if text != usual]
    return "; ".join([*odd, *([f"all others: {usual} each"] if usual else [])])


def _entry(profile: Profile, priced: EnergyReport) -> Entry:
    rows = priced.table.drop(columns=["is_driven"])
    whole = [c for c in rows if str(rows[c].dtype) in ("Int64", "Float64")]
    # A profile of shapes alone has missing activity; as floats it is NaN.
    rows = rows.astype(dict.fromkeys(whole, "float64"))
    read = rows["input_elements"].where(rows["input_elements"] > 0)
    modules = rows["module"].map(module_name).astype("str")
    layers = rows.assign(module=modules, firing_rate=rows["input_nonzeros"] / read)
    return Entry(profile.name, profile, priced, layers, spiking_steps(profile))


def spiking_steps(profile: Profile) -> pd.DataFrame | None:
    """Activity per module and timestep of the layers that read spikes alone, printable.

    Returns:
        The rows of ``profile.sparsity("timestep")``; None if there is no time axis, or no such
        layer.
    """
    try:
        steps = profile.sparsity("timestep")
    except AnalyzerError:  # the profile has no time axis
        return None
    counts = profile.counts
    real = counts["input_class"].astype("str").str.contains("real")
    steps = steps[~steps["module"].isin(counts.loc[real, "module"])]
    named = steps.assign(module=steps["module"].map(module_name).astype("str"))
    return None if named.empty else named
