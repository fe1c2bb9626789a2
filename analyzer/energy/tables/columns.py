"""The columns of a comparison: how each is printed, and which are left out first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.units import MJ_PER_PJ, format_bytes, format_ratio, format_share, format_si
from analyzer.units import format_energy_pj as in_pj

__all__ = [
    "COLUMNS", "ENDS", "FIRST_TO_GO", "IF_KNOWN", "MARGINS", "PARTS", "SELDOM", "Column",
]  # fmt: skip


class Column(NamedTuple):
    """How a column is printed: its heading, its cells as text, and the unit of its numbers."""

    heading: str
    text: Callable[[Any], str]
    unit: str = ""


def _energy(mj: float) -> str:
    return in_pj(mj / MJ_PER_PJ)


def _plain(value: Any) -> str:
    return "–" if pd.isna(value) else str(value)


def _with(unit: str) -> Callable[[float], str]:
    return lambda x: "–" if pd.isna(x) else f"{x:.3g}{unit}"


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "model": Column("Model", str),
        "parameters": Column("Parameters", format_si, "count"),
        "timesteps": Column("T", _plain, "whole"),
        "dense_macs": Column("Dense MACs", format_si, "count"),
        "ac": Column("AC", format_si, "count"),
        "mac": Column("MAC", format_si, "count"),
        "compute_mj": Column("Compute", _energy, "mJ"),
        **{
            f"{key.removesuffix('_pj')}_mj": Column(name.capitalize(), _energy, "mJ")
            for key, name in COMPONENTS.items()
        },
        "energy_mj": Column("Energy", _energy, "mJ"),
        "ratio": Column("Ratio", format_ratio, "ratio"),
        "mac_share": Column("MAC share", format_share, "share"),
        "sparsity": Column("Sparsity", format_share, "share"),
        "spikes_per_synapse": Column("Spikes/synapse", _with(""), "ratio"),
        "parameters_bytes": Column("Weights", format_bytes, "bytes"),
        "latency_ms": Column("Latency", _with(" ms"), "ms"),
        "energy_delay_mj_ms": Column("Energy-delay", _with(" mJ·ms"), "mJ·ms"),
        "energy_per_correct_mj": Column("Energy per correct answer", _energy, "mJ"),
        "accuracy": Column("Accuracy", format_share, "share"),
        "samples": Column("Samples", _plain, "whole"),
        "uncovered": Column("Uncovered", _plain, "whole"),
    }
)
"""All columns that can be printed, in the order of tables."""

ENDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ac": ("ac_low", "ac_high"),
        "mac": ("mac_low", "mac_high"),
        "energy_mj": ("energy_low_mj", "energy_high_mj"),
    }
)
"""Columns with the ends of the interval of a mean, where single samples are known."""

MARGINS = "± is half of the 95 % interval of a mean over samples (bootstrap)."

SELDOM = frozenset({"energy_per_correct_mj", "uncovered"})
IF_KNOWN = frozenset({"latency_ms", "energy_delay_mj_ms"})
PARTS = frozenset({"compute_mj", *(f"{key.removesuffix('_pj')}_mj" for key in COMPONENTS)})

FIRST_TO_GO = (
    "samples", "spikes_per_synapse", "energy_delay_mj_ms", "latency_ms", "parameters_bytes",
    "parameters", "mac_share", "dense_macs", "sparsity", "compute_mj", "elementwise_mj",
    "neurons_mj", "addressing_mj", "state_mj", "activations_mj", "weights_mj", "timesteps", "mac",
    "ac", "ratio",
)  # fmt: skip
"""What a narrow terminal leaves out, in this order."""
