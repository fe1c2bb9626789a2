"""Networks of other spiking libraries, profiled as they are."""

import pytest
import torch
from oracles import counted, rows, watch
from sinabs.layers import IAFSqueeze
from snntorch import Leaky
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import analyzer


class SingleStep(nn.Module):
    """SpikingJelly: one network called once a timestep."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            neuron.IFNode(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            neuron.LIFNode(),
            nn.Flatten(),
            nn.Linear(6 * 16, 10),
        )

    def forward(self, x):
        return sum(self.net(x) for _ in range(3))


class MultiStep(nn.Module):
    """SpikingJelly: all timesteps in one call."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            layer.Conv2d(1, 4, 3, padding=1, step_mode="m"),
            neuron.LIFNode(step_mode="m"),
            layer.AvgPool2d(2, step_mode="m"),
            layer.Conv2d(4, 6, 3, stride=2, step_mode="m"),
            neuron.LIFNode(step_mode="m"),
            layer.Flatten(step_mode="m"),
            layer.Linear(6, 10, step_mode="m"),
        )

    def forward(self, x):
        return self.net(x.unsqueeze(0).repeat(3, 1, 1, 1, 1)).mean(0)


class SnnTorch(nn.Module):
    """Hidden state, kept between calls."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 20), nn.Linear(20, 10)
        self.spikes = Leaky(beta=0.9, init_hidden=True)
        self.out = Leaky(beta=0.9, init_hidden=True)

    def forward(self, x):
        return sum(self.out(self.last(self.spikes(self.first(x.flatten(1))))) for _ in range(3))


class Sinabs(nn.Module):
    """Time folded into the batch axis."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            IAFSqueeze(num_timesteps=3),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 6, 3),
            IAFSqueeze(num_timesteps=3),
            nn.Flatten(),
            nn.Linear(24, 10),
        )

    def forward(self, x):
        return self.net(x.repeat_interleave(3, 0))


NETWORKS = [SingleStep, MultiStep, SnnTorch, Sinabs]


def forget(model):
    if isinstance(model, (SingleStep, MultiStep)):
        functional.reset_net(model)
    for module in model.modules():
        if isinstance(module, Leaky):
            module.reset_mem()
        if isinstance(module, IAFSqueeze):
            module.reset_states()


@pytest.fixture(params=NETWORKS, ids=lambda n: n.__name__)
def model(request):
    torch.manual_seed(0)
    model = request.param().eval()
    for parameter in model.parameters():
        parameter.data *= 3
    return model


def test_counts_equal_brute_force(model):
    x = 4 * torch.rand(4, 1, 8, 8)
    forget(model)
    expected = rows(watch(model, x))
    forget(model)
    profile = analyzer.profile(model, x, timesteps=3)
    assert counted(profile) == expected
    assert profile.totals["unary_events"] > 0


def test_state_is_reset_between_batches(model):
    x = torch.rand(2, 1, 8, 8)
    once = analyzer.profile(model, x, timesteps=3)
    again = analyzer.profile(model, [x, x], timesteps=3)
    assert again == once + once
    assert again.totals["events"] == 2 * once.totals["events"]


def test_batches_may_be_cut_anywhere(model):
    x = torch.rand(5, 1, 8, 8)
    whole = analyzer.profile(model, x, timesteps=3)
    cut = analyzer.profile(model, list(x.split(2)), timesteps=3)
    assert cut.operations().equals(whole.operations())


def test_timesteps_of_a_step_loop_are_told_apart():
    torch.manual_seed(0)
    model = SingleStep().eval()
    steps = analyzer.profile(model, torch.rand(4, 1, 8, 8), timesteps=3).sparsity("timestep")
    assert set(steps["timestep"]) == {0, 1, 2}
    assert set(steps["module"]) == {"net.0", "net.4", "net.7"}
