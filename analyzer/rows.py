"""Facts as one table: a row per module, operation and input class, in order of first execution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from analyzer.facts import Contraction, Extent, Shape, Tally

__all__ = ["ELEMENTWISE", "INTERNAL", "TRAFFIC", "WORK", "frame", "rows_of"]

WORK = ("calls", "dense_macs", "events", "unary_events", "input_elements", "input_nonzeros")
ELEMENTWISE = ("adds", "multiplies", "compares", "specials", "output_elements")
KEYS = ("module", "op", "input_class")

_UNKNOWN = ("events", "unary_events", "input_nonzeros")
"""What shapes alone do not tell."""

TRAFFIC = (
    "passes",
    "windows",
    "kernels",
    "stepped_weights",
    "channels",
    "outputs",
    "fresh_elements",
    "fresh_nonzeros",
    "state_elements",
)
"""Columns that the pricing of memory reads, NaN where not known: executions, each timestep one;
weights in reach of all non-zeros read; taps of all kernels, and weights, both once an execution;
output channels; elements written; elements, and non-zeros among them, that nobody read before;
figures of state that neurons read and write."""

INTERNAL = ("contraction", "rate", "driven", "lhs_rate", "rhs_rate", "weight_bits", *TRAFFIC)
"""Columns of conventions and memory: whether it is a product; published rates, NaN where measured;
the rates of each operand where both are activations, NaN elsewhere; bits that hold the weights, NaN
of reals."""


def rows_of(
    contractions: Iterable[Contraction], shapes: Iterable[Shape], tallies: Iterable[Tally]
) -> pd.DataFrame:
    """One row per module, operation and input class; integer totals over all samples."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    blank: dict[str, Any] = dict.fromkeys((*WORK, *ELEMENTWISE), 0)
    blank |= dict.fromkeys(INTERNAL[1:5], math.nan) | dict.fromkeys(TRAFFIC, 0)
    operands: dict[tuple[str, ...], list[int]] = {}
    for site in contractions:
        weight = site.weight
        row = rows.setdefault(
            (site.module, site.op, site.input_class),
            {
                **blank,
                "weight_class": weight.values.kind if weight else "",
                "weight_elements": weight.elements if weight else 0,
                "weight_nonzeros": weight.nonzeros if weight else 0,
                "weight_bits": weight.values.bits if weight else 0,
                "contraction": True,
            },
        )
        if weight and row["weight_bits"] is not None:
            bits = weight.values.bits
            row["weight_bits"] = None if bits is None else max(row["weight_bits"], bits)
        row["calls"] += site.calls
        row["dense_macs"] += site.dense_macs
        row["events"] += site.events
        row["unary_events"] += site.unary_events
        row["input_elements"] += sum(o.elements for o in site.activations)
        row["input_nonzeros"] += sum(o.nonzeros for o in site.activations)
        _add_traffic(row, _site_traffic(site))
        if len(site.activations) == 2:
            sums = operands.setdefault((site.module, site.op, site.input_class), [0, 0, 0, 0])
            for at, operand in enumerate(site.activations):
                sums[2 * at] += operand.elements
                sums[2 * at + 1] += operand.nonzeros
            row["lhs_rate"], row["rhs_rate"] = (
                sums[at + 1] / sums[at] if sums[at] else 0.0 for at in (0, 2)
            )
    for shape in shapes:
        row = rows[shape.module, shape.op, "", str(shape.driven)] = {
            **blank,
            "calls": shape.calls,
            "dense_macs": shape.dense_macs,
            **dict.fromkeys(_UNKNOWN),
            "input_elements": shape.input_elements,
            "weight_class": "",
            "weight_elements": shape.weight_elements,
            "weight_nonzeros": None if shape.weight_elements else 0,
            "weight_bits": None if shape.weight_elements else 0,
            "contraction": True,
            "rate": math.nan if shape.rate is None else shape.rate,
            "driven": math.nan if shape.driven is None else float(shape.driven),
        }
        _add_traffic(row, _shape_traffic(shape))
    for tally in tallies:
        row = rows.setdefault(
            (tally.module, tally.op, ""),
            {
                **blank,
                "weight_class": "",
                "weight_elements": 0,
                "weight_nonzeros": 0,
                "weight_bits": 0,
                "contraction": False,
            },
        )
        for column in ("calls", *ELEMENTWISE):
            row[column] += getattr(tally, column)
        _add_traffic(row, {"state_elements": tally.state_elements})
    columns = [
        *KEYS,
        *WORK,
        "weight_class",
        "weight_elements",
        "weight_nonzeros",
        *ELEMENTWISE,
        *INTERNAL,
    ]
    return frame(
        [(*key[:3], *(row[c] for c in columns[3:])) for key, row in rows.items()],
        columns,
        text=(*KEYS, "weight_class"),
        other={"contraction": "bool"} | dict.fromkeys(INTERNAL[1:], "float64"),
    )


def _site_traffic(site: Contraction) -> dict[str, float | None]:
    """What a site adds to the columns of :data:`TRAFFIC`."""
    steps = site.extent.steps if site.extent else len(site.step_nonzeros or ()) or 1
    weight = site.weight.elements if site.weight else 0
    spikes = site.activations[0].nonzeros if site.extent else 0
    return {
        **_layer_traffic(site.extent, site.calls * steps, weight, spikes, site.outputs),
        "fresh_elements": site.fresh_elements,
        "fresh_nonzeros": site.fresh_nonzeros,
    }


def _shape_traffic(shape: Shape) -> dict[str, float | None]:
    """The same of shapes, as far as rates are known."""
    rate = math.nan if shape.rate is None else shape.rate
    spikes = math.nan if shape.input_elements is None else rate * shape.input_elements
    passes = shape.calls * (shape.extent.steps if shape.extent else 1)
    fresh = shape.fresh_elements
    return {
        **_layer_traffic(shape.extent, passes, shape.weight_elements, spikes, shape.outputs),
        "fresh_elements": fresh,
        "fresh_nonzeros": None if fresh is None else fresh * rate,
    }


def _layer_traffic(
    extent: Extent | None, passes: int, weight: int, spikes: float, outputs: int | None
) -> dict[str, float | None]:
    lost = None if weight or outputs is None else 0  # of a layer whose extent is not known
    return {
        "passes": passes,
        "windows": spikes * extent.fan_out if extent else lost,
        "kernels": passes * extent.fan_out * extent.groups if extent else lost,
        "stepped_weights": passes * weight,
        "channels": extent.channels if extent else lost,
        "outputs": outputs,
    }


def _add_traffic(row: dict[str, Any], traffic: Mapping[str, float | None]) -> None:
    for column, value in traffic.items():
        known = math.nan if value is None else value
        row[column] = max(row[column], known) if column == "channels" else row[column] + known


def frame(
    rows: list[tuple[Any, ...]],
    columns: list[str],
    text: tuple[str, ...],
    other: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table of texts and integers; a column of integers that lacks some is a nullable one."""
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    kinds = {c: "Int64" if frame[c].isna().any() else "int64" for c in columns}
    return frame.astype(kinds | dict.fromkeys(text, "str") | dict(other))
