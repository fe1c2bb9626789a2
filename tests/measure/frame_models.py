"""Small networks for the tests of the frame."""

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn


def spiking(*modules, mode="m"):
    net = nn.Sequential(*modules).eval()
    functional.set_step_mode(net, mode)
    return net


class MeanOverTime(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x).mean(0)


class Call(nn.Module):
    """A forward that a test writes."""

    def __init__(self, forward, **modules):
        super().__init__()
        self._call = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args, **kwargs):
        return self._call(self, *args, **kwargs)


def spikes(*shape, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def fully_connected(mode="m"):
    torch.manual_seed(0)
    return spiking(layer.Linear(6, 5), neuron.IFNode(), layer.Linear(5, 3), mode=mode)


class Loop(nn.Module):
    """A time loop around a single-step network."""

    def __init__(self, net, steps=4):
        super().__init__()
        self.net, self.steps = net, steps
        self.eval()

    def forward(self, x):
        return sum(self.net(x) for _ in range(self.steps)) / self.steps
