"""Whether a module that looks like a copy of a library's neuron computes the same equation.

Papers ship edited copies of SpikingJelly under other package names. A class name says little about
an edited file, so a copy is run beside the equation, on the same input currents.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.measure.neurons.equation import Neuron
from analyzer.measure.neurons.scalar import Scalar, Tally, restarted
from analyzer.measure.torch_private.modules import constants_of

__all__ = ["if_it_computes"]

_STEPS, _NEURONS = 8, 16


def if_it_computes(kind: Neuron) -> Neuron:
    """The same kind, of one state variable, for modules that are seen to compute its equation.

    Their outputs and their potential ``v`` are compared. A module is left as it is; one that can't
    be run does not fit.
    """
    return replace(kind, fits=lambda module: kind.fits(module) and _computes(module, kind))


def _computes(module: nn.Module, kind: Neuron) -> bool:
    try:
        with torch.no_grad():
            return _agree(_duplicate(module), kind)
    except Exception:  # it is not the library's code
        return False


def _duplicate(module: nn.Module) -> Any:
    """The same module at rest, with constants of its own: double precision, in host memory."""
    double: Any = object.__new__(type(module))
    vars(double).update(
        {
            name: copy.copy(value) if isinstance(value, dict) else value
            for name, value in vars(module).items()
        }
    )
    for constants in constants_of(double):
        constants.update({name: _constant(value) for name, value in constants.items()})
    if getattr(double, "backend", "torch") != "torch":
        double.backend = "torch"
    double.reset()
    return double


def _constant(value: Tensor | None) -> Tensor | None:
    if value is None or not value.is_floating_point():
        return value
    if value.is_meta:
        found = torch.full(value.shape, 0.5, dtype=torch.float64, device="cpu")
    else:
        found = value.detach().to("cpu", torch.float64)
    return nn.Parameter(found) if isinstance(value, nn.Parameter) else found


def _currents(threshold: float) -> Tensor:
    """Irregular currents [T, N], weaker and stronger than what makes a neuron fire."""
    n = torch.arange(_STEPS * _NEURONS, dtype=torch.float64, device="cpu")
    irregular = ((n * (math.sqrt(5) - 1) / 2) % 1).reshape(_STEPS, _NEURONS)
    strength = torch.logspace(-1, 1.5, _NEURONS, dtype=torch.float64, device="cpu")
    return threshold * strength * (1.5 * irregular - 0.25)


def _agree(module: Any, kind: Neuron) -> bool:
    x = _currents(abs(float(module.v_threshold)) or 1.0)
    rest = float(module.v)
    at_once = kind.steps(module, (x,), None) == _STEPS
    calls = [x] if at_once else list(x)
    outputs, potentials = [], []
    for call in calls:
        outputs.append(module.forward(call))
        potentials.append(module.v)
    found = outputs[0] if at_once else torch.stack(outputs)
    if found.shape != x.shape or len(found.unique()) < 2:
        return False
    expected, states = torch.empty_like(x), torch.empty_like(x)
    for n in range(_NEURONS):
        v: Any = rest
        for t in range(_STEPS):
            tally = Tally()
            spike, v = kind.update(module, Scalar(float(x[t, n]), tally), restarted(v, tally))
            expected[t, n], states[t, n] = spike.value, v.value  # type: ignore[union-attr]
    after = states[-1:] if at_once else states
    same = torch.allclose(found, expected, equal_nan=True)
    return same and torch.allclose(torch.stack(potentials), after, equal_nan=True)
