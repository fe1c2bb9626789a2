"""The update equations of SpikingJelly's neurons, from which the work of an update is counted.

Versions: 2.0, and 0.0.0.0.8 to 0.0.0.0.14 with both of their packages, ``clock_driven`` and
``activation_based``. One call is one timestep, or holds time as the first axis: ``step_mode`` says
so, and in ``clock_driven`` the class's name. The input has one element for each update either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from analyzer.measure.neurons.equation import Neuron, from_output, lateral, time_first
from analyzer.measure.neurons.few_spikes import by_region, by_size, coded_once, in_steps
from analyzer.measure.neurons.library import Library, by_name
from analyzer.measure.neurons.scalar import (
    Learned,
    Number,
    both,
    clamp,
    either,
    exp,
    number,
    relu,
    rounded,
    select,
    setting,
    sigmoid,
    tanh,
)

__all__ = ["LIBRARY"]


def _reset(m: Any, v: Number, spike: Number, threshold: Number) -> Number:
    """Hard, to ``v_reset``, or soft, by subtraction of the threshold."""
    if m.v_reset is None:
        return v - spike * threshold
    return select(spike, m.v_reset, v)


def _fire(m: Any, v: Number, *others: Number) -> tuple[Number, ...]:
    threshold = number(m.v_threshold)
    spike = v >= threshold
    return spike, _reset(m, v, spike, threshold), *others


def _charge(m: Any, x: Number, v: Number, rate: float) -> Number:
    """Charges: v + (x - (v - v_reset)) · rate, or v - (v - v_reset) · rate + x."""
    rest = m.v_reset or 0.0
    if getattr(m, "decay_input", True):  # 0.0.0.0.8 always does
        return v + (x - (v - rest)) * rate
    return v - (v - rest) * rate + x


def _if(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, v + x)


def _lif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, _charge(m, x, v, 1 / m.tau))


def _plif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, _charge(m, x, v, 1 / (1 + math.exp(-setting(m.w)))))


def _ternary(m: Any, v: Number) -> tuple[Number, ...]:
    positive, negative = v >= m.v_threshold, -v >= m.v_threshold
    spike = positive - negative
    event = spike if m.v_reset is None else either(positive, negative)
    return spike, _reset(m, v, event, m.v_threshold)


def _ternary_if(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _ternary(m, v + x)


def _ternary_lif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _ternary(m, _charge(m, x, v, 1 / m.tau))


def _activation_aware_if(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    v = v + x
    threshold = setting(m.v_threshold)
    spike = v + setting(m.v_offset) >= threshold
    return spike, _reset(m, v, spike, threshold)


def _ilif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """Sends n = round(clamp(v / threshold, 0, D)) of v <- (1 - 1/tau) · v + x, and subtracts it."""
    v = v * (1 - 1 / m.tau) + x
    n = rounded(clamp(v / m.v_threshold, 0, m.surrogate_function.max_spike_count))
    return n, v - n * m.v_threshold


def _qif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, v + (x + m.a0 * (v - m.v_rest) * (v - m.v_c)) / m.tau)


def _eif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    upstroke = m.delta_T * exp((v - m.theta_rh) / m.delta_T)
    return _fire(m, v + (x + m.v_rest - v + upstroke) / m.tau)


def _izhikevich(m: Any, x: Number, v: Number, w: Number) -> tuple[Number, ...]:
    v = v + (x + m.a0 * (v - m.v_rest) * (v - m.v_c) - w) / m.tau
    spike = v >= m.v_threshold
    coupling = m.a * (v - m.v_rest) if m.a else 0.0
    w = w + (coupling - w) / m.tau_w + m.b * spike
    return spike, _reset(m, v, spike, m.v_threshold), w


def _resonate(m: Any, x: Number, v: Number, u: Number) -> tuple[Number, ...]:
    """(u, v) turns by omega · dt and shrinks by exp(b · dt); the input enters u."""
    shrink = math.exp(m.b * m.dt)
    cos, sin = math.cos(m.omega * m.dt), math.sin(m.omega * m.dt)
    u, v = shrink * (u * cos - v * sin) + x, shrink * (u * sin + v * cos)
    return _fire(m, v, u)


def _klif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    k = number(m.k)
    v = relu(k * _charge(m, x, v, 1 / m.tau))
    spike = v >= m.v_threshold
    if m.scale_reset:
        return spike, _reset(m, v / k, spike, m.v_threshold / k)
    return spike, _reset(m, v, spike, m.v_threshold)


def _cuba(m: Any, x: Number, v: Number, c: Number) -> tuple[Number, ...]:
    c = c * m.c_decay + x
    return _fire(m, v * m.v_decay + c, c)


def _complementary(m: Any, x: Number, v: Number, mark: Number) -> tuple[Number, ...]:
    """With v <- v - v/tau + x, m <- m · σ(v/tau) + s; v <- v - s · (threshold + σ(m))."""
    v = v - v / m.tau + x
    spike = v >= m.v_threshold
    mark = mark * sigmoid(v / m.tau) + spike
    return spike, v - spike * (m.v_threshold + sigmoid(mark)), mark


def _liaf(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """A LIF that sends an analog value of its potential; its spikes only reset it.

    SpikingJelly 2.0 runs the plain LIF in multi-step mode, unless it keeps the potentials.
    """
    if getattr(m, "step_mode", "s") == "m" and not m.store_v_seq:
        return _lif(m, x, v)
    v = _charge(m, x, v, 1 / m.tau)
    shown = v - m.v_threshold if m.threshold_related else v
    _, v_next = _fire(m, v)
    return _ACTIVATIONS[_name(m.act)](shown), v_next


_ACTIVATIONS: Mapping[str, Any] = MappingProxyType(
    {"relu": relu, "ReLU": relu, "sigmoid": sigmoid, "Sigmoid": sigmoid, "tanh": tanh, "Tanh": tanh}
)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _gated(m: Any, x: Number, v: Number, spike: Number) -> tuple[Number, ...]:
    """Leak, integration and reset of one equation, each mixed of two ways by a learned gate."""
    alpha, beta, gamma, tau, threshold, decay, subreset, conduct = (
        setting(p.sigmoid())
        for p in (
            m.alpha,
            m.beta,
            m.gamma,
            m.tau,
            m.v_threshold,
            m.linear_decay,
            m.v_subreset,
            m.conduct,
        )
    )
    leaked = (1 - alpha * (1 - tau)) * v
    v = leaked - (1 - alpha) * decay + x * (1 - beta * (1 - conduct))
    v = v - leaked * gamma * spike - (1 - gamma) * subreset * spike
    spike = v >= threshold
    return spike, v, spike


def _parallel(m: Any, x: Number, *window: Number) -> tuple[Number, ...]:
    """Fires where a weighted sum over time reaches minus the bias.

    With all timesteps in one call the sum is a contraction, which counts on its own. In single
    steps it is one product an input in the window, the last one ``x``.
    """
    if not window and getattr(m, "step_mode", "m") == "m":
        return (x >= 0,)
    weights = [number(nn.Parameter(w)) for w in _last_weights(m)]
    total: Number = x * weights[-1]
    for weight, earlier in zip(weights[:-1], window, strict=True):
        total = total + earlier * weight
    return total + number(nn.Parameter(m.bias.flatten()[-1])) >= 0, *window[1:], x


def _last_weights(m: Any) -> Any:
    return m.weight[-m.k :] if m.weight.ndim == 1 else m.weight[-1, -m.k :]


def _window(m: Any) -> int:
    return 0 if getattr(m, "step_mode", "m") == "m" else int(m.k) - 1


def _leaky_current(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return _fire(m, v * m.v_decay + x)


def _integrator(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    return v + x, v + x


def _leaky_integrator(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    v = v + (x - v) / m.tau
    return v, v


def _dsr_if(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    v, threshold = v + x, _bounded(m)
    spike = (v >= m.alpha * threshold) * threshold
    return spike, v - spike


def _dsr_lif(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    beta, threshold = math.exp(-m.delta_t / m.tau), _bounded(m)
    v = beta * v + (1 - beta) * x
    fires = v >= m.alpha * threshold
    return fires * (threshold / m.delta_t), v - fires * threshold


def _bounded(m: Any) -> float:
    return max(setting(m.v_threshold), float(m.v_threshold_lower_bound))


def _stbif(m: Any, x: Number, q: Number, sent: Number) -> tuple[Number, ...]:
    """Sends +1 where the charge q reaches 1 and -1 below 0, within the levels not yet sent.

    The code also rounds the count of levels sent, which is an integer already.
    """
    step = setting(m.q_threshold)
    q = q + x / step
    up = both(q >= 1, sent < setting(m.pos_max))
    down = both(q < 0, sent > setting(m.neg_min))
    spike = up - down
    return spike * step, q - up + down, sent + spike


def _steps(m: Any, args: tuple[Any, ...], output: Any) -> int:
    several = type(m).__name__.startswith("MultiStep") or getattr(m, "step_mode", "s") == "m"
    return time_first(m, args, output) if several else 1


def _spiking(m: Any) -> bool:
    """A surrogate that is smooth in the forward pass, or counts, makes another equation."""
    surrogate = getattr(m, "surrogate_function", None)
    counts = type(surrogate).__name__ == "MultiLevelSpikeCount"
    return getattr(surrogate, "spiking", True) and not counts


def _evaluating(m: Any) -> bool:
    """In training the node also keeps a trace."""
    return _spiking(m) and not m.training


def _normalises_simply(m: Any) -> bool:
    return _evaluating(m) and not m.normalize_residual


def _quiet(m: Any) -> bool:
    return not m.is_training and _spiking(m)


def _shows_potential(m: Any) -> bool:
    """Other decodings reduce over time."""
    return m.decode in (None, "last_mem", "last-me") and not getattr(m, "is_training", False)


def _known_activation(m: Any) -> bool:
    return _spiking(m) and _name(m.act) in _ACTIVATIONS


def _batch_norm(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """A LIF whose potential is normalised before it fires, unless that is folded away."""
    v = _charge(m, x, v, 1 / m.tau)
    if not isinstance(m.vbn, nn.Identity):
        gain = setting(m.vbn.weight / (m.vbn.running_var + m.vbn.eps).sqrt())
        v = (v - Learned(setting(m.vbn.running_mean))) * Learned(gain)
        v = v + Learned(setting(m.vbn.bias))
    threshold = setting(m.v_threshold)
    at = threshold
    if m.fold_bn:
        at = setting((m.v_threshold - m.beta) * (m.sigma2 + m.eps).sqrt() / m.gamma + m.mu)
    elif m.learnable_vth:
        at = setting(m.a.exp())
    spike = v >= at
    return spike, _reset(m, v, spike, threshold)


def _neurons() -> dict[str, Neuron]:
    one, two = partial(Neuron, steps=_steps), partial(Neuron, states=2, steps=_steps)
    timed, coded = partial(Neuron, steps=time_first), partial(Neuron, states=0, updates=coded_once)
    lateral_ = partial(timed, apart=("conn",))
    kinds = {
        "SimpleIFNode": one(_if, fits=_spiking),
        "IFNode": one(_if, fits=_spiking),
        "HalfThresholdIFNode": one(_if, fits=_spiking),
        "ActivationAwareIFNode": one(_activation_aware_if, fits=_spiking),
        "SimpleLIFNode": one(_lif, fits=_spiking),
        "LIFNode": one(_lif, fits=_spiking),
        "SLTTLIFNode": one(_lif, fits=_spiking),
        "ParametricLIFNode": one(_plif, fits=_spiking),
        "QIFNode": one(_qif, fits=_spiking),
        "EIFNode": one(_eif, fits=_spiking),
        "IzhikevichNode": two(_izhikevich, fits=_spiking),
        "RAFNode": two(_resonate, fits=_spiking),
        "TernaryIFNode": one(_ternary_if, fits=_spiking),
        "TernaryLIFNode": one(_ternary_lif, fits=_spiking),
        "KLIFNode": one(_klif, fits=_spiking),
        "CUBALIFNode": two(_cuba, fits=_spiking),
        "ComplementaryLIFNode": two(_complementary, fits=_spiking),
        "NonSpikingIFNode": timed(_integrator, fits=_shows_potential),
        "NonSpikingLIFNode": timed(_leaky_integrator, fits=_shows_potential),
        "NoisyNonSpikingIFNode": timed(_integrator, fits=_shows_potential),
        "ILIFNode": one(_ilif),
        "LIAFNode": one(_liaf, fits=_known_activation),
        "OTTTLIFNode": one(_lif, fits=_evaluating),
        "MPBNLIFNode": one(_batch_norm, fits=_normalises_simply),
        "GatedLIFNode": timed(_gated, states=2, updates=from_output, fits=_spiking),
        "PSN": timed(_parallel, states=0, fits=_spiking),
        "MaskedPSN": one(_parallel, states=_window, fits=_spiking),
        "SlidingPSN": one(_parallel, states=_window, fits=_spiking),
        "DSRIFNode": timed(_dsr_if),
        "DSRLIFNode": timed(_dsr_lif),
        "STBIFNode": two(_stbif),
        "NoisyCUBALIFNode": timed(_cuba, states=2, fits=_quiet),
        "ILCIFNode": lateral_(lateral(_if), states=2, fits=_spiking),
        "ILCLIFNode": lateral_(lateral(_leaky_current), states=2, fits=_spiking),
        "ILCCUBALIFNode": lateral_(lateral(_cuba), states=3, fits=_spiking),
        "NoisyILCCUBALIFNode": lateral_(lateral(_cuba), states=3, fits=_quiet),
        "FewSpikeNode": coded(in_steps, fits=_spiking),
        "OutlierAwareThresholdNode": coded(by_size, fits=_spiking),
        "HGNode": coded(by_region, fits=_spiking),
    }
    # clock_driven has classes of their own for several timesteps at once.
    several = {f"MultiStep{name}": kinds[name] for name in _MULTI_STEP}
    return {f"{_HOME}.{name}": kind for name, kind in (kinds | several).items()}


_HOME = "activation_based.neuron"
_MULTI_STEP = ("IFNode", "LIFNode", "ParametricLIFNode", "EIFNode")
_COPIED = frozenset(
    (*_MULTI_STEP, *(f"MultiStep{name}" for name in _MULTI_STEP), "QIFNode", "KLIFNode")
)
"""Neurons of one state variable that papers copy into their own code."""


def _copy_of(cls: type) -> str | None:
    methods = ("neuronal_charge", "neuronal_fire", "neuronal_reset")
    bases = {base.__name__ for base in cls.__mro__[1:]}
    alike = "BaseNode" in bases and all(callable(getattr(cls, name, None)) for name in methods)
    return f"{_HOME}.{cls.__name__}" if cls.__name__ in _COPIED and alike else None


def _owns(cls: type) -> bool:
    return cls.__name__ == "MemoryModule" and hasattr(cls, "register_memory")


LIBRARY = Library(
    "spikingjelly",
    MappingProxyType(_neurons()),
    by_name("reset"),
    MappingProxyType({_HOME: _HOME, "clock_driven.neuron": _HOME}),
    _copy_of,
    _owns,
)
"""FlexSN runs a user's function, so its operations count one by one."""
