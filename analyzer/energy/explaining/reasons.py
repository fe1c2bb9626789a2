"""Why a layer takes another energy than before: its parts in words, with the figures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyzer.units import format_energy_pj, format_share, format_si

__all__ = ["reason_of"]

_MENTIONED = 0.1
"""A part is mentioned where it is at least this share of the largest."""

_ROUNDING = 1e-9
"""A part that is smaller than this share of the energy is one of rounding."""


def reason_of(row: pd.Series[Any]) -> str:
    """What moved a layer, the largest part first."""
    if not (row["in_a"] and row["in_b"]):
        return "only in the first" if row["in_a"] else "only in the second"
    parts = {str(c).removesuffix("_pj"): float(row[c]) for c in row.index if str(c).endswith("_pj")}
    parts.pop("difference")
    least = _ROUNDING * max(row["energy_pj_a"], row["energy_pj_b"])
    parts = {name: pj for name, pj in parts.items() if abs(pj) > least}
    if not parts:
        return "the same"
    largest = max(map(abs, parts.values()))
    ranked = sorted(parts, key=lambda name: -abs(parts[name]))
    said = [_said(name, row, parts) for name in ranked if abs(parts[name]) >= _MENTIONED * largest]
    return "; ".join(said)


def _said(name: str, row: pd.Series[Any], parts: dict[str, float]) -> str:
    dense = [row["dense_macs_a"], row["dense_macs_b"]]
    if name == "activity":
        shares = [
            format_share(ops / work) if work else "0 %"
            for ops, work in zip(_operations(row), dense, strict=True)
        ]
        same = "of the same dense work" if dense[0] == dense[1] else "of the dense work"
        what = "spikes cause" if row["ac_b"] or row["ac_a"] else "it does"
        return f"{what} {shares[1]} instead of {shares[0]} {same}"
    if name == "classes":
        return _of_classes(row)
    if name == "timesteps":
        times = f"{row['runs_b']:g} time{'' if row['runs_b'] == 1 else 's'}"
        runs = f"it runs {times} an inference instead of {row['runs_a']:g}"
        return f"{runs} (dense work {format_si(dense[0])} → {format_si(dense[1])})"
    if name == "dense_work":
        each = dense
        if "timesteps" in parts:
            each = [work / row[f"runs_{end}"] for work, end in zip(dense, "ab", strict=True)]
        of = " of a run" if "timesteps" in parts else ""
        return f"dense work{of} {format_si(each[0])} → {format_si(each[1])}"
    if name == "convention":
        return f"read otherwise: {row['read_a']} → {row['read_b']}"
    if name == "price":
        each = [
            format_energy_pj(pj / work) if work else "–"
            for pj, work in zip(
                (row["arithmetic_a"], row["arithmetic_b"]), _operations(row), strict=True
            )
        ]
        return f"{each[0]} → {each[1]} an operation"
    what = "element-wise work takes" if name == "elementwise" else "memory takes"
    more = "more" if parts[name] > 0 else "less"
    return f"{what} {format_energy_pj(abs(parts[name]))} {more}"


def _operations(row: pd.Series[Any]) -> tuple[float, float]:
    return row["ac_a"] + row["mac_a"], row["ac_b"] + row["mac_b"]


def _of_classes(row: pd.Series[Any]) -> str:
    """What it reads now, and which kind of operation that makes of it."""
    shares = []
    for end in ("a", "b"):
        operations = row[f"ac_{end}"] + row[f"mac_{end}"]
        shares.append(row[f"mac_{end}"] / operations if operations else 0.0)
    became = ""
    if shares[1] > shares[0]:
        became = ", so AC became MAC"
    elif shares[1] < shares[0]:
        became = ", so MAC became AC"
    before, after = row["input_class_a"], row["input_class_b"]
    if set(before.split(", ")) == set(after.split(", ")):
        macs = [
            format_share(row[f"mac_{end}"] / row[f"dense_macs_{end}"])
            if row[f"dense_macs_{end}"]
            else "0 %"
            for end in ("a", "b")
        ]
        return f"{macs[1]} of its dense work is MAC instead of {macs[0]}"
    return f"reads {after or 'nothing'} instead of {before or 'nothing'}{became}"
