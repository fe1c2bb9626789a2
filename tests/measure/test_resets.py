"""What is reset before a batch, and state that nothing resets."""

import warnings

import pytest
import sinabs
import torch
from frame_models import Loop, fully_connected
from random_spikes import random_spikes
from sinabs.from_torch import from_model
from torch import nn

import analyzer


class Leaky(nn.Module):
    """State of a module that no library knows."""

    def __init__(self, resets=False):
        super().__init__()
        self.v = None
        if resets:
            self.reset = self._to_rest

    def _to_rest(self):
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else 0.5 * self.v + x
        return (self.v > 0.6).float()


class Count(nn.Module):
    """A number that decides."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x if self.calls % 2 else x * 0


def test_state_that_nothing_resets_is_an_error_with_several_batches():
    x = torch.rand(2, 6)
    for module in (Leaky(), Count()):
        model = nn.Sequential(nn.Linear(6, 6), module, nn.Linear(6, 3)).eval()
        with pytest.raises(analyzer.AnalyzerError, match=r"module '1' keeps state.*reset="):
            analyzer.profile(model, [x, x])
        with pytest.warns(analyzer.AnalyzerWarning, match="keeps state"):
            analyzer.profile(model, x)


def test_a_reset_of_its_own_and_a_given_one_are_called():
    x = torch.rand(2, 6)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Leaky(resets=True), nn.Linear(6, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        three = analyzer.profile(model, [x, x, x])
        one = analyzer.profile(model, x)
        del model[1].reset
        given = analyzer.profile(model, [x, x, x], reset=lambda m: m[1]._to_rest())
    assert three.totals["ac"] == 3 * one.totals["ac"] == given.totals["ac"]
    assert three.metadata["frame"]["reset"] == "1 module before every batch"


class Cached(nn.Module):
    """Makes a table once, keeps its last output, counts its calls: no state."""

    def __init__(self):
        super().__init__()
        self.table, self.last, self.calls, self.seen = None, None, 0, []

    def forward(self, x):
        if self.table is None:
            self.table = torch.arange(6.0)
        self.calls += 1
        self.last = x * self.table
        self.seen.append(x.detach())
        return self.last


def test_what_is_made_anew_or_once_is_no_state():
    model = nn.Sequential(nn.Linear(6, 6), Cached(), nn.Linear(6, 3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            analyzer.profile(model, [torch.rand(2, 6)] * 3)
            with torch.no_grad():
                model(torch.rand(2, 6))
    assert model[1].calls == 2


def test_an_earlier_forward_changes_nothing():
    x = torch.rand(5, 6) * 2
    model = Loop(fully_connected("s"))
    fresh = analyzer.profile(model, x)
    with torch.no_grad():
        model(x)
    assert analyzer.profile(model, x) == fresh


def test_state_that_a_graph_computed_is_reset():
    """sinabs' conversion runs the network once with gradients, so its state hangs on a graph."""
    ann = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False)).eval()
    network = from_model(ann, input_shape=(4,), num_timesteps=3).spiking_model.eval()
    assert network[1].v_mem.grad_fn is not None
    spikes = random_spikes(6, 4)
    profile = analyzer.profile(network, spikes)
    assert (profile.samples, profile.metadata["timesteps"]) == (2, 3)
    assert profile.counts["events"][0] == spikes.count_nonzero() * 5
    sinabs.reset_states(network)  # as before the call
