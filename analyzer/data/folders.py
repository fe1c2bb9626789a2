"""Folders of images or arrays, one sample a file, in subfolders by class or in none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from analyzer.data.arrangement import Sample
from analyzer.data.arrays import ARRAY_SUFFIXES, are_pixels, as_input, check_shape, sample_file
from analyzer.data.images import IMAGE_SUFFIXES, check_image_shape, image_shape, read_image
from analyzer.errors import AnalyzerError

__all__ = ["Folder", "class_folders", "open_folder"]


def open_folder(
    root: Path,
    shape: tuple[int, ...] | None,
    samples: int | None = None,
    *,
    scale: bool = True,
) -> Dataset[Sample]:
    """A data set of the images or arrays in a folder, which are read one by one.

    Args:
        root: A folder of images or arrays, or of subfolders of them, which are the classes.
        shape: Shape of an image, or the last axes of an array; None takes images as they are.
        samples: How many files to take, evenly spaced; all by default.
        scale: Whether arrays of pixels are scaled to [0, 1].

    Raises:
        AnalyzerError: If there are no samples or samples of several kinds. A broken file is found
            when it is read.
    """
    groups = [(None, _files(root))]
    classes = class_folders(root)
    found = [(label, _files(child, deep=True)) for label, child in enumerate(classes)]
    if any(files for _, files in found):
        if groups[0][1]:
            raise AnalyzerError(
                f"{root} holds samples beside subfolders of samples: keep all of them in "
                "subfolders, one a class, or none."
            )
        groups = found  # type: ignore[assignment]
    pairs = [(path, label) for label, files in groups for path in files]
    if not pairs:
        raise AnalyzerError(
            f"{root} holds no samples: give images ({', '.join(IMAGE_SUFFIXES)}) or arrays "
            f"({', '.join(ARRAY_SUFFIXES)}), in one subfolder a class or in none."
        )
    if samples is not None and samples < len(pairs):
        pairs = [pairs[math.floor(i * len(pairs) / samples)] for i in range(samples)]
    images = [path for path, _ in pairs if path.suffix.lower() in IMAGE_SUFFIXES]
    if images and len(images) < len(pairs):
        raise AnalyzerError(f"{root} holds both images and arrays: keep them apart.")
    if images and shape is not None:
        check_image_shape(shape)
    labels = None if pairs[0][1] is None else [int(label or 0) for _, label in pairs]
    return Folder([path for path, _ in pairs], labels, shape, scale=scale)


def class_folders(root: Path) -> list[Path]:
    """The subfolders that are classes, sorted; hidden folders are left out."""
    return sorted(c for c in root.iterdir() if c.is_dir() and not c.name.startswith("."))


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    kinds = (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)
    children = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in children
        if path.suffix.lower() in kinds and not path.name.startswith(".") and path.is_file()
    )


class Folder(Dataset[Sample]):
    """One sample in each file, which is read when the sample is asked for."""

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[int] | None,
        shape: tuple[int, ...] | None,
        *,
        scale: bool = True,
    ) -> None:
        self._files = files
        self._labels = labels
        self._exact = shape is None
        images = files[0].suffix.lower() in IMAGE_SUFFIXES
        self._shape = image_shape(files[0]) if images and shape is None else shape
        self.scales = scale and not images and are_pixels(sample_file(files[0])[0].numpy()[None])
        self._first: tuple[torch.Size, bool] | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        path = self._files[index]
        label: int | Tensor | None = None
        if path.suffix.lower() in IMAGE_SUFFIXES:
            assert self._shape is not None
            if self._exact and image_shape(path) != self._shape:
                raise AnalyzerError(
                    f"{path} is of another size than {self._files[0].name}, {self._shape}: give "
                    "--input, such as 3,224,224, to which all images are then resized."
                )
            x = read_image(path, self._shape)
        else:
            x, label = sample_file(path)
            self._check(path, x)
            x = as_input(x) / 255 if self.scales else as_input(x)
        label = self._labels[index] if self._labels is not None else label
        if self._first is None:
            self._first = (x.shape, label is None)
        if self._first != (x.shape, label is None):
            what = f"shape {tuple(x.shape)}" if self._first[0] != x.shape else "other labels"
            raise AnalyzerError(
                f"{path} has {what} than {self._files[0].name} of shape {tuple(self._first[0])}: "
                "all samples must be alike."
            )
        return (x,) if label is None else (x, label)

    def _check(self, path: Path, x: Tensor) -> None:
        """Raises an error unless the last axes of an array are the shape; others may be time."""
        check_shape(str(path), tuple(x.shape), self._shape)
