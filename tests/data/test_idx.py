"""IDX files of the MNIST family: which are read, and what is said of damaged ones."""

import gzip
import struct

import numpy as np
import pytest
import torch

from analyzer.data import idx
from analyzer.data.idx import GreyImages, find_idx, read_idx
from analyzer.data.sources import open_data
from analyzer.data.splits import open_splits
from analyzer.errors import AnalyzerError

SIDE = 28


def encode(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def data_set(folder, names=("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"), side=SIDE):
    """Writes four files; gives the arrays of images and labels by split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(names[0]))
    made = []
    for name, count in zip(names, (7, 4), strict=True):
        images = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 4
        pairs = {name: images, name.replace("images", "labels").replace("idx3", "idx1"): labels}
        for file, array in pairs.items():
            content = encode(array)
            content = gzip.compress(content) if file.endswith(".gz") else content
            (folder / file).write_bytes(content)
        made.append((images, labels))
    return made


NAMES = {
    "plain": ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
    "gzipped": ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    "one of each": ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"),
    "with dots": ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"),
    "EMNIST": (
        "emnist-letters-train-images-idx3-ubyte.gz",
        "emnist-letters-test-images-idx3-ubyte.gz",
    ),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("inside", ["", "raw"], ids=["the folder", "torchvision's raw"])
def test_both_splits_are_read_with_their_labels(tmp_path, names, inside):
    made = data_set(tmp_path / "set" / inside, names)
    splits = open_splits(str(tmp_path / "set"), (1, SIDE, SIDE))
    assert (splits.classes, splits.shape, splits.mirrored) == (4, (1, SIDE, SIDE), False)
    for split, (images, labels) in zip((splits.train, splits.test), made, strict=True):
        assert len(split) == len(images)
        for (image, label), pixels, expected in zip(split, images, labels, strict=True):
            assert image.dtype == torch.float32
            assert image.shape == (1, SIDE, SIDE)
            assert torch.equal((image[0] * 255).round(), torch.from_numpy(pixels).float())
            assert int(label) == expected


def test_the_test_images_are_measured_on(tmp_path):
    images, labels = data_set(tmp_path / "set")[1]
    loader, about = open_data(str(tmp_path / "set"), shape=(1, SIDE, SIDE), batch_size=3, samples=3)
    ((x, y),) = loader
    assert about == {"data": "set", "split": "test"}
    assert torch.equal((x[:, 0] * 255).round(), torch.from_numpy(images[:3]).float())
    assert y.tolist() == labels[:3].tolist()


def test_a_border_is_added_up_to_four_pixels_and_other_sizes_are_resized(tmp_path):
    images, _ = data_set(tmp_path)[0]
    files = find_idx(str(tmp_path))
    padded, _ = files.images("train", (1, 32, 31))[0]
    assert torch.equal((padded[0, 2:30, 1:29] * 255).round(), torch.from_numpy(images[0]).float())
    assert padded.sum() == pytest.approx(images[0].sum() / 255, rel=1e-6)
    halved, _ = files.images("train", (3, 14, 14))[0]
    assert halved.shape == (3, 14, 14)
    assert torch.equal(halved[0], halved[2])
    assert float(halved.mean()) == pytest.approx(images[0].mean() / 255, rel=0.05)
    with pytest.raises(AnalyzerError, match="one or three channels, such as 1,28,28"):
        files.images("train", (2, 28, 28))


def test_one_of_several_data_sets_is_chosen_by_its_name(tmp_path):
    for kind in ("letters", "digits"):
        data_set(
            tmp_path,
            tuple(f"emnist-{kind}-{split}-images-idx3-ubyte" for split in ("train", "test")),
        )
    with pytest.raises(
        AnalyzerError, match=r"several data sets \(emnist-digits, emnist-letters\): name one"
    ):
        find_idx(str(tmp_path))
    found = find_idx(str(tmp_path / "emnist-digits"))
    assert found.name == "emnist-digits"
    assert found.test[1].name == "emnist-digits-test-labels-idx1-ubyte"


def test_a_folder_without_such_files_is_none_and_one_that_lacks_some_is_named(tmp_path):
    assert find_idx(str(tmp_path)) is None
    assert find_idx(str(tmp_path / "absent" / "data.npy")) is None
    data_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(AnalyzerError, match="lacks the test labels: of a data set") as error:
        find_idx(str(tmp_path))
    assert "train-images-idx3-ubyte" in str(error.value)


def damaged(content):
    return {
        "cut off": (
            content[:-5],
            "is cut off: its header announces 7×28×28 = 5488 bytes, and 5483",
        ),
        "too long": (content + b"!!", "longer than it should be: .* and more follow"),
        "in its header": (content[:9], "cut off in its header"),
        "empty": (b"", "it begins with nothing, not 00000803"),
        "labels": (encode(np.zeros(7, np.uint8)), "it begins with 00000801, not 00000803"),
        "floats": (b"\0\0\x0d\x03" + content[4:], "it begins with 00000d03, not 00000803"),
        "a web page": (b"<html>", "no IDX file of bytes along 3 axes"),
    }


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("case", damaged(b""))
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, case, packed):
    good = encode(np.ones((7, SIDE, SIDE), np.uint8))
    content, said = damaged(good)[case]
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(AnalyzerError, match=said) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_a_damaged_archive_is_named(tmp_path):
    packed = gzip.compress(encode(np.ones((7, SIDE, SIDE), np.uint8)))
    path = tmp_path / "images.gz"
    broken = bytearray(packed)
    broken[-6] ^= 0xFF  # in the checksum
    for content in (packed[:-10], b"no gzip", packed[: len(packed) // 2], bytes(broken)):
        path.write_bytes(content)
        with pytest.raises(AnalyzerError, match=r"cannot read .*images\.gz: .* get the file again"):
            read_idx(path, 3)
    with pytest.raises(AnalyzerError, match="cannot read"):
        read_idx(tmp_path / "absent.gz", 3)


def test_images_and_labels_that_do_not_belong_together_are_refused(tmp_path):
    data_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode(np.zeros(6, np.uint8)))
    with pytest.raises(AnalyzerError, match=r"holds 7 images and .* 6 labels"):
        open_splits(str(tmp_path), (1, SIDE, SIDE))
    data_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode(np.full(4, 9, np.uint8)))
    with pytest.raises(AnalyzerError, match="holds the label 9, which no training image"):
        open_splits(str(tmp_path), (1, SIDE, SIDE))
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        shape = (0, SIDE, SIDE) if "images" in name else (0,)
        (tmp_path / name).write_bytes(encode(np.zeros(shape, np.uint8)))
    with pytest.raises(AnalyzerError, match="holds no images"):
        open_splits(str(tmp_path), (1, SIDE, SIDE))


def test_fashion_mnist_is_found_by_name_or_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(idx, "_DEBIAN", tmp_path / "absent")
    with pytest.raises(AnalyzerError, match="apt-get install dataset-fashion-mnist") as error:
        open_splits("fashion-mnist", (1, 32, 32))
    assert "https://github.com/zalandoresearch/fashion-mnist" in str(error.value)
    data_set(tmp_path / "packaged", NAMES["gzipped"])
    monkeypatch.setattr(idx, "_DEBIAN", tmp_path / "packaged")
    splits = open_splits("fashion-mnist", (1, 32, 32))
    assert splits.mirrored
    assert find_idx("fashion-mnist").name == "fashion-mnist"
    assert open_data("fashion-mnist", shape=(1, 32, 32), batch_size=2, samples=None)[1] == {
        "data": "fashion-mnist",
        "split": "test",
    }


def test_grey_images_of_a_model_with_other_sides_keep_their_middle():
    pixels = torch.zeros(1, 5, 5, dtype=torch.uint8)
    pixels[0, 2, 2] = 255
    (image, _) = GreyImages(pixels, torch.zeros(1), (1, 8, 9))[0]
    assert image[0].nonzero().tolist() == [[3, 4]]
