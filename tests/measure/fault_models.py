"""Small models that read ``[B, 8]`` and keep state from call to call, and data for them."""

import torch
from snntorch import Leaky
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron
from torch import nn


class Functional(nn.Module):
    """Products, views and writes without a module of their own, and state in plain attributes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("mean", torch.zeros(8))
        self.steps = []

    def reset(self):
        self.mean.zero_()
        self.steps.clear()

    def forward(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.5)
        self.weight.data.mul_(0.5)
        self.steps.append(x.detach())
        y = (x @ self.weight).relu_().clone()
        y[:, 0] = 1
        q = y.view(len(x), 1, 2, 4)
        return nn.functional.scaled_dot_product_attention(q, q, q).flatten(1)


def models():
    """Builders of small models that read ``[B, 8]``; several keep state from call to call."""
    return {
        "spikingjelly": lambda: nn.Sequential(
            nn.Linear(8, 8), neuron.LIFNode(), sj_layer.Dropout(0.5), nn.Linear(8, 4),
            neuron.IFNode(),
        ),
        "snntorch": lambda: nn.Sequential(
            nn.Linear(8, 8), Leaky(beta=0.9, init_hidden=True), nn.Linear(8, 4)
        ),
        "normalised": lambda: nn.Sequential(
            nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(),
            nn.Dropout(0.3), nn.Flatten(), nn.Linear(16, 4),
        ),
        "attention": lambda: nn.Sequential(
            nn.Unflatten(1, (2, 4)), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        ),
        "functional": Functional,
    }  # fmt: skip


def built(name, seed, training=False):
    """A model with gradients, neuron state and mixed training flags."""
    torch.manual_seed(seed)
    model = models()[name]().train(training)
    model(torch.rand(3, 8)).sum().backward()
    leaf = [*model.modules()][-1]
    leaf.train(not training)
    with torch.no_grad():
        for module in model.modules():  # neuron state without a graph behind it
            for key, value in vars(module).items():
                if isinstance(value, torch.Tensor):
                    setattr(module, key, value.detach())
    return model


def two_layers():
    """Two linear layers that read ``[B, 8]``."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def data(seed, batches=3):
    g = torch.Generator().manual_seed(seed)
    return [(torch.rand(3, 8, generator=g) < 0.4).float() for _ in range(batches)]


class UnderMode(nn.Module):
    """Runs a model under a user's mode that its forward enters."""

    def __init__(self, inner, mode):
        super().__init__()
        self.inner = inner
        self.mode = mode

    def forward(self, x):
        with self.mode():
            return self.inner(x)
