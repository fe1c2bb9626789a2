"""Resets within a block of ``analyzer.watch``, which are the caller's own."""

import warnings

import pytest
import sinabs
import sinabs.layers
import snntorch
import torch
from frame_models import Loop, fully_connected, spikes
from spikingjelly.activation_based import functional
from test_resets import Leaky
from torch import nn

import analyzer


def watched(model, data, reset=None, every=1, **given):
    with analyzer.watch(model, **given) as found, torch.no_grad():
        for at, x in enumerate(data, 1):
            model(x)
            if reset is not None and not at % every:
                reset(model)
    return found


def sequential(neuron):
    return nn.Sequential(nn.Linear(6, 3), neuron).eval()


CASES = {
    "spikingjelly s": (
        lambda: Loop(fully_connected("s")), (5, 6), functional.reset_net, r"'net\.1'"
    ),
    "spikingjelly m": (fully_connected, (4, 5, 6), functional.reset_net, "'1'"),
    "snntorch": (
        lambda: sequential(snntorch.Leaky(0.9, init_hidden=True)), (5, 6),
        lambda m: m[1].reset_mem(), "'1'",
    ),
    "sinabs": (
        lambda: sequential(sinabs.layers.LIF(tau_mem=5.0)), (2, 4, 6), sinabs.reset_states, "'1'"
    ),
    "own": (lambda: sequential(Leaky()), (5, 6), lambda m: m[1]._to_rest(), "'1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_reset_that_is_missing_is_said_with_the_module(name):
    model, shape, reset, module = CASES[name]
    given = {"timesteps": 1} if name == "snntorch" else {}
    data = [spikes(*shape, seed=seed) for seed in range(3)]
    with pytest.warns(analyzer.AnalyzerWarning, match=f"module {module} keeps state.*reset"):
        watched(model(), data, **given).profile()
    if not given:  # else a reset after every second forward says that T is 2
        with pytest.warns(analyzer.AnalyzerWarning, match="keeps state"):
            watched(model(), data, reset, 2).profile()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched(model(), data, reset, **given).profile()
        watched(model(), data[:1], **given).profile()


class OwnState(nn.Module):
    """Hands the state of its neurons on by itself, as most networks of snnTorch do."""

    def __init__(self):
        super().__init__()
        self.f, self.n = nn.Linear(6, 3), snntorch.Leaky(0.9)

    def forward(self, x):
        v, out = self.n.init_leaky(), 0
        for _ in range(4):
            spikes, v = self.n(self.f(x), v)
            out = out + spikes
        return out


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "model",
    [
        lambda: OwnState().eval(),
        lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.ReLU()),
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout()).train(),
    ],
)
def test_models_without_state_need_no_reset(model):
    assert watched(model(), [spikes(5, 6)] * 3).profile().samples == 15


@pytest.mark.filterwarnings("error")
def test_training_with_resets_is_as_it_is_without():
    model = Loop(fully_connected("s")).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with analyzer.watch(model) as found:
        for _ in range(3):
            model(spikes(5, 6)).sum().backward()
            optimiser.step()
            functional.reset_net(model)
    assert found.profile().samples == 15


def unrolled(reset_every, timesteps, forwards=8, **given):
    return watched(
        fully_connected("s"), [spikes(5, 6)] * forwards, functional.reset_net, reset_every,
        timesteps=timesteps,
    ).profile(**given)  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("every", "timesteps"), [(4, 4), (2, 2), (8, 8), (1, 1)])
def test_a_loop_of_the_callers_is_reset_after_every_inference(every, timesteps):
    profile = unrolled(every, timesteps)
    assert (profile.samples, profile.metadata["timesteps"]) == (8 // every * 5, timesteps)


@pytest.mark.parametrize(("every", "timesteps"), [(4, 2), (4, 8), (2, 4), (4, 1), (2, 8)])
def test_a_loop_of_the_callers_that_contradicts_t_is_refused(every, timesteps):
    with pytest.raises(analyzer.AnalyzerError, match=rf"T = {timesteps}.*timesteps={every}\)"):
        unrolled(every, timesteps)


def test_a_loop_of_the_callers_without_resets():
    for steps in (1, 2, 4):
        with pytest.warns(analyzer.AnalyzerWarning, match="'1' keeps state"):
            assert unrolled(100, steps).samples == 8 // steps * 5
    with pytest.warns(analyzer.AnalyzerWarning, match="'1' keeps state"):
        unrolled(100, None, samples=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert unrolled(100, 8).samples == unrolled(100, None, samples=5).samples == 5
