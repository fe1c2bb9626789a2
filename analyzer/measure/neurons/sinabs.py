"""The update equations of sinabs' neurons, from which the work of one update is counted.

A call holds all timesteps, as the second axis or folded into the batch ("squeezed"). In both forms
the input has one element for each neuron update.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from analyzer.measure.neurons.equation import Neuron, first_tensor, lateral
from analyzer.measure.neurons.library import Library, by_name
from analyzer.measure.neurons.scalar import Number, maximum, number, rounded, select, setting

__all__ = ["LIBRARY"]


def _charge(m: Any, x: Number, v: Number, *current: Number) -> tuple[Number, ...]:
    """I <- alpha_syn · (i + x) where there is one; v <- alpha · v + i, or (1 - alpha) · i."""
    alpha = number(m.alpha_mem_calculated)
    i = number(m.alpha_syn_calculated) * (current[0] + x) if current else x
    scaled = (1 - alpha) * i if m.norm_input else i
    return alpha * v + scaled, i, scaled


def _fire(m: Any, v: Number, threshold: Number) -> tuple[Number, Number]:
    """One spike, or as many as the threshold fits into the potential."""
    spike: Number
    if _kind(m.spike_fn) == "SingleSpike":
        spike = fired = v >= threshold
    else:
        spike = (v > 0) * rounded(v / threshold, down=True)
        most = getattr(m.spike_fn, "max_num_spikes_per_bin", None)
        if most is not None:
            spike = -maximum(-spike, -most)
    if _kind(m.reset_fn) == "MembraneSubtract":
        by = m.reset_fn.subtract_value
        return spike, v - spike * (threshold if by is None else by)
    if _kind(m.spike_fn) != "SingleSpike":
        fired = spike > 0
    # sinabs adds the value to neurons that did not fire, too.
    return spike, select(fired, 0.0, v) + m.reset_fn.reset_value


def _bounded(m: Any, v: Number) -> Number:
    return v if m.min_v_mem is None else maximum(v, setting(m.min_v_mem))


def _lif(m: Any, x: Number, v: Number, *current: Number) -> tuple[Number, ...]:
    v, i, _ = _charge(m, x, v, *current)
    spike = v
    if m.spike_fn is not None:
        spike, v = _fire(m, v, setting(m.spike_threshold))
    return (spike, _bounded(m, v), *((i,) if current else ()))


def _alif(m: Any, x: Number, v: Number, b: Number, *current: Number) -> tuple[Number, ...]:
    """A threshold that spikes raise: b0 + scale · b, with b <- a · b + (1 - a) · spikes."""
    v, _, scaled = _charge(m, x, v, *current)
    spike, v = _fire(m, v, setting(m.b0) + setting(m.adapt_scale) * b)
    adapt = number(m.alpha_adapt_calculated)
    b = adapt * b + (1 - adapt) * spike
    return (spike, _bounded(m, v), b, *((scaled,) if current else ()))


def _kind(function: Any) -> str:
    return function.__name__ if isinstance(function, type) else type(function).__name__


def _known(m: Any) -> bool:
    if m.spike_fn is None:
        return True
    fires = _kind(m.spike_fn) in ("SingleSpike", "MultiSpike", "MaxSpike")
    return fires and _kind(m.reset_fn) in ("MembraneSubtract", "MembraneReset")


def _with_current(base: int) -> Any:
    def states(m: Any) -> int:
        return base if m.alpha_syn_calculated is None else base + 1

    return states


def _steps(m: Any, args: tuple[Any, ...], output: Any) -> int:
    """Time is the second axis; a squeezed layer knows its length or that of the batch."""
    steps, batch = getattr(m, "num_timesteps", 0), getattr(m, "batch_size", 0)
    x = first_tensor((*args, output))
    if x is None or steps > 0:
        return max(int(steps), 1)
    return len(x) // int(batch) if batch > 0 else x.shape[1]


def _neurons() -> dict[str, Neuron]:
    kinds = {}
    for home, name, update, states in (
        ("iaf", "IAF", _lif, 1),
        ("lif", "LIF", _lif, 1),
        ("alif", "ALIF", _alif, 2),
        ("exp_leak", "ExpLeak", _lif, 1),
    ):
        plain = Neuron(
            update,
            _with_current(states),
            steps=_steps,
            fits=_known,
            samples_first=True,
        )
        kinds[f"layers.{home}.{name}"] = kinds[f"layers.{home}.{name}Squeeze"] = plain
        if home != "exp_leak":
            kinds[f"layers.{home}.{name}Recurrent"] = Neuron(
                lateral(update),
                _with_current(1 + states),
                steps=_steps,
                apart=("rec_connect",),
                fits=_known,
                samples_first=True,
            )
    return kinds


LIBRARY = Library("sinabs", MappingProxyType(_neurons()), by_name("reset_states"))
