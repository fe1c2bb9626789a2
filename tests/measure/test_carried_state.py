"""State that modules of no known library keep between forward passes."""

import warnings
from collections import deque
from types import SimpleNamespace

import pytest
import sinabs.layers
import snntorch
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import analyzer
from analyzer.measure.neurons.state import reset_state


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


def batches(n=2, size=2):
    torch.manual_seed(0)
    return [torch.rand(size, 3) for _ in range(n)]


@pytest.mark.parametrize("kind", [Attribute, InPlace, Buffer, Queue, Nested])
@pytest.mark.parametrize("ran_before", [False, True])
def test_state_is_found_in_the_first_batch_with_the_path_of_its_module(kind, ran_before):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), kind()), Unused()).eval()
    if ran_before:
        with torch.no_grad():
            model(batches()[0])
    with pytest.raises(analyzer.AnalyzerError, match=r"module '1\.1' keeps state"):
        analyzer.profile(model, batches())
    with pytest.warns(analyzer.AnalyzerWarning, match=r"module '1\.1' keeps state"):
        analyzer.profile(model, batches()[0])


def test_the_model_itself_may_hold_state():
    with pytest.raises(analyzer.AnalyzerError, match="the model itself"):
        analyzer.profile(Attribute().eval(), batches())


@pytest.mark.parametrize("kind", [Cached, Unused])
@pytest.mark.filterwarnings("error")
def test_what_is_made_once_is_no_state(kind):
    # A smaller last batch makes another mask.
    analyzer.profile(kind().eval(), [*batches(), torch.rand(1, 3)])


def test_the_reset_of_the_caller_is_trusted():
    model = Attribute().eval()
    profile = analyzer.profile(model, batches(), reset=lambda m: setattr(m, "v", 0.0))
    assert profile.samples == 4


@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_no_state_of_a_neuron(training):
    model = nn.Sequential(nn.BatchNorm1d(3)).train(training)
    assert analyzer.profile(model, batches()).samples == 4


class Average(nn.Module):
    """Follows the mean of its inputs in a buffer, and may divide by it."""

    def __init__(self, used, in_place, shape=(3,)):
        super().__init__()
        self.used, self.in_place = used, in_place
        self.register_buffer("mean", torch.ones(shape))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x):
        if self.training:
            now = 0.9 * self.mean + 0.1 * x.mean(0).detach()
            self.seen += 1
            self.mean = self.mean.copy_(now) if self.in_place else now
        return x / self.mean if self.used else x


@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("shape", [(3,), (1, 3)])
@pytest.mark.parametrize("size", [2, 3])
def test_averages_in_buffers_of_training_are_no_state(used, in_place, shape, size):
    model = nn.Sequential(nn.Linear(3, 3), Average(used, in_place, shape))
    assert analyzer.profile(model.train(), batches(3, size)).samples == 3 * size
    assert model[1].seen == 0


class Hidden(nn.Module):
    """Keeps its potential in a buffer."""

    def __init__(self, in_place, lazy):
        super().__init__()
        self.in_place = in_place
        self.register_buffer("v", None if lazy else torch.zeros(2, 3), persistent=False)

    def forward(self, x):
        now = x if self.v is None else 0.5 * self.v + x
        self.v = self.v.copy_(now) if self.in_place and self.v is not None else now
        return (self.v >= 1).float()


@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_hidden_state_in_a_buffer_is_state_in_training_too(training, in_place, lazy):
    model = nn.Sequential(nn.BatchNorm1d(3), Hidden(in_place, lazy)).train(training)
    with pytest.raises(analyzer.AnalyzerError, match="module '1' keeps state"):
        analyzer.profile(model, batches())
    assert analyzer.profile(model, batches(), reset=lambda m: setattr(m[1], "v", None)).samples == 4


@pytest.mark.filterwarnings("ignore:the model is in training mode")
def test_the_second_run_leaves_nothing_behind():
    """What tells state runs the first batch once more, and is undone."""
    drawn = []

    class Noisy(Cached):
        def forward(self, x):
            drawn.append(torch.rand(2))
            return super().forward(x)

    model = Noisy().train()
    data = batches()
    torch.manual_seed(1)
    expected = [torch.rand(2) for _ in range(2)]
    torch.manual_seed(1)
    analyzer.profile(model, data)
    first, again, second = drawn  # of each batch, and the run between them
    assert torch.equal(again, first)
    assert torch.equal(torch.stack([first, second]), torch.stack(expected))
    assert (model.mask, model.by_size) == (None, {})


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
@pytest.mark.filterwarnings("error::analyzer.AnalyzerWarning")
def test_known_libraries_are_reset_and_not_reported(module):
    model = nn.Sequential(module).eval()
    with torch.no_grad():
        first = model(batches()[0])
        reset_state(model)
        again = model(batches()[0])
    assert torch.equal(first, again)
    analyzer.profile(model, batches(), samples=2)


class Restful(nn.Module):
    """A neuron whose reset, of one kind or another, puts its potential to rest."""

    def __init__(self, rest, lazy):
        super().__init__()
        self.rest = rest
        self.v = None if lazy else torch.zeros(1, 3)

    def reset(self):
        if self.v is not None:
            self.v = self.rest(self.v)

    def forward(self, x):
        v = torch.zeros(1, 3) if self.v is None else self.v
        self.v = 0.5 * v + x
        return (self.v >= 1).float()


RESTS = [
    lambda v: torch.zeros(1, 3),
    lambda v: torch.zeros_like(v),
    lambda v: v.zero_(),
    lambda v: torch.full((1, 3), 0.5) * torch.ones(3),
    lambda v: torch.rand(1, 3),
    lambda v: None,
    lambda v: torch.tensor([[0.0, 0.5, 0.0]]),
]


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("lazy", [True, False])
def test_what_a_reset_makes_anew_is_no_state(rest, lazy):
    model = nn.Sequential(nn.Linear(3, 3), Restful(rest, lazy)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analyzer.profile(model, batches(3))
        analyzer.profile(model, batches()[0])


@pytest.mark.parametrize("rest", [lambda v: v.detach(), lambda v: 0.9 * v, lambda v: v.mul_(0.1)])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_reset_that_keeps_some_state_does_not_hide_it(rest, lazy):
    model = nn.Sequential(nn.Linear(3, 3), Restful(rest, lazy)).eval()
    with pytest.raises(analyzer.AnalyzerError, match="module '1' keeps state"):
        analyzer.profile(model, batches())


def test_outputs_that_a_reset_overwrites_are_scored_as_they_were():
    class Accumulates(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("v", torch.zeros(2, 3))

        def reset(self):
            self.v.zero_()

        def forward(self, x):
            return self.v.add_(x)

    x = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    profile = analyzer.profile(Accumulates().eval(), [(x, torch.tensor([1, 2]))] * 2)
    assert profile.correct == 4


@pytest.mark.filterwarnings("error")
def test_a_shape_that_is_read_is_no_value():
    class Restarts(nn.Module):
        def __init__(self):
            super().__init__()
            self.v = torch.zeros(1, 3)

        def forward(self, x):
            self.v = torch.zeros_like(self.v) + self.v.new_zeros(1) + x
            return self.v

    analyzer.profile(nn.Sequential(nn.Linear(3, 3), Restarts()).eval(), batches())


def test_state_within_an_object_is_found():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.state = Memory()

        def forward(self, x):
            self.state.v = 0.5 * self.state.v + x
            return (self.state.v > 1).float()

    with pytest.raises(analyzer.AnalyzerError, match="module '1' keeps state"):
        analyzer.profile(nn.Sequential(nn.Linear(3, 3), Holder()).eval(), batches())


class Memory:
    def __init__(self):
        self.v = torch.zeros(1)
