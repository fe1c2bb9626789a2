"""Opening training data: the digits, CIFAR files and folders of images, and training on them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from analyzer.data.splits import open_splits
from analyzer.errors import AnalyzerError
from analyzer.train import train


def cifar(folder, files, labels):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for name, count in files.items():
        rows = rng.integers(0, 256, (count, labels + 3072), dtype=np.uint8)
        rows[:, labels - 1] %= 10
        rows.tofile(folder / name)
        written[name] = rows
    return written


@pytest.mark.parametrize("inside", [False, True], ids=["the folder", "its parent"])
def test_cifar_10_is_read_from_its_binary_files(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-bin"
    names = {**{f"data_batch_{i}.bin": 3 for i in range(1, 6)}, "test_batch.bin": 4}
    rows = cifar(folder, names, 1)
    splits = open_splits(str(tmp_path if inside else folder), (3, 32, 32))
    assert (len(splits.train), len(splits.test), splits.classes) == (15, 4, 10)
    image, label = splits.train[4]
    row = rows["data_batch_2.bin"][1]
    assert label == row[0]
    assert torch.equal((image * 255).round().flatten(), torch.from_numpy(row[1:]).float())


def test_cifar_100_takes_the_fine_label(tmp_path):
    rows = cifar(tmp_path / "cifar-100-binary", {"train.bin": 5, "test.bin": 2}, 2)
    splits = open_splits(str(tmp_path), (3, 32, 32))
    assert splits.classes == 100
    assert [int(y) for _, y in splits.train] == rows["train.bin"][:, 1].tolist()


def test_a_model_trains_on_cifar_as_its_images_are(tmp_path):
    cifar(tmp_path / "cifar-100-binary", {"train.bin": 20, "test.bin": 4}, 2)
    result = train("ge2mst-tiny-ann", data=str(tmp_path), output=tmp_path / "w", epochs=1)
    state = load_file(result.output)
    assert state["stem.conv.weight"].shape[1] == 3
    assert state["head.conv.weight"].shape[0] == 100
    assert "--data" in json.loads(safe_open(result.output, "pt").metadata()["training"])["command"]


def images(root, classes, size=(40, 30)):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", size, (i * 50, 100, 200)).save(root / name / f"{i}.png")


def test_folders_of_images_are_classes(tmp_path):
    images(tmp_path / "train", ["cat", "dog", "eel"])
    images(tmp_path / "val", ["cat", "dog", "eel"])
    splits = open_splits(str(tmp_path), (3, 16, 16))
    assert (len(splits.train), splits.classes, splits.mirrored) == (6, 3, True)
    assert [y for _, y in splits.test] == [0, 0, 1, 1, 2, 2]
    assert splits.train[0][0].shape == (3, 16, 16)


def test_every_tenth_image_is_held_out():
    splits = open_splits("digits", (1, 8, 8))
    kept, held = splits.held_out()
    assert len(kept) + len(held) == len(splits.train)
    assert len(held) == 144
    assert set(kept.indices).isdisjoint(held.indices)


def test_data_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(AnalyzerError, match="there is no training data 'nowhere'"):
        open_splits("nowhere", (3, 32, 32))
    with pytest.raises(AnalyzerError, match="one channel, and the model takes 3×32×32"):
        open_splits("digits", (3, 32, 32))
    with pytest.raises(AnalyzerError, match="has no folders train and val"):
        open_splits(str(tmp_path), (3, 32, 32))
    images(tmp_path / "train", ["cat", "dog"])
    images(tmp_path / "val", ["cat"])
    with pytest.raises(AnalyzerError, match="do not have the same classes"):
        open_splits(str(tmp_path), (3, 32, 32))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    with pytest.raises(AnalyzerError, match=r"cannot read .*data_batch_1.bin"):
        open_splits(str(folder), (3, 32, 32))
    (folder / "data_batch_1.bin").write_bytes(b"short")
    with pytest.raises(AnalyzerError, match="is no file of CIFAR images: 5 bytes"):
        open_splits(str(folder), (3, 32, 32))
