import json
import os

import pytest
import torch
from safetensors import safe_open

from analyzer import data, models, train
from analyzer.checkpoints import load_checkpoint
from analyzer.errors import AnalyzerError


@pytest.fixture
def few_digits(monkeypatch):
    """A twentieth of the digits, so that an epoch takes a moment."""
    splits = [
        torch.utils.data.TensorDataset(*(t[::20] for t in split.tensors)) for split in data.digits()
    ]
    monkeypatch.setattr(train, "digits", lambda size: splits)
    return splits


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
        log=tmp_path / "w.jsonl",
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
    }
    rows = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["train_loss"] == result.train_loss < rows[0]["train_loss"]
    model = models.build("vit-tiny")
    load_checkpoint(model, result.output)
    assert train.accuracy(model, few_digits[1]) == result.test_accuracy == rows[-1]["test_accuracy"]


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
    with pytest.raises(AnalyzerError, match="3x224x224"):
        train.train("spikformer-8-512", output=tmp_path / "w.safetensors")
    with pytest.raises(AnalyzerError, match="is a folder"):
        train.train("vit-tiny", output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_distortion_is_small_and_different_for_each_image():
    torch.manual_seed(0)
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, 16, 16] = 1
    moved = train._distort(images)
    peaks = moved.flatten(1).argmax(1)
    offsets = torch.stack([peaks // 32 - 16, peaks % 32 - 16]).abs()
    assert offsets.max() <= 3
    assert len(peaks.unique()) > 8
