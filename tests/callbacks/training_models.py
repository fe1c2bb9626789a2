"""Small networks to train, with all that a training changes: statistics, dropout, neuron state."""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from analyzer.models.neurons import LIF

T = 3


class Spiking(nn.Module):
    """A spiking classifier of 12 features, its input presented T times."""

    def __init__(self):
        super().__init__()
        self.timesteps = T
        self.inner = nn.Linear(12, 20)
        self.norm = nn.BatchNorm1d(20)
        self.neurons = LIF()
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(20, 3)

    def forward(self, x):
        current = self.norm(self.inner(x))
        spikes = self.neurons(current.expand(T, *current.shape))
        return self.head(self.drop(spikes)).mean(0)


def data(number=96):
    """Features [number, 12] and classes [number], the same each time."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(0, 3, (number,), generator=generator)
    x = torch.randn(number, 12, generator=generator)
    x[:, :3] += 2 * F.one_hot(y, 3)
    return x, y


def seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def draws():
    """The next random number of each generator, which moves them on."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def train(model, steps, watch=lambda step: None, accumulate=1):
    """Trains for some steps; returns the weights, the optimizer's state and what is drawn next."""
    x, y = data()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    model.train()
    for step in range(steps):
        chosen = torch.randint(0, len(x), (16,))
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        loss.backward()
        if (step + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        watch(step)
    state = [t for values in optimizer.state.values() for t in values.values()]
    return [*model.state_dict().values(), *state], draws()


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
