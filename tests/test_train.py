"""Training of the reference models: repeatable, resumable, and saved with its settings."""

import csv
import json
import os
from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from analyzer import data, models, train
from analyzer.data import splits
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint
from analyzer.train import run
from analyzer.train.records import processor
from analyzer.train.settings import Settings

SETTINGS = Settings("vit-tiny", "digits", 40, 64, 2e-3, 0, None, None, None, 0.0, {})
"""Those of a training that is given none."""


@pytest.fixture
def few_digits(monkeypatch):
    """A twentieth of the digits, so that an epoch takes a moment."""
    few = [
        torch.utils.data.TensorDataset(*(t[::20] for t in split.tensors)) for split in data.digits()
    ]
    monkeypatch.setattr(splits, "digits", lambda size: few)
    return few


def rows_of(path):
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["ge2mst-tiny", "vit-tiny"])
def test_the_same_seed_writes_the_same_file_and_another_seed_another(few_digits, tmp_path, name):
    files = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = train.train(name, output=tmp_path / folder / "w.safetensors", epochs=1, seed=seed)
        files.append(result.output.read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_result_header_log_and_weights_agree(few_digits, tmp_path):
    result = train.train(
        "vit-tiny",
        output=tmp_path / "w.safetensors",
        log=tmp_path / "w.csv",
        epochs=3,
        batch_size=32,
        seed=5,
    )
    with safe_open(result.output, framework="pt") as file:
        record = json.loads(file.metadata()["training"])
    assert record == {
        "name": "vit-tiny",
        "command": "analyzer train vit-tiny --epochs 3 --batch-size 32 --lr 0.002 --seed 5 "
        "-o w.safetensors",
        "seed": 5,
        "epochs": 3,
        "parameters": result.parameters,
        "train_loss": result.train_loss,
        "test_accuracy": result.test_accuracy,
        "torch": torch.__version__,
        "machine": processor(),
    }
    rows = rows_of(tmp_path / "w.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["train_loss"] == result.train_loss < rows[0]["train_loss"]
    model = models.build("vit-tiny")
    load_checkpoint(model, result.output)
    assert train.accuracy(model, few_digits[1]) == result.test_accuracy
    assert rows[-1]["test_accuracy"] == pytest.approx(result.test_accuracy, abs=1 / 18)
    assert rows[-1]["lr"] == 0
    assert all(row["cpu_seconds"] >= 0 for row in rows)


def test_accuracy_is_the_share_of_right_answers_and_keeps_the_mode():
    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.eye(10)[[3]].expand(len(images), -1)

    _, test = data.digits(image_size=8)
    model = Constant().train()
    expected = float((test.tensors[1] == 3).float().mean())
    assert train.accuracy(model, test) == pytest.approx(expected)
    assert model.training


def test_the_callers_random_state_is_left_alone(few_digits, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train.train("vit-tiny", output=tmp_path / "w.safetensors", epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_failed_write_leaves_the_old_file_and_no_other(few_digits, tmp_path, monkeypatch):
    output = tmp_path / "w.safetensors"
    output.write_bytes(b"old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(AnalyzerError, match="disk full"):
        train.train("vit-tiny", output=output, epochs=1)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_nothing_is_printed_in_a_pipe(few_digits, tmp_path, capfd):
    train.train("vit-tiny", output=tmp_path / "w.safetensors", epochs=1)
    assert capfd.readouterr() == ("", "")


def test_wrong_requests_are_refused_before_any_work(tmp_path):
    with pytest.raises(AnalyzerError, match="epochs"):
        train.train("vit-tiny", output=tmp_path / "w.safetensors", epochs=0)
    with pytest.raises(AnalyzerError, match="unknown model"):
        train.train("vit-tony", output=tmp_path / "w.safetensors")
    with pytest.raises(AnalyzerError, match="3×224×224"):
        train.train("spikformer-8-512", output=tmp_path / "w.safetensors")
    with pytest.raises(AnalyzerError, match="is a folder"):
        train.train("vit-tiny", output=tmp_path)
    with pytest.raises(AnalyzerError, match="unknown augmentation 'mirror'"):
        train.train("vit-tiny", output=tmp_path / "w.safetensors", augment=["mirror"])
    with pytest.raises(AnalyzerError, match="3 training images are fewer than a step of 64"):
        train.train("vit-tiny", output=tmp_path / "w.safetensors", images=3)
    with pytest.raises(AnalyzerError, match="weight of accumulates"):
        train.train("vit-tiny", output=tmp_path / "w.safetensors", synops_weight=-1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_broke_off_goes_on_to_the_same_weights(few_digits, tmp_path, monkeypatch):
    settings = {"epochs": 4, "batch_size": 16, "patience": 3, "progress": False}
    whole = train.train("vit-tiny", output=tmp_path / "a.safetensors", **settings)
    output, log = tmp_path / "b.safetensors", tmp_path / "b.csv"
    accuracy, measured = train.accuracy, []

    def breaks(model, dataset):
        measured.append(dataset)
        if len(measured) == 3:  # one in each epoch
            raise KeyboardInterrupt
        return accuracy(model, dataset)

    monkeypatch.setattr(run, "accuracy", breaks)
    with pytest.raises(KeyboardInterrupt):
        train.train("vit-tiny", output=output, log=log, **settings)
    assert not output.exists()
    monkeypatch.setattr(run, "accuracy", accuracy)
    with pytest.raises(AnalyzerError, match="is of another training: go on with 'analyzer train"):
        train.train("vit-tiny", output=output, resume=True, **(settings | {"lr": 1e-3}))
    result = train.train("vit-tiny", output=output, log=log, resume=True, **settings)
    assert [row["epoch"] for row in rows_of(log)] == [1, 2, 3, 4]
    assert result.train_loss == whole.train_loss
    states = [load_file(r.output) for r in (whole, result)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert [p.name for p in tmp_path.iterdir() if "checkpoint" in p.name] == []


def test_there_must_be_something_to_resume(few_digits, tmp_path):
    output = tmp_path / "w.safetensors"
    with pytest.raises(AnalyzerError, match="there is nothing to resume"):
        train.train("vit-tiny", output=output, resume=True)
    checkpoint = output.with_name("w.safetensors.checkpoint")
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(AnalyzerError, match="is no checkpoint"):
        train.train("vit-tiny", output=output, resume=True)
    torch.save(torch.nn.Linear(2, 2), checkpoint)
    with pytest.raises(AnalyzerError, match=r"is no checkpoint .*such as a whole model") as refusal:
        train.train("vit-tiny", output=output, resume=True)
    assert "weights_only" not in str(refusal.value)


@pytest.mark.parametrize("content", [
    [1], {}, {"settings": None}, {"settings": {"name": "vit-tiny", "colour": 1}},
    {"settings": asdict(SETTINGS)}, {"settings": asdict(SETTINGS) | {"options": [1]}},
    {"settings": asdict(SETTINGS), "model": {"weight": torch.ones(1)}},
])  # fmt: skip
def test_a_checkpoint_of_another_version_is_refused_in_a_sentence(few_digits, tmp_path, content):
    output = tmp_path / "w.safetensors"
    torch.save(content, output.with_name("w.safetensors.checkpoint"))
    with pytest.raises(AnalyzerError, match="go on with the version that wrote it, or begin anew"):
        train.train("vit-tiny", output=output, resume=True)


def test_training_stops_early_and_keeps_the_best(few_digits, tmp_path, monkeypatch):
    reached = iter([0.3, 0.6, 0.5, 0.4, 0.9])
    kept = []

    def accuracy(model, dataset):
        if not isinstance(dataset, torch.utils.data.Subset):
            return 0.0
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(reached)

    monkeypatch.setattr(run, "accuracy", accuracy)
    result = train.train("vit-tiny", output=tmp_path / "w.safetensors", epochs=9, patience=2)
    assert result.epochs == 4
    saved = load_file(result.output)
    assert all(torch.equal(saved[k], v.half()) for k, v in kept[1].items() if v.is_floating_point())


def test_an_ann_is_saved_with_the_thresholds_of_its_conversion(few_digits, tmp_path):
    result = train.train("ge2mst-tiny-ann", output=tmp_path / "w.safetensors", epochs=1)
    saved = load_file(result.output)
    thetas = {float(value) for key, value in saved.items() if key.endswith("log_theta")}
    assert len(thetas) > 10
    with pytest.raises(AnalyzerError, match="is not trained: its weights are those of"):
        train.train("ge2mst-tiny-converted", output=tmp_path / "c.safetensors")


def test_nothing_of_the_test_images_is_seen_before_the_end_where_some_are_held_out(
    few_digits, tmp_path, monkeypatch
):
    accuracy, measured = train.accuracy, []

    def noted(model, dataset):
        measured.append(dataset)
        return accuracy(model, dataset)

    monkeypatch.setattr(run, "accuracy", noted)
    log = tmp_path / "w.csv"
    train.train("vit-tiny", output=tmp_path / "w", log=log, epochs=3, batch_size=16, patience=3)
    assert [dataset is few_digits[1] for dataset in measured] == [False, False, False, True]
    assert list(rows_of(log)[0]) == [
        "epoch",
        "train_loss",
        "held_out_accuracy",
        "lr",
        "cpu_seconds",
    ]


def test_a_part_of_the_images_is_trained_on(few_digits, tmp_path):
    settings = {"epochs": 1, "batch_size": 16, "progress": False}
    half = train.train("ge2mst-tiny-ann", output=tmp_path / "a", images=36, **settings)
    kept = torch.utils.data.TensorDataset(*(t[::2] for t in few_digits[0].tensors))
    assert len(few_digits[0]) == 72
    assert len(kept) == 36
    few_digits[0] = kept
    alone = train.train("ge2mst-tiny-ann", output=tmp_path / "b", **settings)
    states = [load_file(result.output) for result in (half, alone)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with safe_open(half.output, framework="pt") as file:
        assert " --images 36 " in json.loads(file.metadata()["training"])["command"]


@pytest.mark.parametrize(
    ("name", "options"), [("ge2mst-tiny-stbp", {"timesteps": 2}), ("ge2mst-tiny", {})]
)
def test_a_weight_on_accumulates_makes_them_fewer(few_digits, tmp_path, name, options):
    settings = {"epochs": 10, "batch_size": 8, "lr": 5e-3, "augment": [], "images": 16}
    found = {}
    for weight in (1e-12, 1e-5):
        log = tmp_path / f"{weight}.csv"
        result = train.train(
            name, output=tmp_path / "w", log=log, synops_weight=weight, options=options, **settings
        )
        found[weight] = [row["synops"] for row in rows_of(log)]
    assert found[1e-5][0] == pytest.approx(found[1e-12][0], rel=0.5)
    assert found[1e-5][-1] < 0.8 * found[1e-12][-1]
    with safe_open(result.output, framework="pt") as file:
        assert "--synops-weight 1e-05" in json.loads(file.metadata()["training"])["command"]


def test_a_weight_on_accumulates_of_a_network_without_any_is_refused(few_digits, tmp_path):
    with pytest.raises(AnalyzerError, match="no spikes drive an operation of ge2mst-tiny-ann"):
        train.train("ge2mst-tiny-ann", output=tmp_path / "w", epochs=1, synops_weight=1e-7)
