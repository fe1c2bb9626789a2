"""Opens the data that a model is measured on as batches: what ``--data`` of the commands takes.

It may be the embedded digits, random numbers, a file of arrays, a folder of images or arrays, or
the IDX files of the MNIST family. :func:`open_data` opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from analyzer.data.arrangement import Arrangement, Sample
from analyzer.data.arrays import ARRAY_SUFFIXES, Arrays, are_pixels, array_file
from analyzer.data.folders import Folder, open_folder
from analyzer.data.idx import find_idx
from analyzer.errors import AnalyzerError

__all__ = ["Batches", "open_data"]

_LOOKED_AT = 64
"""Samples that tell whether an array holds pixels."""


class Batches(Protocol):
    """An iterable of batches ``[x]`` or ``[x, target]`` of known length."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


def open_data(
    spec: str,
    *,
    shape: tuple[int, ...] | None,
    batch_size: int,
    samples: int | None,
    seed: int = 0,
    arrangement: Arrangement | None = None,
    scale: bool = True,
    below: int | None = None,
) -> tuple[Batches, dict[str, Any]]:
    """Opens data to measure a model on.

    Args:
        spec: One of

            - ``digits``: the test split of the embedded digits;
            - ``random``: uniform random numbers in [0, 1];
            - ``fashion-mnist``, or a folder of IDX files of the MNIST family: the test split (see
              :func:`analyzer.data.idx.find_idx`);
            - an ``.npy`` file whose first axis is samples;
            - an ``.npz`` file with such an array (``x``, ``images`` or the first one), and
              targets ``y`` or ``labels`` if it has any;
            - a folder of images (scaled to [0, 1], resized and cropped to ``shape``) or of
              arrays (one sample a file). Its subfolders, sorted, are the classes, if there are
              any.

            Folders of images or arrays and ``.npy`` files are read while iterating.
        shape: Shape of one sample; needed for ``random`` and for images.
        batch_size: Samples in a batch.
        samples: How many samples to take; by default all, or 8 random ones. Of a folder they are
            evenly spaced, so that all classes are among them; else they are the first ones.
        seed: Seed of the random numbers.
        arrangement: How samples become the input of the model.
        scale: Whether arrays of pixels (integers of 8 bits, one or three channels, some above 1)
            are scaled to [0, 1], as images are.
        below: Makes of ``random`` whole numbers from 0 up to but without this one, such as tokens.

    Returns:
        The batches, and metadata for the profile: the data, its split and its seed.

    Raises:
        AnalyzerError: If the data can't be read or does not fit. Broken files of a folder are found
            while iterating; the error names the file.
    """
    if batch_size < 1 or (samples is not None and samples < 1):
        raise AnalyzerError("batch size and number of samples must be at least 1.")
    arrangement = arrangement or Arrangement()
    about: dict[str, Any] = {"data": spec}
    path = Path(spec)
    data: Dataset[Sample]
    if spec == "digits":
        data = Arrays(*_digits(shape), samples)
        about["split"] = "test"
    elif spec == "random":
        if shape is None:
            raise AnalyzerError("random data needs a shape: give --input, such as 3,224,224.")
        generator = torch.Generator("cpu").manual_seed(seed)
        size = (samples or 8, *shape)
        made = (
            torch.rand(size, generator=generator, device="cpu")
            if below is None
            else torch.randint(below, size, generator=generator, device="cpu")
        )
        data = Arrays(made, None, samples)
        about["seed"] = seed
    elif (files := find_idx(spec)) is not None:
        test = files.images("test", shape)
        data = test if samples is None else Subset(test, range(min(samples, len(test))))
        about |= {"data": files.name, "split": "test"}
    elif path.suffix in ARRAY_SUFFIXES and not path.is_dir():
        x, y = array_file(path, shape)
        data = Arrays(x, y, samples, scales=are_pixels(x[:_LOOKED_AT]) and scale)
        about["data"] = path.name
    elif path.is_dir():
        data = open_folder(path, shape, samples, scale=scale)
        about["data"] = path.resolve().name
    else:
        raise AnalyzerError(
            f"data {spec!r} is not known: give digits, fashion-mnist, random, an .npz or .npy "
            "file, or a folder of images, arrays or IDX files."
        )
    if isinstance(data, (Arrays, Folder)) and data.scales:
        about["scaled"] = "integers of 0 to 255 were divided by 255, as those of images are"
    # Without a generator of its own, a loader draws from the global one even if it is unshuffled.
    loader = DataLoader(
        data,
        batch_size=batch_size,
        collate_fn=arrangement.collate,
        generator=torch.Generator("cpu"),
    )
    return loader, about


def _digits(shape: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    from analyzer.data.digits import digits

    if shape is not None and (len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]):
        raise AnalyzerError(
            f"the digits are square and have one channel, and the model takes {shape}: use other "
            "data, such as --data random."
        )
    x, y = digits(shape[-1] if shape else 32)[1].tensors
    return x, y
