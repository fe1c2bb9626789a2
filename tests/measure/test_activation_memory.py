"""Bytes of activations and of neuron state that a profile holds, against sums by hand."""

import pytest
import sinabs.layers
import torch
from torch import nn

import analyzer
from analyzer import models


def test_a_profile_holds_the_sum_and_the_peak_of_activation_bytes():
    class Chain(nn.Module):
        def forward(self, x):
            a = x + 1  # alive: a
            b = a * 2  # a, b
            c = torch.cat([b, b], 1)  # a, b, c
            del a, b
            c.mul_(3)
            return c.view(-1)[:2] + 1  # c and two numbers

    memory = analyzer.profile(Chain().eval(), torch.rand(4, 10)).memory
    row = 4 * 10
    assert memory["activations_bytes"] == row + row + 2 * row + 2 * row + 2
    assert memory["peak_activations_bytes"] == 4 * row
    assert memory["neuron_state_bytes"] == 0


@pytest.mark.parametrize("name", ["ge2mst-tiny", "ge2mst-tiny-stbp"])
def test_each_neuron_keeps_one_potential(name):
    model = models.build(name).eval()
    shapes = []
    for module in model.modules():
        if type(module).__name__ in ("ExpGIF", "LIF"):
            module.register_forward_pre_hook(lambda m, a: shapes.append(a[0].shape))
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        model(images)
    once = sum(s.numel() // (s[0] if len(s) == 5 else 1) for s in shapes) // 2
    assert analyzer.profile(model, images).memory["neuron_state_bytes"] == 4 * once


def test_the_sum_of_two_profiles_holds_the_larger_activations_and_is_saved(tmp_path):
    model = models.build("ge2mst-tiny-stbp").eval()
    parts = [analyzer.profile(model, torch.rand(n, 1, 32, 32)) for n in (1, 4)]
    whole = parts[0] + parts[1]
    largest = max(p.memory["activations_bytes"] for p in parts)
    assert whole.memory["activations_bytes"] == largest
    assert analyzer.load(whole.save(tmp_path / "p.json")) == whole


STEPS, NEURONS = 5, 7
SINABS = {
    # One potential a neuron; an adaptive threshold, and what a recurrent layer sends, are more.
    "LIF": ({"tau_mem": 20.0}, 1),
    "LIF with a current": ({"tau_mem": 20.0, "tau_syn": 10.0}, 2),
    "IAF": ({}, 1),
    "ALIF": ({"tau_mem": 20.0, "tau_adapt": 20.0}, 2),
    "ExpLeak": ({"tau_mem": 20.0}, 1),
    "LIFSqueeze": ({"tau_mem": 20.0, "batch_size": 3}, 1),
    "LIFSqueeze by time": ({"tau_mem": 20.0, "num_timesteps": STEPS}, 1),
    "IAFSqueeze": ({"batch_size": 3}, 1),
    "IAFSqueeze by time": ({"num_timesteps": STEPS}, 1),
}


@pytest.mark.parametrize("declared", [{}, {"timesteps": STEPS}])
@pytest.mark.parametrize("name", SINABS)
def test_state_of_sinabs_is_that_of_one_timestep(name, declared):
    """Samples come first and time second; the state was once that of all timesteps together."""
    arguments, potentials = SINABS[name]
    layer = getattr(sinabs.layers, name.partition(" ")[0])(**arguments)
    model = nn.Sequential(nn.Linear(4, NEURONS), layer).eval()
    x = torch.rand(3, STEPS, 4)
    x = x.flatten(0, 1) if "Squeeze" in name else x
    profile = analyzer.profile(model, x, **declared)
    assert (profile.samples, profile.metadata["timesteps"]) == (3, STEPS)
    assert profile.memory["neuron_state_bytes"] == NEURONS * potentials * 4
    (tally,) = [t for t in profile.tallies if t.module == "1"]
    assert (tally.state_size, tally.output_elements) == (NEURONS * potentials, 3 * STEPS * NEURONS)
