"""Small networks whose spikes, outputs and weights are known, for tests of memory models."""

import torch
from random_spikes import random_spikes
from spikingjelly.activation_based import layer, neuron
from torch import nn

T = 4

WORD = 32


class Spiking(nn.Module):
    """A convolution and two linear layers, each with a neuron behind it."""

    def __init__(self, node, kernel, stride, padding):
        super().__init__()
        side = (8 + 2 * padding - kernel) // stride + 1
        self.conv = layer.Conv2d(2, 6, kernel, stride, padding, step_mode="m")
        self.hidden = layer.Linear(6 * side**2, 20, step_mode="m")
        self.head = layer.Linear(20, 5, step_mode="m")
        self.neurons = nn.ModuleList(node(step_mode="m") for _ in range(3))
        self.outputs = 6 * side**2, 20, 5

    def forward(self, x):
        x = self.neurons[0](self.conv(x)).flatten(2)
        return self.neurons[2](self.head(self.neurons[1](self.hidden(x))))


def network(node=neuron.IFNode, kernel=2, stride=2, padding=0):
    torch.manual_seed(0)
    net = Spiking(node, kernel, stride, padding).eval()
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(3)
    return net


def spikes(batch=1):
    """Input of the network, ``[T, B, 2, 8, 8]``."""
    return random_spikes(T, batch, 2, 8, 8, seed=1)


class Rated(nn.Module):
    """Spikes of a given rate that pass 256-128-10, as Spyx does it."""

    def __init__(self, rate):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 10)])
        self.spikes = [torch.zeros(100, 256), torch.zeros(100, 128)]
        for x in self.spikes:
            x[: round(100 * rate)] = 1

    def forward(self, x):
        return sum(f(s + 0 * x.sum()).sum() for f, s in zip(self.layers, self.spikes, strict=True))
