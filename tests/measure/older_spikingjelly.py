"""The neurons of ``spikingjelly.clock_driven``, written anew with its names and its settings.

Loaded under the module path of the old package it stands for that; under any other, for a copy in
the code of a paper. ``load`` does this.
"""

from __future__ import annotations

import copy
import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn


def load(path: str) -> ModuleType:
    """This file as a module of another name, with classes of its own."""
    spec = importlib.util.spec_from_file_location(path, __file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MemoryModule(nn.Module):
    """Holds state apart from other attributes."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[str, Any] = {}
        self._at_rest: dict[str, Any] = {}

    def register_memory(self, name: str, value: Any) -> None:
        self._memories[name] = value
        self._at_rest[name] = copy.deepcopy(value)

    def reset(self) -> None:
        self._memories.update(copy.deepcopy(self._at_rest))

    def __getattr__(self, name: str) -> Any:
        memories = self.__dict__.get("_memories", {})
        return memories[name] if name in memories else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_memories", {}):
            self._memories[name] = value
        else:
            super().__setattr__(name, value)


class Surrogate(nn.Module):
    """A step; its gradient is of no interest here."""

    spiking = True

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x)


class BaseNode(MemoryModule):
    def __init__(self, v_threshold=1.0, v_reset=0.0, surrogate_function=None, detach_reset=False):
        super().__init__()
        self.register_memory("v", v_reset or 0.0)
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate_function = surrogate_function or Surrogate()

    def neuronal_fire(self) -> Tensor:
        return self.surrogate_function(self.v - self.v_threshold)

    def neuronal_reset(self, spike: Tensor) -> None:
        if self.detach_reset:
            spike = spike.detach()
        if self.v_reset is None:
            self.v = self.v - spike * self.v_threshold
        else:
            self.v = (1 - spike) * self.v + spike * self.v_reset

    def forward(self, x: Tensor) -> Tensor:
        self.neuronal_charge(x)
        spike = self.neuronal_fire()
        self.neuronal_reset(spike)
        return spike


class IFNode(BaseNode):
    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


class Leaking(BaseNode):
    def __init__(self, decay_input=True, **settings):
        super().__init__(**settings)
        self.decay_input = decay_input

    def leak(self, x: Tensor, rate: Any) -> None:
        above = self.v - (self.v_reset or 0.0)
        if self.decay_input:
            self.v = self.v + (x - above) * rate
        else:
            self.v = self.v - above * rate + x


class LIFNode(Leaking):
    def __init__(self, tau=2.0, **settings):
        super().__init__(**settings)
        self.tau = tau

    def neuronal_charge(self, x: Tensor) -> None:
        self.leak(x, 1 / self.tau)


class ParametricLIFNode(Leaking):
    def __init__(self, init_tau=2.0, **settings):
        super().__init__(**settings)
        self.w = nn.Parameter(-torch.tensor(init_tau - 1).log())

    def neuronal_charge(self, x: Tensor) -> None:
        self.leak(x, self.w.sigmoid())


class QIFNode(BaseNode):
    def __init__(self, tau=2.0, v_c=0.8, a0=1.0, v_rest=0.0, v_reset=-0.1, **settings):
        super().__init__(v_reset=v_reset, **settings)
        self.tau, self.v_c, self.a0, self.v_rest = tau, v_c, a0, v_rest

    def neuronal_charge(self, x: Tensor) -> None:
        bent = self.a0 * (self.v - self.v_rest) * (self.v - self.v_c)
        self.v = self.v + (x + bent) / self.tau


class EIFNode(BaseNode):
    def __init__(self, tau=2.0, delta_T=1.0, theta_rh=0.8, v_rest=0.0, v_reset=-0.1, **settings):
        super().__init__(v_reset=v_reset, **settings)
        self.tau, self.delta_T, self.theta_rh, self.v_rest = tau, delta_T, theta_rh, v_rest

    def neuronal_charge(self, x: Tensor) -> None:
        v = torch.as_tensor(self.v)
        upstroke = self.delta_T * ((v - self.theta_rh) / self.delta_T).exp()
        self.v = v + (x + self.v_rest - v + upstroke) / self.tau


class Several(BaseNode):
    """All timesteps in one call."""

    backend = "torch"

    def forward(self, x_seq: Tensor) -> Tensor:
        assert self.backend == "torch", "the kernels of cupy run on a GPU"
        return torch.stack([super(Several, self).forward(x) for x in x_seq])


class MultiStepIFNode(Several, IFNode):
    pass


class MultiStepLIFNode(Several, LIFNode):
    pass


class MultiStepParametricLIFNode(Several, ParametricLIFNode):
    pass


class MultiStepEIFNode(Several, EIFNode):
    pass
