"""What the page holds of each model: its facts, and the counts that prices are multiplied with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.declared.memory import MemoryModel
from analyzer.energy.pricing.coefficients import Coefficients, Reading
from analyzer.entries import Entry, clean, module_name
from analyzer.errors import AnalyzerError
from analyzer.facts.records import AXES, Contraction
from analyzer.facts.sparsity import share_of_zeros
from analyzer.report.findings import fixed
from analyzer.report.live.prices import Class, called

__all__ = ["classes_of", "model_facts"]

_ROW = ("calls", "dense_macs", "events", "input_elements", "input_nonzeros", "weight_elements",
        "weight_nonzeros", "outputs", "state_elements")  # fmt: skip
_STEPS = re.compile(r"[\s_-]*\bT\s*=?\s*\d+\b")


class _Columns:
    """Columns of numbers, each kept once."""

    def __init__(self) -> None:
        self.kept: list[list[Any]] = []
        self._seen: dict[bytes, int] = {}

    def add(self, values: Any) -> int:
        """The position of a column; -1 of one that is zero throughout."""
        column = np.asarray(values, dtype=float)
        if not column.any():
            return -1
        key = column.tobytes()
        if key not in self._seen:
            self._seen[key] = len(self.kept)
            self.kept.append([_number(x) for x in column.tolist()])
        return self._seen[key]


def _number(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value.is_integer() else value


def classes_of(found: Sequence[Coefficients]) -> list[Class]:
    """All that decide the price of a multiply-accumulate, over the rows of all models."""
    seen = {each for coefficients in found for each in _classes(coefficients.rows)}
    return sorted(seen, key=lambda c: (c[0], c[1] is not None, c[1] or 0))


def _classes(rows: pd.DataFrame) -> list[Class]:
    bits = rows["weight_bits"].to_numpy("float64", na_value=np.nan)
    return [
        (bool(layer), None if not layer or np.isnan(b) else float(b))
        for layer, b in zip(rows["is_layer"], bits, strict=True)
    ]


def model_facts(
    entry: Entry,
    found: Coefficients,
    classes: Sequence[Class],
    models: Mapping[str, MemoryModel],
    memories: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """All that the page holds of a model."""
    profile, rows, columns = entry.profile, found.rows, _Columns()
    reasons: list[str] = []
    readings = {
        called(name): reading if isinstance(reading, str) else _reading(reading, columns, reasons)
        for name, reading in found.readings.items()
    }
    row_facts = {name: columns.add(rows[name].astype("float64")) for name in _ROW}
    sized = _sized(found, models, memories, columns)
    metadata = profile.metadata
    timesteps = metadata.get("timesteps")
    return {
        "name": entry.name,
        "samples": profile.samples,
        "facts": {
            "parameters": profile.parameters,
            "timesteps": timesteps,
            "sparsity": share_of_zeros(profile.sparsity("module")),
            "parameters_bytes": metadata.get("parameters_bytes"),
            "accuracy": profile.accuracy,
            "latency_ms": profile.latency_ms,
            "uncovered": len(entry.priced.uncovered),
        },
        "dtype": entry.priced.measured,
        "series": clean(_STEPS.sub("", entry.name)),
        "neurons_known": found.knows_neurons,
        "charged": found.charged,
        "unknown_neurons": [clean(m) for m in metadata.get("unknown_neurons") or ()],
        "remarks": [clean(note) for note in (*entry.priced.fixed_notes, *fixed(entry))],
        "rows": {
            "module": [module_name(m) for m in rows["module"]],
            "op": rows["op"].map(clean).tolist(),
            "kind": rows["input_class"].map(clean).tolist(),
            "product": [int(c) for c in rows["contraction"]],
            "class": [classes.index(c) for c in _classes(rows)],
            "weights": rows["weight_class"].map(clean).tolist(),
            "shape": _shapes(entry, rows),
            **row_facts,
        },
        "readings": readings,
        "reasons": reasons,
        "sized": sized,
        "steps": _steps(entry),
        "groups": _groups(entry),
        "repeated": _repeated(entry),
        "columns": columns.kept,
    }


def _reading(reading: Reading, columns: _Columns, reasons: list[str]) -> dict[str, Any]:
    for reason in reading.reasons:
        if reason not in reasons:
            reasons.append(reason)
    counts = {
        name: None if count is None else [columns.add(count.still), columns.add(count.spikes)]
        for name, count in reading.counts.items()
    }
    return {
        "counts": {name: pair for name, pair in counts.items() if pair != [-1, -1]},
        "reasons": [reasons.index(reason) for reason in reading.reasons],
        "driven": [int(driven) for driven in reading.driven],
    }


def _sized(
    found: Coefficients,
    models: Mapping[str, MemoryModel],
    memories: Sequence[Mapping[str, Any]],
    columns: _Columns,
) -> dict[str, Any]:
    """Picojoules per bit of each row, by memory model, level, what is held, and width."""
    tables: dict[str, Any] = {}
    held = {"weights": "weight_bits", "activations": "activation_bits", "state": "state_bits"}
    for spec, facts in zip(models, memories, strict=True):
        levels = [name for name, price in facts["levels"].items() if price is None]
        if levels:
            tables[called(spec)] = {
                level: {
                    key: {
                        str(bits): columns.add(found.pj_per_bit(models[spec], level, key, bits))
                        for bits in facts["widths"][held.get(key.partition(".")[0], "spike_bits")]
                    }
                    for key in (*found.held, "queue")
                }
                for level in levels
            }
    return tables


def _shapes(entry: Entry, rows: pd.DataFrame) -> list[str]:
    """What each product reads, holds and writes for one sample, in words."""
    first: dict[tuple[str, str], Contraction] = {}
    for site in entry.profile.contractions:
        first.setdefault((site.module, site.op), site)
    return [
        _shape(first.get((module, op)))
        for module, op in zip(rows["module"], rows["op"], strict=True)
    ]


def _shape(site: Contraction | None) -> str:
    if site is None or site.layer is None:
        return ""
    layer = site.layer
    text = f"{layer.channels:,} output channels, fan-out {layer.fan_out:,}"
    if layer.groups > 1:
        text += f", {layer.groups:,} groups"
    return text + (", bias" if layer.bias else "")


def _steps(entry: Entry) -> dict[str, Any]:
    """Elements and non-zeros of each module and timestep; of spikes those that entries tell."""
    try:
        steps = entry.profile.sparsity("timestep")
    except AnalyzerError:  # no time axis
        return {}
    spiking = set() if entry.steps is None else set(entry.steps["module"])
    found: dict[str, Any] = {}
    for module, some in steps.groupby("module", sort=False):
        name = module_name(module)
        ordered = some.sort_values("timestep")
        found[name] = {
            "elements": ordered["elements"].tolist(),
            "nonzeros": ordered["nonzeros"].tolist(),
            "spikes": name in spiking,
        }
    return found


def _groups(entry: Entry) -> dict[str, Any]:
    """Elements and non-zeros by axis, module and group."""
    found: dict[str, Any] = {}
    for group in entry.profile.groups:
        module = module_name(group.module)
        sums = found.setdefault(group.axis, {}).setdefault(module, {})
        pair = sums.setdefault(int(group.group), [0, 0])
        pair[0] += group.elements
        pair[1] += group.nonzeros
    return {axis: found[axis] for axis in AXES if axis in found}


def _repeated(entry: Entry) -> list[list[Any]]:
    """Work that timesteps repeat: module, operation, dense work and events saved by caching."""
    table = entry.profile.redundancy
    figures = (table[c].tolist() for c in ("op", "saved_macs", "saved_events"))
    return [list(row) for row in zip(table["module"].map(module_name), *figures, strict=True)]
