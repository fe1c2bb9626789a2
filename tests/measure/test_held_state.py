"""State that modules of no known library keep between forward passes."""

from collections import deque
from types import SimpleNamespace

import pytest
import sinabs.layers
import snntorch
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from analyzer.measure.neurons.state import changed, held_state, reset_state


class Attribute(nn.Module):
    """Keeps its potential as an attribute, none before the first pass."""

    def __init__(self):
        super().__init__()
        self.v = 0.0

    def forward(self, x):
        self.v = 0.5 * self.v + x
        spikes = (self.v >= 1).float()
        self.v = self.v - spikes
        return spikes


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.v = torch.zeros(2, 3)

    def forward(self, x):
        self.v.mul_(0.5).add_(x)
        return (self.v >= 1).float()


class Buffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("v", torch.zeros(2, 3), persistent=False)

    def forward(self, x):
        self.v = 0.5 * self.v + x
        return (self.v >= 1).float()


class Queue(nn.Module):
    """Delays its input by the length of a queue."""

    def __init__(self):
        super().__init__()
        self.past = deque(maxlen=3)

    def forward(self, x):
        self.past.append(x)
        return self.past[0]


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.states = {"layer": [None, (torch.zeros(2, 3), 1.0)]}

    def forward(self, x):
        v = self.states["layer"][1][0] + x
        self.states["layer"][1] = (v, 1.0)
        return v


class Cached(nn.Module):
    """Keeps a mask that it makes once a size."""

    def __init__(self):
        super().__init__()
        self.mask = None
        self.by_size = {}

    def forward(self, x):
        if self.mask is None or len(self.mask) != len(x):
            self.mask = torch.ones(len(x), 3)
        self.by_size.setdefault(len(x), torch.ones(len(x), 3))
        return x * self.mask * self.by_size[len(x)]


class Unused(nn.Module):
    """Holds a constant beside its parameters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.weights = [self.weight]
        self.table = torch.arange(3.0)
        self.settings = SimpleNamespace(scale=2.0)

    def forward(self, x):
        return x * self.weight * self.table


def moved(model, *batches):
    """What changed from the first batch to the last."""
    with torch.no_grad():
        model(batches[0])
        before = held_state(model)
        for batch in batches[1:]:
            model(batch)
    return changed(before, model)


def batches(n=2, size=2):
    torch.manual_seed(0)
    return [torch.rand(size, 3) for _ in range(n)]


@pytest.mark.parametrize("kind", [Attribute, InPlace, Buffer, Queue, Nested])
def test_state_is_found_with_the_path_of_its_module(kind):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), kind()), Unused()).eval()
    assert moved(model, *batches()) == ["1.1"]


def test_the_model_itself_may_hold_state():
    assert moved(Attribute(), *batches()) == [""]


@pytest.mark.parametrize("kind", [Cached, Unused])
def test_what_is_made_once_is_no_state(kind):
    assert moved(kind().eval(), *batches()) == []
    # A smaller last batch makes another mask.
    assert moved(kind().eval(), *batches(), torch.rand(1, 3)) == []


def test_state_that_is_reset_by_hand_is_still_found():
    """What matters is that it moved: whoever resets it says so."""
    model = Attribute()
    model(batches()[0])
    before = held_state(model)
    model.v = 0.0
    model(batches()[1])
    assert changed(before, model) == [""]


def test_running_statistics_of_training_are_no_state_of_a_neuron():
    assert moved(nn.Sequential(nn.BatchNorm1d(3)).train(), *batches()) == []
    assert moved(nn.Sequential(nn.BatchNorm1d(3)).eval(), *batches()) == []


def test_writes_under_inference_mode_need_no_version():
    model = Attribute()
    with torch.inference_mode():
        model(batches()[0])
        before = held_state(model)
        model(batches()[1])
    assert changed(before, model) == [""]


@pytest.mark.parametrize(
    "module",
    [
        neuron.LIFNode(),
        neuron.NonSpikingLIFNode(decode="last_mem"),
        layer.LinearRecurrentContainer(neuron.LIFNode(), 3, 3),
        layer.SynapseFilter(),
        layer.Delay(1),
        snntorch.Leaky(0.9, init_hidden=True),
        snntorch.RLeaky(0.9, linear_features=3, init_hidden=True),
        sinabs.layers.LIFSqueeze(tau_mem=5.0, batch_size=1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_known_libraries_are_reset_and_not_reported(module):
    model = nn.Sequential(module).eval()
    with torch.no_grad():
        first = model(batches()[0])
        reset_state(model)
        again = model(batches()[0])
    assert torch.equal(first, again)
    reset_state(model)
    assert moved(model, *batches()) == []


def test_nothing_is_kept_alive_or_copied():
    model = Attribute()
    model(torch.ones(2, 3))
    held = held_state(model)
    ((reference, _),) = held["", "v"]
    assert reference() is model.v
    model.v = None
    assert reference() is None
