"""Weights that the package ships: recorded accuracy, size, and the README beside them."""

import csv
import json

import pytest
import torch
from safetensors import safe_open

from analyzer import models
from analyzer.data.digits import digits
from analyzer.data.idx import find_idx
from analyzer.data.splits import open_splits
from analyzer.errors import AnalyzerError
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
    assert sum(path.stat().st_size for path in FASHION.parent.rglob("*.safetensors")) < 6_000_000


@pytest.mark.parametrize("name", TRAINED)
def test_the_readme_lists_the_command(name):
    with safe_open(models.weights_path(name), framework="pt") as file:
        command = json.loads(file.metadata()["training"])["command"]
    assert command in models.weights_path(name).with_name("README.md").read_text()


FASHION = models.weights_path("ge2mst-tiny-ann", "fashion-mnist").parent
ON_FASHION = sorted(path.stem for path in FASHION.glob("*.safetensors"))


def record_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["training"])


@pytest.mark.parametrize("name", ON_FASHION)
def test_weights_of_fashion_mnist_come_with_their_command_and_log(name):
    path = models.weights_path(name, "fashion-mnist")
    record = record_of(path)
    assert record["name"] == name
    assert record["command"].startswith(f"analyzer train {name} --data fashion-mnist ")
    readme = path.with_name("README.md").read_text()
    assert record["command"] in readme
    assert f"| {100 * record['test_accuracy']:.2f} % |" in readme
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == record["epochs"]
    assert float(rows[-1]["train_loss"]) == record["train_loss"]


def test_all_were_trained_on_fashion_mnist_by_one_recipe():
    """The commands differ in names, and in the learning rate of the one without batch norm."""
    assert {"ge2mst-tiny", "ge2mst-tiny-ann", "ge2mst-tiny-stbp"} <= set(ON_FASHION)
    commands = set()
    for name in ON_FASHION:
        record = record_of(models.weights_path(name, "fashion-mnist"))
        recipe, _, _ = record["command"].partition(" -o ")
        if name == "vit-tiny":
            recipe = recipe.replace(" --lr 0.002 ", " --lr 0.008 ")
        commands.add(recipe.replace(f" {name} ", " NAME "))
    assert len(commands) == 1


@pytest.mark.parametrize("name", ON_FASHION)
def test_weights_of_fashion_mnist_reach_their_recorded_accuracy(name):
    """On 600 of the 10,000 images, whose share of right answers lies near that of all."""
    try:
        find_idx("fashion-mnist")
    except AnalyzerError as error:
        pytest.skip(str(error))
    test = open_splits("fashion-mnist", (1, 32, 32)).test
    some = torch.utils.data.Subset(test, range(600))
    found = accuracy(models.build(name, pretrained="fashion-mnist"), some)
    expected = record_of(models.weights_path(name, "fashion-mnist"))["test_accuracy"]
    assert found == pytest.approx(expected, abs=0.05)


def test_weights_of_other_data_are_not_taken_for_these():
    message = "'spikezip-tiny' on fashion-mnist; there are some for ge2"
    with pytest.raises(AnalyzerError, match=message):
        models.build("spikezip-tiny", pretrained="fashion-mnist")
    states = [
        models.build("ge2mst-tiny-ann", pretrained=data).state_dict()
        for data in (True, "digits", "fashion-mnist")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["stem.conv.weight"], states[2]["stem.conv.weight"])


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
