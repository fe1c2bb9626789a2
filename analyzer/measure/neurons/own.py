"""The update equations of this package's own neurons, from which their work is counted.

The modules are in :mod:`analyzer.models.neurons` and :mod:`analyzer.models.expg_if`.

All start at rest in every forward pass, so none is reset.
"""

from __future__ import annotations

from math import isfinite
from types import MappingProxyType
from typing import Any

from analyzer.measure.neurons.equation import Neuron, time_first
from analyzer.measure.neurons.library import Library
from analyzer.measure.neurons.scalar import Number, Scalar, both, clamp, rounded, select, setting

__all__ = ["LIBRARY"]


def _fire(m: Any, v: Number) -> tuple[Number, Number]:
    spike = v >= m.v_threshold
    reset = select(spike, 0.0, v) if m.reset == "hard" else v - spike * m.v_threshold
    return spike, reset


def _if(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, v + x)


def _lif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, v + (x - v) / m.tau)


def _expg_if(m: Any, x: Number) -> tuple[Number, ...]:
    """Codes one potential: as a level in training, as T spikes in inference, highest weight first.

    The scaling is the only multiplication. The next neuron is charged by v <- 2·v + u outside of
    this module, in additions and shifts.
    """
    v = x / setting(m.scale) + 0.5
    if m.form == "training":
        level = clamp(rounded(v, down=True), 0, m.coding.levels)
        if m.coding.regulated and isinstance(level, Scalar) and isfinite(level.value):
            # A table lookup costs no operation.
            level = level.of(float(m.coding.reachable(int(level.value))))
        return (level,)
    spikes: list[Number] = []
    for _ in range(m.coding.groups):
        fired: Number = 0.0
        for step, weight in enumerate(m.coding.weights):
            spike = v >= weight
            if m.coding.regulated and step:
                spike = both(spike, fired < m.coding.max_spikes)
            fired = fired + spike if m.coding.regulated else fired
            v = v - spike * weight
            spikes.append(spike)
    return tuple(spikes)


def _accesses(m: Any) -> int:
    """ExpG-IF charges its potential in T timesteps and then fires from it in T more."""
    return 1 if m.form == "training" else 2 * int(m.coding.timesteps)


def _stbif(m: Any, x: Number, v: Number, tracer: Number) -> tuple[Number, ...]:
    """Sends theta, -theta or 0, and keeps a count of what was sent."""
    theta = setting(m.theta)
    v = v + x
    up = both(v >= theta, tracer < m.hi)
    down = both(v < 0.0, tracer > m.lo)
    fired = select(up, theta, select(down, 0.0 - theta, 0.0))
    return fired, v - fired, tracer + up - down


LIBRARY = Library(
    "analyzer",
    MappingProxyType(
        {
            "models.neurons.IF": Neuron(_if, steps=time_first),
            "models.neurons.LIF": Neuron(_lif, steps=time_first),
            "models.expg_if.ExpGIF": Neuron(_expg_if, states=0, accesses=_accesses),
            "models.spikezip.STBIF": Neuron(_stbif, states=2, fits=lambda m: m.form == "spikes"),
        }
    ),
)
