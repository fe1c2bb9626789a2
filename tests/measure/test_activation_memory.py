"""Bytes of activations and of neuron state that a profile holds, against sums by hand."""

import pytest
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
