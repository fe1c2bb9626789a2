"""Opens training and test data: the embedded digits, the MNIST family, CIFAR, folders of images.

``analyzer train --data`` takes what :func:`open_splits` opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from analyzer.data.digits import digits
from analyzer.data.folders import class_folders, open_folder
from analyzer.data.idx import FASHION, IdxFiles, find_idx
from analyzer.errors import AnalyzerError, reason_of

__all__ = ["Splits", "open_splits"]

_TRAIN = ("train",)
_TEST = ("val", "test", "valid", "validation")
_CIFAR: Mapping[str, tuple[tuple[str, ...], str, int, int]] = MappingProxyType(
    {
        "cifar-10-batches-bin": (
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 1, 10,
        ),
        "cifar-100-binary": (("train.bin",), "test.bin", 2, 100),
    }
)  # fmt: skip
"""Folders of the binary version: training files, test file, bytes of labels, classes."""

Images = Dataset[Any]


@dataclass(frozen=True)
class Splits:
    """Labelled images to train on and to test on.

    Attributes:
        train: Pairs of an image, float32 ``[C, H, W]`` in [0, 1], and a label.
        test: The same for testing.
        shape: Shape (C, H, W) of an image.
        classes: Number of classes.
        mirrored: Whether a mirrored image keeps its class, so that training may mirror images.
    """

    train: Images
    test: Images
    shape: tuple[int, int, int]
    classes: int
    mirrored: bool

    def held_out(self) -> tuple[Images, Images]:
        """The training images but every tenth, and these, for choosing when to stop."""
        count = len(cast(Sized, self.train))
        kept = [i for i in range(count) if i % 10]
        return Subset(self.train, kept), Subset(self.train, range(0, count, 10))

    def part(self, images: int) -> Splits:
        """The same with only so many training images, evenly spaced, or all if there are fewer."""
        count = len(cast(Sized, self.train))
        kept = [i * count // images for i in range(images)]
        return self if images >= count else replace(self, train=Subset(self.train, kept))


def open_splits(spec: str, shape: tuple[int, int, int]) -> Splits:
    """Opens training data.

    Args:
        spec: ``digits``; ``fashion-mnist``, or a folder of IDX files of the MNIST family (see
            :func:`analyzer.data.idx.find_idx`); the folder of the binary version of CIFAR-10 or
            CIFAR-100; or a folder with subfolders ``train`` and ``val`` (or ``test``), each with a
            folder of images a class, as ImageNet comes.
        shape: (C, H, W) that images are resized to. The digits have one channel; images of CIFAR
            stay 3×32×32; those of 28×28 get a black border where the model reads 32×32.

    Raises:
        AnalyzerError: If there is no such data, or it does not fit.
    """
    path = Path(spec)
    if spec == "digits":
        if shape[0] != 1:
            raise AnalyzerError(
                f"the embedded digits have one channel, and the model takes "
                f"{'×'.join(map(str, shape))}: use data of your own, --data FOLDER."
            )
        train, test = digits(shape[-1])
        return Splits(train, test, shape, 10, mirrored=False)
    found = find_idx(spec)
    if found is not None:
        return _idx(found, shape)
    if not path.is_dir():
        raise AnalyzerError(
            f"there is no training data {spec!r}: give digits, fashion-mnist, or a folder of IDX "
            "files, of CIFAR or of images."
        )
    for name in _CIFAR:
        folder = path if path.name == name else path / name
        if folder.is_dir():
            return _cifar(folder)
    return _folders(path, shape)


def _idx(files: IdxFiles, shape: tuple[int, int, int]) -> Splits:
    """Reads IDX files. The label 0 counts as a class also where it is not used (EMNIST letters)."""
    train, test = files.images("train", shape), files.images("test", shape)
    classes = int(train.labels.max()) + 1
    if int(test.labels.max()) >= classes:
        raise AnalyzerError(
            f"{files.test[1]} holds the label {int(test.labels.max())}, which no training image of "
            f"{files.train[1]} has."
        )
    # Digits and letters change when they are mirrored, and clothes do not.
    return Splits(train, test, shape, classes, mirrored=files.name == FASHION)


def _cifar(folder: Path) -> Splits:
    """Reads the binary version of CIFAR: for each image its labels, then 3×32×32 bytes."""
    names, test, labels, classes = _CIFAR[folder.name]
    fit = _concatenated([_records(folder / name, labels) for name in names])
    held = _concatenated([_records(folder / test, labels)])
    return Splits(fit, held, (3, 32, 32), classes, mirrored=True)


def _records(path: Path, labels: int) -> tuple[Tensor, Tensor]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise AnalyzerError(f"cannot read {path}: {reason_of(error)}.") from None
    size = labels + 3 * 32 * 32
    if not len(content) or len(content) % size:
        raise AnalyzerError(f"{path} is no file of CIFAR images: {len(content)} bytes.")
    rows = torch.from_numpy(content.reshape(-1, size))
    return rows[:, labels:].view(-1, 3, 32, 32), rows[:, labels - 1].long()


def _concatenated(parts: list[tuple[Tensor, Tensor]]) -> TensorDataset:
    images, labels = (torch.cat(some) for some in zip(*parts, strict=True))
    return TensorDataset(images.float() / 255, labels)


def _folders(root: Path, shape: tuple[int, int, int]) -> Splits:
    found = [
        next((root / name for name in names if (root / name).is_dir()), None)
        for names in (_TRAIN, _TEST)
    ]
    if found[0] is None or found[1] is None:
        raise AnalyzerError(f"{root} has no folders train and val, with images in one a class.")
    classes = [[c.name for c in class_folders(folder)] for folder in found if folder]
    if not classes[0] or classes[0] != classes[1]:
        raise AnalyzerError(f"{found[0]} and {found[1]} do not have the same classes.")
    splits = [open_folder(folder, shape) for folder in found if folder]
    return Splits(splits[0], splits[1], shape, len(classes[0]), mirrored=True)
