"""How a neuron is run over time: the calls that each library expects, and what they give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.measure.neurons.registry import kind_of
from analyzer.measure.neurons.scalar import Scalar, Tally


@dataclass(frozen=True)
class Case:
    """A neuron on input currents [T, N] of N neurons.

    Attributes:
        make: Builds the module.
        calls: ``(module, x) -> [(args, output), ...]``: the calls of one run.
        join: Makes [T, N] of the outputs.
        start: Its state variables at rest.
        feed: ``(x, state) -> x``: what reaches the equation, where a contraction comes before it.
        lateral: What the lateral connection makes of an output, for the first state variable.
        scale: Of the random input.
        dtype: Of the input.
    """

    name: str
    make: Callable[[], nn.Module]
    calls: Callable[[nn.Module, Tensor], list[tuple[tuple[Any, ...], Any]]]
    join: Callable[[list[Any]], Tensor]
    start: tuple[float, ...] = (0.0,)
    feed: Callable[[float, list[float]], float] = lambda x, state: x
    lateral: Callable[[float], float] | None = None
    scale: float = 1.0
    dtype: torch.dtype = torch.float64

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        return self.join([output for _, output in self.calls(module, x)])


def first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else first(output[0])


def by_steps(module, x):
    """One call a timestep."""
    return [((x_t,), module(x_t)) for x_t in x]


def at_once(module, x):
    """All timesteps in one call, time first."""
    return [((x,), module(x))]


def batch_first(module, x):
    return [((x.T[:, :, None],), module(x.T[:, :, None]))]


def squeezed(module, x):
    flat = x.T.reshape(-1, 1)
    return [((flat,), module(flat))]


def as_images(module, x):
    images = x[:, :, None, None, None]
    return [((images,), module(images))]


def one_feature(module, x):
    """Neurons as a batch of one feature each."""
    return [((x[..., None],), module(x[..., None]))]


def one_feature_by_steps(module, x):
    return [((x_t[:, None],), module(x_t[:, None])) for x_t in x]


def one_batch(module, x):
    return [((x[:, None],), module(x[:, None]))]


def one_batch_by_steps(module, x):
    return [((x_t[None],), module(x_t[None])) for x_t in x]


def one_pixel_by_steps(module, x):
    return [((x_t[:, None, None, None],), module(x_t[:, None, None, None])) for x_t in x]


def stack(outputs):
    return torch.stack([first(o).flatten() for o in outputs])


def whole(outputs):
    return first(outputs[0]).flatten(1)


def listed(outputs):
    """A list of potentials, one a timestep."""
    return torch.stack(outputs[0])


def transposed(outputs):
    return outputs[0].squeeze(-1).T


def unsqueezed(outputs, n=6):
    return outputs[0].reshape(n, -1).T


def handed_over(module, x):
    """A cell of norse: the caller keeps the state."""
    state, calls = None, []
    for x_t in x:
        args = (x_t[None], state)
        output, state = module(*args)
        calls.append((args, (output, state)))
    return calls


def simulate(case, module, x):
    """Every neuron by itself through the registry's equation: outputs, and the work of each."""
    _, kind = kind_of(module)
    outputs, works = torch.zeros_like(x), []
    for n in range(x.shape[1]):
        state = [Scalar(s, Tally()) for s in case.start]
        for t in range(x.shape[0]):
            tally = Tally()
            state = [Scalar(s.value, tally, spike=s.spike) for s in state]
            x_t = case.feed(float(x[t, n]), [s.value for s in state])
            output, *state = kind.update(module, Scalar(x_t, tally), *state)
            outputs[t, n] = output.value
            if case.lateral is not None:
                state[0] = Scalar(case.lateral(output.value), tally)
            if t:
                works.append(tally.work())
    return outputs, works
