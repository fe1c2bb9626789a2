"""What the page offers to price with: technologies, precisions, conventions and memory models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyzer.energy.declared.convention import convention, conventions
from analyzer.energy.declared.memory import (
    CHOICES,
    SETTINGS,
    TEXTS,
    MemoryModel,
    memory_model,
    memory_models,
)
from analyzer.energy.declared.technology import Technology, technologies, technology
from analyzer.energy.explaining.sensitivity import changed, current, ranges
from analyzer.energy.pricing.precision import prices
from analyzer.errors import AnalyzerError
from analyzer.specs import split

__all__ = ["WIDTHS", "Class", "called", "convention_facts", "memory_facts", "memory_models_of",
           "technology_facts"]  # fmt: skip

WIDTHS = (8, 16, 32)
"""Widths that are offered where the price of a memory depends on its size."""

_INTEGERS = ("w8a8", "w4a8", "w4a4")
"""Integer precisions that are offered beside the number formats of a technology."""

Class = tuple[bool, float | None]
"""What decides the price of a multiply-accumulate: whether a row is a layer, and its weights' width
where they are integers."""


def called(spec: str) -> str:
    """What the page calls a technology, convention or memory model: of a file, no folders."""
    name, _ = split(spec)
    return f"{Path(name).name}{spec[len(name) :]}" if name.endswith(".toml") else spec


def technology_facts(
    own: str, precision: str, classes: Sequence[Class], dtypes: Sequence[str]
) -> list[dict[str, Any]]:
    """Every technology with its prices, that of the report first."""
    names = list(dict.fromkeys([own, *technologies()]))
    return [_technology(name, precision, classes, dtypes) for name in names]


def _technology(
    spec: str, precision: str, classes: Sequence[Class], dtypes: Sequence[str]
) -> dict[str, Any]:
    tech = technology(spec)
    formats = tech.formats()
    if formats != ["any"]:
        formats = list(dict.fromkeys([*formats, *_INTEGERS, precision]))
    found = {p: cost for p in formats if (cost := _cost(tech, p, classes, dtypes)) is not None}
    model = MemoryModel("", "", "", "")
    reads = tech.sections.get("memory_pj", {}).keys() | tech.sections.get("memory_pj_per_bit", {})
    update = tech.sections.get("neuron_pj")
    doubts = [
        {"constant": key, "value": value, "now": current(key, tech, None)} | _patch(
            changed(tech, key, value), found, classes, dtypes, key
        )
        for key, values in ranges(tech, None).items() for value in values
    ]  # fmt: skip
    return {
        "spec": called(spec),
        "name": tech.name,
        "title": tech.title,
        "source": tech.source,
        "includes": tech.includes,
        "confidence": tech.confidence,
        "multiplies": tech.multiplies,
        "circuit": bool(tech.add_pj),
        "precisions": found,
        "memories": {name: model.level(name, tech).pj_per_bit for name in sorted(reads)},
        "update": next(iter(update.values())) if update else None,
        "doubts": doubts,
        "figures": [
            [f.section.partition("_pj")[0], f.key, f.value, f.unit, f.low, f.high]
            for f in tech.figures
        ],
    }


def _cost(
    tech: Technology, precision: str, classes: Sequence[Class], dtypes: Sequence[str]
) -> dict[str, Any] | None:
    """The prices of one precision; of ``auto`` those of each number format; None without any."""
    if precision == "auto":
        each = {dtype: _cost_of(tech, precision, classes, dtype) for dtype in dtypes}
        known = {dtype: cost for dtype, cost in each.items() if cost is not None}
        return {"by_format": known} if known else None
    return _cost_of(tech, precision, classes, "")


def _cost_of(
    tech: Technology, precision: str, classes: Sequence[Class], dtype: str
) -> dict[str, Any] | None:
    rows = _representatives(classes)
    try:
        cost = prices(tech, precision, rows, dtype)
    except AnalyzerError:
        return None
    return {
        "precision": cost.precision,
        "ac": cost.ac_pj,
        "mac": [float(pj) for pj in cost.mac_pj],
        "names": _names(tech, precision, rows, dtype),
        "multiply": cost.multiply_pj,
        "multiply_is_mac": not tech.add_pj,
        "between": cost.between,
    }


def _names(tech: Technology, precision: str, rows: pd.DataFrame, dtype: str) -> list[str | None]:
    """What tables call the price of a multiply-accumulate of each class; None where it has none."""
    if not tech.multiplies:
        return [None] * len(rows)
    single = [prices(tech, precision, rows.iloc[[i]], dtype).constants for i in range(len(rows))]
    return [next(key for key in found if key.startswith("mac")) for found in single]


def _representatives(classes: Sequence[Class]) -> pd.DataFrame:
    """A row of each class, as prices read them."""
    return pd.DataFrame(
        {
            "module": "a layer",
            "op": "linear",
            "input_class": "real",
            "weight_elements": [int(layer) for layer, _ in classes],
            "weight_bits": [float("nan") if bits is None else bits for _, bits in classes],
            "mac": 1.0,
        }
    )


def _patch(
    tech: Technology,
    found: dict[str, Any],
    classes: Sequence[Class],
    dtypes: Sequence[str],
    key: str,
) -> dict[str, Any]:
    """What another value of a constant changes: prices by precision, or those of a memory."""
    section, _, name = key.rpartition(".")
    if section.startswith("memory"):
        level = MemoryModel("", "", "", "").level(name, tech)
        return {"memories": {name: level.pj_per_bit}}
    costs = {p: _cost(tech, p, classes, dtypes) for p in found}
    return {"precisions": {p: cost for p, cost in costs.items() if cost != found[p]}}


def convention_facts(own: str) -> list[dict[str, Any]]:
    """Every convention in words, that of the report first."""
    names = list(dict.fromkeys([own, *conventions()]))
    return [
        {
            "spec": called(name),
            "name": c.name,
            "title": c.title,
            "source": c.source,
            "confidence": c.confidence,
            "summary": c.summary,
            "special": c.special_multiplies if c.elementwise == "priced" else None,
        }
        for name in names
        for c in (convention(name),)
    ]


def memory_models_of(own: str | None) -> dict[str, MemoryModel]:
    """Every memory model by what names it, that of the report first."""
    names = ([own] if own else []) + list(memory_models())
    return {name: memory_model(name) for name in dict.fromkeys(names)}


_WIDTHS = ("weight_bits", "activation_bits", "spike_bits", "state_bits")


def memory_facts(spec: str, model: MemoryModel) -> dict[str, Any]:
    """A memory model with its settings, levels and ranges."""
    sized = {name for name, level in model.levels.items() if level.pj_per_bit is None}
    doubts = ranges(Technology("", "", ""), model)
    return {
        "spec": called(spec),
        **{key: getattr(model, key) for key in TEXTS},
        "settings": {key: getattr(model, key) for key in SETTINGS},
        "choices": {key: list(words) for key, words in CHOICES.items()},
        "widths": {key: _widths(model, key) for key in _WIDTHS} if sized else {},
        "levels": {name: level.pj_per_bit for name, level in model.levels.items()},
        "doubts": [
            {"constant": key, "values": list(values)} for key, values in doubts.items()
        ],
        "figures": [
            [f.section, f.key, f.value, f.unit, f.low, f.high] for f in model.figures
        ],
    }  # fmt: skip


def _widths(model: MemoryModel, key: str) -> list[int]:
    """Widths whose prices are embedded: the usual ones, its own, and those of its ranges."""
    return sorted({*WIDTHS, getattr(model, key), *model.range.get(key, ())} - {0})
