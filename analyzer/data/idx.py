"""Reads the IDX files of the MNIST family: MNIST, Fashion-MNIST, KMNIST and EMNIST, gzipped or not.

Such a data set is four files, images and labels of a training and of a test split. An IDX file is a
header (two zero bytes, a code for the type, the number of axes, the length of each axis) and then
the elements, all big-endian.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from analyzer.errors import AnalyzerError, reason_of

__all__ = ["FASHION", "GreyImages", "IdxFiles", "find_idx", "read_idx"]

FASHION = "fashion-mnist"
"""The name under which ``--data`` finds the files of Debian's package."""

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTES = 8
_LARGEST_BYTES = 2**30
"""What a file may announce: the largest of the family, EMNIST by class, has 547 MB."""

_PADDED = 4
"""Images up to so many pixels smaller than the model reads get a border; see GreyImages."""

_TEST = ("t10k", "test")
Split = Literal["train", "test"]


class IdxFiles(NamedTuple):
    """Where the four files of a data set are."""

    name: str
    train: tuple[Path, Path]
    test: tuple[Path, Path]

    def images(self, split: Split, shape: tuple[int, ...] | None = None) -> GreyImages:
        """Reads one split.

        Args:
            split: Which one.
            shape: (C, H, W) that images are brought to; as they are by default.

        Raises:
            AnalyzerError: If a file is damaged, or images and labels do not belong together.
        """
        at, labels_at = self.train if split == "train" else self.test
        images, labels = read_idx(at, 3), read_idx(labels_at, 1)
        if len(images) != len(labels):
            raise AnalyzerError(
                f"{at} holds {len(images)} images and {labels_at} {len(labels)} labels: they do "
                "not belong together."
            )
        if not images.size:
            raise AnalyzerError(f"{at} holds no images.")
        return GreyImages(torch.from_numpy(images), torch.from_numpy(labels).long(), shape)


class GreyImages(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of an image, float32 ``[C, H, W]`` in [0, 1], and a label.

    Bytes are kept and become floats when an image is asked for. Images that are at most four pixels
    smaller than asked for get a black border, which moves no pixel (28×28 becomes 32×32 so); all
    others are resized bilinearly. A grey image fills each of three channels.

    Args:
        images: uint8 ``[N, H, W]``.
        labels: int64 ``[N]``.
        shape: (C, H, W) of the result; one channel and the size of the images by default.

    Raises:
        AnalyzerError: If the shape is none of an image.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, shape: tuple[int, ...] | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self.shape = (1, *images.shape[1:]) if shape is None else tuple(shape)
        if len(self.shape) != 3 or self.shape[0] not in (1, 3) or min(self.shape) < 1:
            raise AnalyzerError(
                f"grey images can not have shape {self.shape}: give one or three channels, such as "
                f"{','.join(map(str, (1, *images.shape[1:])))}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index].float().unsqueeze(0) / 255
        channels, *size = self.shape
        missing = [wanted - has for wanted, has in zip(size, image.shape[1:], strict=True)]
        if any(missing) and all(0 <= pixels <= _PADDED for pixels in missing):
            up, left = (pixels // 2 for pixels in missing)
            image = F.pad(image, (left, missing[1] - left, up, missing[0] - up))
        elif any(missing):
            image = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        return image.expand(channels, -1, -1), self.labels[index]


def find_idx(spec: str) -> IdxFiles | None:
    """Finds the files of a data set.

    Args:
        spec: ``fashion-mnist``; a folder that holds the files, or whose folder ``raw`` does; or
            such a folder and, where it holds several data sets, what all names of one begin with:
            ``emnist/emnist-letters``.

    Returns:
        The files, None if there are none there.

    Raises:
        AnalyzerError: If some of the four are missing, there are several data sets, or
            Fashion-MNIST is not installed.
    """
    path = Path(spec)
    if spec == FASHION and not path.is_dir():
        if not _DEBIAN.is_dir():
            raise AnalyzerError(
                f"{FASHION} is not installed: `apt-get install dataset-fashion-mnist` on Debian or "
                "Ubuntu, or download its four files from "
                "https://github.com/zalandoresearch/fashion-mnist and give their folder, "
                "--data FOLDER."
            )
        path = _DEBIAN
    if path.is_dir():
        folder, start = path, ""
    else:
        folder, start = path.parent, f"{path.name}-"
    found: dict[str, dict[str, Path]] = {}
    for place in (folder, folder / "raw"):
        for prefix, part, file in _parts(place):
            if prefix.startswith(start):
                found.setdefault(prefix, {}).setdefault(part, file)
    if not found:
        return None
    if len(found) > 1:
        names = sorted(prefix.rstrip("-") or "files without a prefix" for prefix in found)
        raise AnalyzerError(
            f"{folder} holds several data sets ({', '.join(names)}): name one, such as --data "
            f"{folder / names[-1]}."
        )
    ((prefix, files),) = found.items()
    missing = [part for part in _PARTS if part not in files]
    if missing:
        has = ", ".join(sorted(file.name for file in files.values()))
        raise AnalyzerError(
            f"{folder} lacks the {' and the '.join(missing)}: of a data set in IDX files there is "
            f"only {has}."
        )
    name = prefix.rstrip("-") or folder.resolve().name
    return IdxFiles(
        FASHION if spec == FASHION else name,
        (files["training images"], files["training labels"]),
        (files["test images"], files["test labels"]),
    )


_PARTS = ("training images", "training labels", "test images", "test labels")


def _parts(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """The IDX files of a folder: what their names begin with, and which of the four each is.

    Names are ``train-images-idx3-ubyte``, ``t10k-labels.idx1-ubyte``, or with ``emnist-letters-``
    before and ``.gz`` behind. A file comes before the same in gzip.
    """
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda path: (path.suffix == ".gz", path.name)):
        stem = file.name.removesuffix(".gz").replace(".idx", "-idx")
        for kind, axes in (("images", 3), ("labels", 1)):
            ending = f"-{kind}-idx{axes}-ubyte"
            if not stem.endswith(ending) or not file.is_file():
                continue
            split = stem.removesuffix(ending)
            for word, names in (("training", ("train",)), ("test", _TEST)):
                for name in names:
                    if split == name or split.endswith(f"-{name}"):
                        yield split.removesuffix(name), f"{word} {kind}", file


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Reads an IDX file of bytes.

    Args:
        path: The file; gzipped if its name ends in ``.gz``.
        axes: How many axes it must have.

    Raises:
        AnalyzerError: If it can't be read, is no such file, or is cut off or too long.
    """
    start = 4 + 4 * axes
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(start)
            shape = _shape(header, axes, path)
            announced = math.prod(shape)
            content = stream.read(announced + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise AnalyzerError(
            f"cannot read {path}: {reason_of(error)}; get the file again."
        ) from None
    if announced != len(content):
        sizes = "×".join(map(str, shape))
        long = len(content) > announced
        raise AnalyzerError(
            f"{path} is {'longer than it should be' if long else 'cut off'}: its header announces "
            f"{sizes} = {announced} bytes, and {'more' if long else len(content)} follow; get the "
            "file again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def _shape(header: bytes, axes: int, path: Path) -> tuple[int, ...]:
    """The lengths of all axes, as the header of a file says."""
    magic = bytes([0, 0, _UNSIGNED_BYTES, axes])
    if header[:4] != magic:
        raise AnalyzerError(
            f"{path} is no IDX file of bytes along {axes} {'axis' if axes == 1 else 'axes'}: it "
            f"begins with {header[:4].hex() or 'nothing'}, not {magic.hex()}."
        )
    if len(header) < 4 + 4 * axes:
        raise AnalyzerError(f"{path} is cut off in its header; get the file again.")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4", axes, 4))
    if math.prod(shape) > _LARGEST_BYTES:
        raise AnalyzerError(
            f"{path} announces {math.prod(shape):,} bytes, and {_LARGEST_BYTES:,} are read at most."
        )
    return shape
