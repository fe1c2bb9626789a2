"""Equations of SpikingJelly's few-spike neurons, for ``spikingjelly.py``.

They send a value as K weighted spikes, found one by one.
"""

from __future__ import annotations

from typing import Any

import torch

from analyzer.measure.neurons.equation import from_output
from analyzer.measure.neurons.scalar import (
    Number,
    absolute,
    clamp,
    lookup,
    select,
    settings,
    sign,
)

__all__ = ["by_region", "by_size", "coded_once", "in_steps"]


def in_steps(m: Any, x: Number) -> tuple[Number, ...]:
    """Codes a value with one table."""
    return _send(m, x, [settings(t) for t in (m.theta, m.h, m.d)])


def _send(m: Any, v: Number, tables: Any, signs: Number = 1.0) -> tuple[Number, ...]:
    """All K steps of coding one value: z = [v >= theta_k], v <- v - h_k · z, y = sum of d_k · z."""
    outputs: list[Number] = []
    for theta, h, d in zip(*tables, strict=True):
        spike = v >= theta
        outputs.append(d * spike)
        v = v - h * spike
    if m.step_mode == "m":
        return tuple(y * signs for y in outputs)
    total: Number = 0.0
    for y in outputs:
        total = total + y
    return (total * signs,)


def by_size(m: Any, x: Number) -> tuple[Number, ...]:
    """Codes the absolute value, with a table for ordinary and one for large values."""
    if m.clamp_value is not None:
        x = clamp(x, -m.clamp_value, m.clamp_value)
    size = absolute(x)
    ordinary = size <= m.split_threshold
    usual, outlier = (m.theta, m.h, m.d), (m.outlier_theta, m.outlier_h, m.outlier_d)
    tables = [
        [select(ordinary, a, b) for a, b in zip(*map(settings, pair), strict=True)]
        for pair in zip(usual, outlier, strict=True)
    ]
    return _send(m, size, tables, sign(x))


def by_region(m: Any, x: Number) -> tuple[Number, ...]:
    """Codes with the table of the value's region, found by a binary search."""
    rows = torch.cat((m.region_theta, m.region_h, m.region_d), 1)
    row = lookup(x, settings(m.gate_thresholds), [settings(row) for row in rows])
    return _send(m, x, (row[: m.K], row[m.K : 2 * m.K], row[2 * m.K :]))


def coded_once(m: Any, args: tuple[Any, ...], output: Any) -> int:
    """Values coded: in multi-step mode each is sent in as many steps as it has."""
    n = from_output(m, args, output)
    return n // m.K if m.step_mode == "m" else n
