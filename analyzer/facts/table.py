"""Records as one table: a row per module, operation and input class, in order of execution.

Everything that reads or prices facts reads this table; its columns are the constants below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, LayerShape, Operand, Shape, Tally
from analyzer.facts.values import KINDS

__all__ = [
    "ELEMENTWISE",
    "INTERNAL",
    "LEFT",
    "OPERANDS",
    "SIDES",
    "TRAFFIC",
    "WORK",
    "frame",
    "rows_of",
    "rows_of_samples",
]

WORK = ("calls", "dense_macs", "events", "unary_events", "input_elements", "input_nonzeros")
ELEMENTWISE = ("adds", "multiplies", "compares", "specials", "output_elements")
KEYS = ("module", "op", "input_class")

_UNKNOWN = ("events", "unary_events", "input_nonzeros")
"""Columns that are missing where only shapes are known."""

SIDES = ("left", "right")
"""The two operands of a product of activations. A layer reads its activation on the left, and has
nothing on the right."""

OPERANDS = ("elements", "nonzeros", "first_read", "first_read_nonzeros")
"""What is known of each side: elements and non-zeros, and those of them that no contraction before
had read."""

TRAFFIC = (
    "passes",
    "windows",
    "kernels",
    "stepped_weights",
    "once_weights",
    "channels",
    "outputs",
    "biased_outputs",
    *(f"{side}_{figure}" for side in SIDES for figure in OPERANDS),
    "state_elements",
    "state_size",
)
"""Columns that memory models read, NaN where they are not known.

- ``passes``: executions; every sample and every timestep is one.
- ``windows``: non-zeros read, each times its fan-out without borders and strides.
- ``kernels``: output channels times the size of the kernel of one input channel, once an execution.
- ``stepped_weights``: weights, once an execution; ``once_weights``: weights, once an inference.
- ``channels``: output channels; ``outputs``: elements written; ``biased_outputs``: those of layers
  that hold a bias.
- ``left_...``, ``right_...``: :data:`OPERANDS` of each side that is an activation.
- ``state_elements``: elements of state that neurons read, and write, over all updates;
  ``state_size``: how many they keep for one sample.
"""

LEFT = ("left_macs", "left_events", "left_unary_events")
"""What is left of ``dense_macs``, ``events`` and ``unary_events`` where zero weights are skipped;
missing where that is not known."""

_FRACTIONS = ("rate", "driven", "lhs_rate", "rhs_rate", "weight_bits", *TRAFFIC)

INTERNAL = ("contraction", *_FRACTIONS, *LEFT)
"""Columns that conventions and memory models read and that users are not shown.

- ``contraction``: whether the row is a product, and not element-wise work.
- ``rate``, ``driven``: published, NaN where the row was measured.
- ``lhs_rate``, ``rhs_rate``: share of non-zeros of each operand where both are activations; NaN
  elsewhere.
- ``weight_bits``: width of an integer that holds the weights, NaN where they are reals.
- :data:`TRAFFIC` and :data:`LEFT`.
"""


_COLUMNS = (
    *KEYS, *WORK, "weight_class", "weight_elements", "weight_nonzeros", *ELEMENTWISE, *INTERNAL,
)  # fmt: skip


def rows_of(
    contractions: Iterable[Contraction],
    shapes: Iterable[Shape],
    tallies: Iterable[Tally],
    timesteps: int = 1,
) -> pd.DataFrame:
    """One row per module, operation and input class; integer totals over all samples.

    Args:
        contractions: Products that were measured.
        shapes: Products of which shapes are known.
        tallies: Other work.
        timesteps: Timesteps of one inference. A layer that runs as often runs once a timestep, and
            reads the same weights again.
    """
    rows = _gathered(contractions, shapes, tallies, timesteps)
    return frame(
        [(*key[:3], *(row[c] for c in _COLUMNS[3:])) for key, row in rows.items()],
        list(_COLUMNS),
        text=(*KEYS, "weight_class"),
        other={"contraction": "bool"} | dict.fromkeys(_FRACTIONS, "float64"),
    )


def rows_of_samples(
    whole: pd.DataFrame,
    contractions: Iterable[Contraction],
    tallies: Iterable[Tally],
    timesteps: int,
    samples: Sequence[int],
) -> pd.DataFrame:
    """The rows of single samples, one sample after another.

    Returns:
        The same columns, and ``profile``: the number of the sample. A row that a sample does not
        run is there with zeros.
    """
    rows = list(_gathered(contractions, (), tallies, timesteps).values())
    size = len(samples)
    repeated = whole.loc[np.tile(whole.index.to_numpy(), size)].reset_index(drop=True)
    made: dict[str, Any] = {"profile": np.repeat([str(number) for number in samples], len(rows))}
    for column in _SUMS:
        if whole[column].isna().any():
            continue
        each = [np.broadcast_to(np.asarray(row[column]), (size,)) for row in rows]
        cells = np.stack(each, axis=1).reshape(-1) if rows else np.zeros(0)
        made[column] = cells.astype(whole[column].to_numpy().dtype)
    return repeated.assign(**made)


def _gathered(
    contractions: Iterable[Contraction],
    shapes: Iterable[Shape],
    tallies: Iterable[Tally],
    timesteps: int,
) -> dict[tuple[str, ...], dict[str, Any]]:
    """The cells of each row. Sums may be arrays, of a figure a sample, as well as integers."""
    contractions = tuple(contractions)
    looped = _looped(contractions, timesteps)
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    blank: dict[str, Any] = dict.fromkeys((*WORK, *ELEMENTWISE, *LEFT), 0)
    blank |= dict.fromkeys(_FRACTIONS[:4], math.nan) | dict.fromkeys(TRAFFIC, 0)
    blank |= dict.fromkeys(("weight_elements", "weight_nonzeros", "weight_bits"), 0)
    blank |= {"weight_class": "", "contraction": True}
    operands: dict[tuple[str, ...], list[int]] = {}
    for whole, site, input_class, calls in _pieces(contractions):
        weight = site.weight
        row = rows.setdefault(
            (site.module, site.op, input_class), blank | (_of_weight(weight) if weight else {})
        )
        if weight:
            row["weight_class"] = max(row["weight_class"], weight.values.kind, key=KINDS.index)
        if weight and row["weight_bits"] is not None:
            bits = weight.values.bits
            row["weight_bits"] = None if bits is None else max(row["weight_bits"], bits)
        row["calls"] += calls
        row["dense_macs"] += site.dense_macs
        row["events"] += site.events
        row["unary_events"] += site.unary_events
        left = site.left_work
        figures = (None,) * 3 if left is None else (left.dense_macs, left.events, left.levels)
        for column, figure in zip(LEFT, figures, strict=True):
            known = figure is not None and row[column] is not None
            row[column] = row[column] + figure if known else None
        row["input_elements"] += sum(o.elements for o in site.activations)
        row["input_nonzeros"] += sum(o.nonzeros for o in site.activations)
        is_looped = site is whole and (site.module, site.op) in looped
        _add_traffic(row, _site_traffic(site, looped=is_looped))
        if len(site.activations) == 2:
            sums = operands.setdefault((site.module, site.op, input_class), [0, 0, 0, 0])
            for at, operand in enumerate(site.activations):
                sums[2 * at] += operand.elements
                sums[2 * at + 1] += operand.nonzeros
            row["lhs_rate"], row["rhs_rate"] = (_share(sums[at + 1], sums[at]) for at in (0, 2))
    for shape in shapes:
        row = rows[shape.module, shape.op, "", str(shape.driven)] = {
            **blank,
            "calls": shape.calls,
            "dense_macs": shape.dense_macs,
            **dict.fromkeys((*_UNKNOWN, *LEFT)),
            "input_elements": shape.input_elements,
            "weight_elements": shape.weight_elements,
            "weight_nonzeros": None if shape.weight_elements else 0,
            "weight_bits": None if shape.weight_elements else 0,
            "rate": math.nan if shape.rate is None else shape.rate,
            "driven": math.nan if shape.driven is None else float(shape.driven),
        }
        _add_traffic(row, _shape_traffic(shape))
    for tally in tallies:
        row = rows.setdefault((tally.module, tally.op, ""), blank | {"contraction": False})
        for column in ("calls", *ELEMENTWISE):
            row[column] += getattr(tally, column)
        for column in ("state_elements", "state_size"):
            _add_traffic(row, {column: getattr(tally, column)})
    return rows


def _of_weight(weight: Operand) -> dict[str, Any]:
    return {
        "weight_class": weight.values.kind,
        "weight_elements": weight.elements,
        "weight_nonzeros": weight.nonzeros,
        "weight_bits": weight.values.bits,
    }


def _share(part: Any, whole: Any) -> Any:
    if isinstance(whole, np.ndarray):
        return np.divide(part, whole, out=np.zeros(len(whole)), where=whole != 0)
    return part / whole if whole else 0.0


def _pieces(
    contractions: Iterable[Contraction],
) -> Iterator[tuple[Contraction, Contraction, str, int]]:
    """Contractions and their parts that have a class of their own.

    Yields:
        The whole, the part, its class, and its calls: those of a whole count once in each class. A
        part that is silent goes with one that spikes drive, as its zeros are no other work.
    """
    for whole in contractions:
        classed = whole.classed
        kinds = [part.input_class for part in classed]
        driven = next((kind for kind in kinds if "binary" in kind.split("*")), None)
        seen: set[str] = set()
        for part, kind in zip(classed, kinds, strict=True):
            silent = driven is not None and set(kind.split("*")) == {"zero"}
            label = driven if silent and driven else kind
            yield whole, part, label, 0 if label in seen else whole.calls
            seen.add(label)


def _looped(sites: tuple[Contraction, ...], timesteps: int) -> set[tuple[str, str]]:
    """Module and operation of the layers that a model calls once (or as often) each timestep."""
    seen: dict[tuple[str, str], list[Contraction]] = {}
    for site in sites if timesteps > 1 else ():
        if site.layer is not None:
            seen.setdefault((site.module, site.op), []).append(site)
    return {
        key
        for key, calls in seen.items()
        if len({site.call for site in calls}) % timesteps == 0
        and len({(site.layer, site.rhs.elements) for site in calls}) == 1
    }


def _site_traffic(site: Contraction, *, looped: bool) -> dict[str, float | None]:
    """What a measured contraction adds to the columns :data:`TRAFFIC`."""
    weight = site.weight.elements if site.weight else 0
    spikes = site.activations[0].nonzeros if site.layer else 0
    passes = site.calls if looped else site.passes
    once = None if site.first_read is None else site.calls * site.first_read_weights
    traffic = _layer_traffic(site.layer, passes, weight, spikes, site.outputs) | {
        "once_weights": once
    }
    first_operands = site.first_read_operands
    for side, operand in zip(SIDES, site.activations, strict=False):
        first = None if site.first_read is None else any(operand is o for o in first_operands)
        figures = (operand.elements, operand.nonzeros)
        again = (None, None) if first is None else tuple(n * first for n in figures)
        names = (f"{side}_{figure}" for figure in OPERANDS)
        traffic |= dict(zip(names, (*figures, *again), strict=True))
    return traffic


def _shape_traffic(shape: Shape) -> dict[str, float | None]:
    """What a product of known shapes adds to them; NaN where that depends on an unknown rate."""
    rate = math.nan if shape.rate is None else shape.rate
    read, first = (
        math.nan if n is None else n for n in (shape.input_elements, shape.first_read_elements)
    )
    once = None if shape.first_read_weights is None else shape.calls * shape.first_read_weights
    weight = shape.weight_elements
    figures = (read, rate * read, first, rate * first)
    return {
        **_layer_traffic(shape.layer, shape.passes, weight, rate * read, shape.outputs),
        "once_weights": once,
        **dict(zip((f"left_{figure}" for figure in OPERANDS), figures, strict=True)),
    }


def _layer_traffic(
    layer: LayerShape | None, passes: int | None, weight: int, spikes: float, outputs: int | None
) -> dict[str, float | None]:
    if passes is None or outputs is None or (weight and layer is None):  # not known
        unknown = ("windows", "kernels", "stepped_weights", "channels", "outputs", "biased_outputs")
        return {"passes": passes, **dict.fromkeys(unknown)}
    return {
        "passes": passes,
        "windows": spikes * layer.fan_out if layer else 0,
        "kernels": passes * layer.fan_out * layer.groups if layer else 0,
        "stepped_weights": passes * weight,
        "channels": layer.channels if layer else 0,
        "outputs": outputs,
        "biased_outputs": outputs if layer and layer.bias else 0,
    }


_LARGEST = frozenset({"channels", "state_size"})
"""Columns of which a row has the largest value of its records, and not their sum."""

_SUMS = (*WORK, *ELEMENTWISE, *LEFT, "lhs_rate", "rhs_rate",
         *(column for column in TRAFFIC if column not in _LARGEST))  # fmt: skip
"""Columns that differ between samples."""


def _add_traffic(row: dict[str, Any], traffic: Mapping[str, float | None]) -> None:
    for column, value in traffic.items():
        known = math.nan if value is None else value
        row[column] = max(row[column], known) if column in _LARGEST else row[column] + known


def frame(
    rows: list[tuple[Any, ...]],
    columns: list[str],
    text: tuple[str, ...],
    other: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table of texts and integers.

    Args:
        rows: Cells, row by row.
        columns: Names of all columns.
        text: Those of text.
        other: Types of columns that are neither text nor integers. A column of integers in which
            some are None gets the nullable type ``Int64``.
    """
    cells = dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {}
    kinds = dict.fromkeys(text, "str") | dict(other)
    made = {}
    for column in columns:
        values = cells.get(column, ())
        kind = kinds.get(column) or ("Int64" if None in values else "int64")
        if column not in kinds:
            _refuse_too_large(column, values)
        made[column] = pd.Series(values, dtype=kind)
    return pd.DataFrame(made, columns=columns)


LARGEST = 2**60
"""What the counts of a column may add up to. Above 2^63 tables would wrap round without a word, and
sums of several columns must stay below that."""


def _refuse_too_large(column: str, values: Iterable[int | None]) -> None:
    total = sum(abs(value) for value in values if value is not None)
    if total > LARGEST:
        raise AnalyzerError(
            f"the counts of {column!r} add up to {total:.3e}, and above 2^60 they are not kept "
            "exactly: price fewer samples at a time."
            if total < 10**300
            else f"the counts of {column!r} add up to more than 10^300: they can not be right."
        )
