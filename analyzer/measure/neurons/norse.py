"""The update equations of norse's neurons, from which the work of one update is counted.

In them ``d`` is a timestep over a time constant, as in norse's functions.

The caller passes the state in with each call and gets it back, so there is nothing to reset. A cell
computes one timestep; the other modules hold time as the first axis. The first output has one
element for each update. Recurrent forms add two contractions to the current: one of the input and
one of the last spikes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from analyzer.measure.neurons.equation import Neuron, from_output, lateral, one_step, time_first
from analyzer.measure.neurons.library import Library
from analyzer.measure.neurons.scalar import Number, exp, number, relu, select, setting

__all__ = ["LIBRARY"]


def _rate(m: Any, p: Any, name: str) -> float:
    return float(m.dt * number(getattr(p, name)))


def _reset(p: Any, v: Number, spike: Number) -> Number:
    return select(spike, number(p.v_reset), v)


def _iaf(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    v = v + x
    spike = v > number(m.p.v_th)
    return spike, _reset(m.p, v, spike)


def _leak(m: Any, p: Any, x: Number, v: Number, i: Number) -> tuple[Number, Number]:
    """I <- i + x; v <- v + d · (v_leak - v + i); i <- i - d · i."""
    i = i + x
    v = v + _rate(m, p, "tau_mem_inv") * (number(p.v_leak) - v + i)
    return v, i + -_rate(m, p, "tau_syn_inv") * i


def _leaky_integrator(m: Any, x: Number, v: Number, i: Number) -> tuple[Number, ...]:
    v, i = _leak(m, m.p, x, v, i)
    return v, v, i


def _lif_of(m: Any, p: Any, x: Number, v: Number, i: Number) -> tuple[Number, ...]:
    v, i = _leak(m, p, x, v, i)
    spike = v > number(p.v_th)
    return spike, _reset(p, v, spike), i


def _lif(m: Any, x: Number, v: Number, i: Number) -> tuple[Number, ...]:
    return _lif_of(m, m.p, x, v, i)


def _lif_box(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    """A LIF without a synaptic current; resets to a value, or by the threshold."""
    p = m.p
    v = v + _rate(m, p, "tau_mem_inv") * (x + number(p.v_leak) - v)
    spike = v > number(p.v_th)
    # Before norse 1.1 there was no choice of the reset.
    if getattr(getattr(p, "reset_method", None), "__name__", "") == "reset_subtract":
        return spike, select(spike, v - number(p.v_th), v)
    return spike, _reset(p, v, spike)


def _leaky_integrator_box(m: Any, x: Number, v: Number) -> tuple[Number, ...]:
    v = v + _rate(m, m.p, "tau_mem_inv") * (number(m.p.v_leak) - v + x)
    return v, v


def _refractory(m: Any, x: Number, v: Number, i: Number, rho: Number) -> tuple[Number, ...]:
    """A LIF whose potential does not change for ``rho_reset`` timesteps after a spike."""
    spike, after, i = _lif_of(m, m.p.lif, x, v, i)
    still = rho > 0
    spike = select(still, 0.0, spike)
    rho = select(spike, number(m.p.rho_reset), relu(rho - still))
    return spike, select(still, v, after), i, rho


def _lsnn(m: Any, x: Number, v: Number, i: Number, b: Number) -> tuple[Number, ...]:
    """A LIF whose threshold b relaxes to v_th and rises by beta with each spike."""
    p = m.p
    v = v + _rate(m, p, "tau_mem_inv") * (number(p.v_leak) - v + i)
    i = i + -_rate(m, p, "tau_syn_inv") * i
    b = b + _rate(m, p, "tau_adapt_inv") * (number(p.v_th) - b)
    spike = v > b
    return spike, _reset(p, v, spike), i + x, b + spike * number(p.beta)


def _upstroke(p: Any, v: Number) -> Number:
    return number(p.delta_T) * exp((v - number(p.v_th)) / number(p.delta_T))


def _exponential(m: Any, x: Number, v: Number, i: Number) -> tuple[Number, ...]:
    """A LIF with an exponential upstroke."""
    p = m.p
    i = i + x
    v = v + _rate(m, p, "tau_mem_inv") * (number(p.v_leak) - v + _upstroke(p, v) + i)
    spike = v > number(p.v_th)
    return spike, _reset(p, v, spike), i + -_rate(m, p, "tau_syn_inv") * i


def _adaptive(m: Any, x: Number, v: Number, i: Number, a: Number) -> tuple[Number, ...]:
    """The same with an adaptation current."""
    p = m.p
    i = i + x
    after = v + _rate(m, p, "tau_mem_inv") * (number(p.v_leak) - v + _upstroke(p, v) + i - a)
    pull = number(p.adaptation_current) * (v - number(p.v_leak))
    a = a + _rate(m, p, "tau_ada_inv") * (pull - a)
    spike = after > number(p.v_th)
    v = _reset(p, after, spike)
    i = i + -_rate(m, p, "tau_syn_inv") * i
    return spike, v, i, a + spike * number(p.adaptation_spike)


def _izhikevich(m: Any, x: Number, v: Number, u: Number) -> tuple[Number, ...]:
    p = m.p
    d = setting(p.tau_inv) * m.dt
    after = v + d * (p.sq * (v * v) + p.mn * v + p.bias - u + x)
    u = u + d * p.a * (p.b * v - u)
    spike = after > setting(p.v_th)
    return spike, select(spike, setting(p.c), after), select(spike, u + p.d, u)


def _neurons() -> dict[str, Neuron]:
    forms: dict[str, Neuron] = {}
    once, both = ("Cell", ""), ("Cell", "", "RecurrentCell", "Recurrent")
    for home, name, update, states, suffixes in (
        ("iaf", "IAF", _iaf, 1, once),
        ("lif", "LIF", _lif, 2, both),
        ("lif_box", "LIFBox", _lif_box, 1, ("Cell",)),
        ("lif_refrac", "LIFRefrac", _refractory, 3, ("Cell", "RecurrentCell", "Recurrent")),
        ("lif_ex", "LIFEx", _exponential, 2, both),
        ("lif_adex", "LIFAdEx", _adaptive, 3, both),
        ("lsnn", "LSNN", _lsnn, 3, both),
        ("izhikevich", "Izhikevich", _izhikevich, 2, both),
        ("leaky_integrator", "LI", _leaky_integrator, 2, once),
        ("leaky_integrator_box", "LIBox", _leaky_integrator_box, 1, ("Cell",)),
    ):
        for suffix in suffixes:
            recurrent = "Recurrent" in suffix
            forms[f"torch.module.{home}.{name}{suffix}"] = Neuron(
                lateral(update) if recurrent else update,
                states + recurrent,
                updates=from_output,
                steps=one_step if "Cell" in suffix else time_first,
            )
    # It multiplies its input by weights, a contraction that is counted on its own.
    cell = forms["torch.module.leaky_integrator.LICell"]
    return forms | {"torch.module.leaky_integrator.LILinearCell": cell}


LIBRARY = Library("norse", MappingProxyType(_neurons()))
"""The multi-compartment, conductance-based and correlated neurons are counted operation by
operation."""
