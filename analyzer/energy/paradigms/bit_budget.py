"""The bit budget after Shen et al.: work weighted with the widths of its two factors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from analyzer.energy.answer import Told
from analyzer.energy.declared.convention import is_layer, read
from analyzer.energy.pricing.rows import split
from analyzer.errors import AnalyzerError, refuse_unless_whole
from analyzer.facts.protocol import Facts
from analyzer.tabular import distinct
from analyzer.units import format_ratio, format_si

__all__ = ["BitBudget", "bit_budget"]

_SOURCE = "Shen et al., CVPR 2024 (bit budget, S-ACE and NS-ACE)"


@dataclass(frozen=True, eq=False, repr=False)
class BitBudget(Told):
    """Networks by their bit budget: what :func:`analyzer.bit_budget` returns.

    Attributes:
        rows: One row a model: its ``timesteps`` T, the ``budget`` T·b_w·b_s, and ``s_ace`` and
            ``ns_ace`` per sample, each with its ratio to the first model (``s_ratio``,
            ``ns_ratio``).
        weight_bits: Width of a weight, b_w.
        spike_bits: Width of a spike, b_s.
        activation_bits: Width of any other activation.
    """

    stem = "bit-budget"
    words = frozenset({"Model"})

    rows: pd.DataFrame
    weight_bits: int
    spike_bits: int
    activation_bits: int

    @property
    def summary(self) -> str:
        """The widths, in words."""
        return (
            f"{self.weight_bits}-bit weights, {self.spike_bits}-bit spikes, "
            f"{self.activation_bits}-bit activations that are no spikes."
        )

    @property
    def notes(self) -> list[str]:
        """What the figures are."""
        return [
            "S-ACE: multiply-accumulates of all timesteps, each times the widths of its two "
            "factors. NS-ACE: those that spikes drive also times their firing rate.",
            "The bit budget is of spikes where any drive an operation; what reads no spikes counts "
            "with the width of activations. Spikes of several levels need several bits.",
            f"Source: {_SOURCE}. Products of two activations have the widths of both; the source "
            "has layers with weights alone.",
        ]

    def shown(self) -> pd.DataFrame:
        """The rows as text."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Model": rows["model"],
                "T": [f"{t:g}" if pd.notna(t) else "–" for t in rows["timesteps"]],
                "Bit budget": [f"{b:g}" if pd.notna(b) else "–" for b in rows["budget"]],
                "S-ACE": rows["s_ace"].map(format_si),
                "Ratio": rows["s_ratio"].map(format_ratio),
                "NS-ACE": rows["ns_ace"].map(format_si),
                "Ratio ": rows["ns_ratio"].map(format_ratio),
            }
        )


def bit_budget(
    profiles: Facts | Iterable[Facts],
    *,
    weight_bits: int = 8,
    spike_bits: int = 1,
    activation_bits: int = 8,
) -> BitBudget:
    """Weights work with the widths of its factors, as quantised spiking networks are compared.

    With T timesteps, weights of b_w bits and spikes of b_s bits the bit budget is BB = T·b_w·b_s.
    S-ACE = Σ n·BB sums it over the multiply-accumulates n of a timestep, and NS-ACE = Σ r·n·BB
    weighs them with the firing rate r. It is no energy: on FPGAs, energy a synapse is about linear
    in BB, with a slope of its own.

    Args:
        profiles: One or more; the others are set against the first.
        weight_bits: b_w.
        spike_bits: b_s, more than 1 where spikes carry levels.
        activation_bits: Width of activations that nothing drives, such as those of a dense model.

    Raises:
        AnalyzerError: Where there is no profile, one holds no rates, or a width can not be.

    Example:
        >>> import analyzer
        >>> table = {"module": ["fc"], "op": ["linear"], "dense_macs": [400], "driven": [1]}
        >>> snn = analyzer.from_rates(table | {"firing_rate": [0.1]}, name="snn")
        >>> analyzer.bit_budget([snn], weight_bits=4).rows[["s_ace", "ns_ace"]].values.tolist()
        [[1600.0, 160.0]]
    """
    widths = {"weight_bits": weight_bits, "spike_bits": spike_bits}
    for name, bits in (widths | {"activation_bits": activation_bits}).items():
        refuse_unless_whole(name, bits)
    alone = hasattr(profiles, "rows")
    given = [cast("Facts", profiles)] if alone else list(cast("Iterable[Facts]", profiles))
    if not given:
        raise AnalyzerError("give at least one profile.")
    found = []
    for profile, name in zip(given, distinct([p.name for p in given]), strict=True):
        if not profile.samples:
            raise AnalyzerError(f"profile {name!r} holds no sample.")
        steps = profile.metadata.get("timesteps")
        rows = read(split(profile.rows)[0].reset_index(drop=True), "rate", name)
        left = np.where(rows["left_driven"], spike_bits, activation_bits)
        right = np.where(rows["right_driven"], spike_bits, activation_bits)
        both = left * np.where(is_layer(rows), weight_bits, right)
        dense = rows["dense_macs"].to_numpy("float64")
        rated = (rows["ac"] + rows["mac"]).to_numpy("float64")
        of_spikes = spike_bits if rows["is_driven"].any() else activation_bits
        found.append(
            {
                "model": name,
                "timesteps": steps,
                "budget": (steps or np.nan) * weight_bits * of_spikes,
                "s_ace": float(dense @ both) / profile.samples,
                "ns_ace": float(rated @ both) / profile.samples,
            }
        )
    table = pd.DataFrame(found)
    for kind in ("s", "ns"):
        first = table[f"{kind}_ace"].iloc[0] or np.nan
        table[f"{kind}_ratio"] = table[f"{kind}_ace"] / first
    return BitBudget(table, weight_bits, spike_bits, activation_bits)
