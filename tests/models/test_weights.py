"""Weights that the package ships: recorded accuracy, size, and the README beside them."""

import json

import pytest
import torch
from safetensors import safe_open

from analyzer import models
from analyzer.data.digits import digits
from analyzer.models.neurons import LIF
from analyzer.train import accuracy

TRAINED = [
    "ge2mst-tiny",
    "ge2mst-tiny-ann",
    "ge2mst-tiny-stbp",
    "spikformer-tiny",
    "vit-tiny",
]


@pytest.mark.parametrize("name", TRAINED)
def test_trained_weights_reach_their_recorded_accuracy(name):
    with safe_open(models.weights_path(name), framework="pt") as file:
        record = json.loads(file.metadata()["training"])
    assert record["name"] == name
    assert record["command"].startswith(f"analyzer train {name} ")
    found = accuracy(models.build(name, pretrained=True), digits()[1])
    assert found >= 0.95
    # Another machine may round a handful of images differently.
    assert found == pytest.approx(record["test_accuracy"], abs=0.01)


def test_all_weights_together_stay_small():
    assert sum(models.weights_path(name).stat().st_size for name in TRAINED) < 3_000_000


@pytest.mark.parametrize("name", TRAINED)
def test_the_readme_lists_the_command(name):
    with safe_open(models.weights_path(name), framework="pt") as file:
        command = json.loads(file.metadata()["training"])["command"]
    assert command in models.weights_path(name).with_name("README.md").read_text()


def test_spikformer_fires_at_healthy_rates():
    model = models.build("spikformer-tiny", pretrained=True).eval()
    totals = [0.0, 0]

    def count(_, args, spikes):
        totals[0] += float(spikes.sum())
        totals[1] += spikes.numel()

    for module in model.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(digits()[1].tensors[0][:64])
    assert 0.05 < totals[0] / totals[1] < 0.30
