"""The update equations of snnTorch's neurons, from which the work of one update is counted.

Versions: 0.5 to 1.0. One call is one timestep and its input has one element for each neuron, unless
said otherwise. The reset reads the spikes of the timestep before. That is the comparison that fired
then, so it counts once, not twice.
"""

from __future__ import annotations

import math
from functools import partial
from inspect import ismethod
from types import MappingProxyType, SimpleNamespace
from typing import Any

from torch import nn

from analyzer.measure.neurons.equation import Neuron, from_output, time_first
from analyzer.measure.neurons.library import Library, Reset
from analyzer.measure.neurons.scalar import Number, absolute, number, relu, select, sigmoid, tanh

__all__ = ["LIBRARY"]


def _decay(value: Any) -> float:
    """A rate of decay, which snnTorch clamps to [0, 1]."""
    rate = number(value)
    return rate if math.isnan(rate) else min(max(rate, 0.0), 1.0)


def _reset(m: Any, v: Number, reset: Number) -> Number:
    if m.reset_mechanism == "subtract":
        return v - reset * number(m.threshold)
    return select(reset, 0.0, v) if m.reset_mechanism == "zero" else v


def _fire(m: Any, v: Number, reset: Number) -> tuple[Number, Number, Number]:
    """Spikes, the potential and the reset of the next timestep."""
    spike = v > number(m.threshold)
    output = _graded(m, spike)
    if getattr(m, "reset_delay", True):
        return output, v, spike
    # At once: what fired and was not reset already.
    due = spike - reset
    if m.reset_mechanism == "subtract":
        v = v - due * number(m.threshold)
    elif m.reset_mechanism == "zero":
        v = v - due * v
    return output, v, v > number(m.threshold)


def _graded(m: Any, spike: Number) -> Number:
    """Spikes of another size than 1, which snnTorch knows since 0.7."""
    return spike * number(getattr(m, "graded_spikes_factor", 1.0))


def _leaky(m: Any, x: Number, v: Number, reset: Number) -> tuple[Number, ...]:
    """U <- beta · U + I - R · threshold, or beta · (1 - R) · U + I."""
    if m.reset_mechanism == "zero":
        return _fire(m, _decay(m.beta) * select(reset, 0.0, v) + x, reset)
    return _fire(m, _reset(m, _decay(m.beta) * v + x, reset), reset)


def _recurrent(m: Any, spike: Number) -> Number:
    """What the lateral connection adds: one weight for each spike, or a contraction.

    In snnTorch 0.5 it has always one weight.
    """
    return spike if getattr(m, "all_to_all", False) else spike * number(m.V)


def _rleaky(m: Any, x: Number, v: Number, reset: Number, spike: Number) -> tuple[Number, ...]:
    v = _decay(m.beta) * v + x + _recurrent(m, spike)
    output, v, reset = _fire(m, _reset(m, v, reset), reset)
    return output, v, reset, output


def _synapse(m: Any, x: Number, i: Number, v: Number, reset: Number) -> tuple[Number, ...]:
    """I <- alpha · I + x; U <- beta · U + I, then reset."""
    i = _decay(m.alpha) * i + x
    output, v, reset = _fire(m, _reset(m, _decay(m.beta) * v + i, reset), reset)
    return output, i, v, reset


def _rsynaptic(
    m: Any, x: Number, i: Number, v: Number, reset: Number, spike: Number
) -> tuple[Number, ...]:
    i = _decay(m.alpha) * i + x + _recurrent(m, spike)
    output, v, reset = _fire(m, _reset(m, _decay(m.beta) * v + i, reset), reset)
    return output, i, v, reset, output


def _alpha(
    m: Any, x: Number, exc: Number, inh: Number, v: Number, reset: Number
) -> tuple[Number, ...]:
    """An alpha-shaped current, as the difference of two exponentials; U is their scaled sum."""
    alpha, beta = _decay(m.alpha), _decay(m.beta)
    gain = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1
    before = inh
    exc, inh = alpha * exc + x, beta * inh - x
    v = gain * (exc + inh)
    if m.reset_mechanism == "subtract":
        exc = exc - reset * number(m.threshold)
        if m.init_hidden or _resets_itself(m):  # before 0.8 only if its state is hidden
            v = v + reset * before
    if m.reset_mechanism != "none":
        inh = select(reset, 0.0, inh)
    if m.reset_mechanism == "zero":
        exc, v = select(reset, 0.0, exc), select(reset, 0.0, v)
    output, v, reset = _fire(m, v, reset)
    return output, exc, inh, v, reset


def _lapicque(m: Any, x: Number, v: Number, reset: Number) -> tuple[Number, ...]:
    """U <- I · dt / C + (1 - dt / (R · C)) · U, then reset."""
    r, c, dt = number(m.R), number(m.C), number(m.time_step)
    v = x * (dt / c) + (1 - dt / (r * c)) * v
    return _fire(m, _reset(m, v, reset), reset)


def _delta(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """Fires where the potential moves by more than the threshold."""
    after = number(m.beta) * v + x
    return absolute(after - v) > m.delta_threshold, after


def _parallel(m: Any, x: Number) -> tuple[Number, ...]:
    """The potential of each timestep is a convolution over time, which counts on its own."""
    if not m.output:
        return (x,)
    return (_graded(m, x > number(m.threshold)),)


def _rnn(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """U <- relu(x + v): contractions of the input and of the last potential; time is axis 0."""
    v = relu(x + v)
    return _graded(m, v > number(m.threshold)), v


def _lstm(*gates: Number, c: Number) -> tuple[Number, Number]:
    """C <- f · c + i · g; h = o · tanh(c)."""
    i, f, g, o = gates
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _slstm(m: Any, x: Number, c: Number, h: Number, reset: Number) -> tuple[Number, ...]:
    """Two contractions, of the input and of the potential, make the four gates."""
    v, c = _lstm(*(x + h for _ in range(4)), c=c)
    output, v, reset = _fire(m, _reset(m, v, reset), reset)
    return output, c, v, reset


def _sconv_lstm(m: Any, x: Number, c: Number, h: Number, reset: Number) -> tuple[Number, ...]:
    """One convolution, of input and potential together, makes the four gates."""
    v, c = _lstm(x, x, x, x, c=c)
    output, v, reset = _fire(m, _reset(m, v, reset), reset)
    return output, c, v, reset


def _plain(m: Any) -> bool:
    """A user's function on the state, and lateral inhibition, make another equation."""
    return not m.state_quant and not m.inhibition


def _unpooled(m: Any) -> bool:
    return _plain(m) and not m.max_pool and not m.avg_pool


def _resets_itself(m: Any) -> bool:
    """Since snnTorch 0.8; before, a class resets all of its instances."""
    return callable(getattr(m, "reset_mem", None))


def _reset_of(m: nn.Module) -> Reset | None:
    """Before 0.8 the method of the class is called with this module as its only instance.

    The class's own list has the modules of other models too, and lacks copies of this one.
    """
    if _resets_itself(m):
        return m.reset_mem  # type: ignore[return-value]
    method = getattr(type(m), "reset_hidden", None)
    if not ismethod(method) or not getattr(m, "init_hidden", True):
        return None
    return partial(method.__func__, SimpleNamespace(instances=[m]))


def _neurons() -> dict[str, Neuron]:
    spiking = partial(Neuron, derived=1, fits=_plain)
    timed = partial(Neuron, steps=time_first)
    kinds = {
        "leaky.Leaky": spiking(_leaky, 2),
        "synaptic.Synaptic": spiking(_synapse, 3),
        "alpha.Alpha": spiking(_alpha, 4),
        "lapicque.Lapicque": spiking(_lapicque, 2),
        "rleaky.RLeaky": spiking(_rleaky, 3),
        "rsynaptic.RSynaptic": spiking(_rsynaptic, 4),
        "slstm.SLSTM": spiking(_slstm, 3, updates=from_output),
        "sconv2dlstm.SConv2dLSTM": spiking(_sconv_lstm, 3, updates=from_output, fits=_unpooled),
        "deltaleaky.DeltaLeaky": Neuron(_delta),
        "stateleaky.StateLeaky": timed(_parallel, 0, fits=_plain),
        "linearleaky.LinearLeaky": timed(_parallel, 0, updates=from_output, fits=_plain),
        "leakyparallel.LeakyParallel": timed(_rnn, updates=from_output),
    }
    return {f"_neurons.{name}": kind for name, kind in kinds.items()}


LIBRARY = Library("snntorch", MappingProxyType(_neurons()), _reset_of)
"""AssociativeLeaky, a linear attention rather than a neuron, is counted operation by operation."""
