"""Opens the data that a model is measured on as batches: what ``--data`` of the commands takes.

It may be the embedded digits, random numbers, a file of arrays, a folder of images or arrays, or
the IDX files of the MNIST family.
:func:`open_data` opens it; an :class:`Arrangement` says how samples become the input of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import einops
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from analyzer.data.idx import find_idx
from analyzer.errors import AnalyzerError

__all__ = ["Arrangement", "Batches", "class_folders", "open_data", "open_folder"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of images."""
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What such a file may hold. Pillow goes by content: it starts other programs for some formats,
such as Ghostscript for PostScript, whatever the file is called."""
_MOST_PIXELS = 89_478_485
"""Pixels of an image that is read, above which Pillow warns of files that fill the memory."""
_ARRAYS = (".npy", ".npz")
"""Suffixes of arrays."""
_INPUTS = ("x", "images", "image", "frames")
"""Names under which an .npz file may hold its samples."""
_LABELS = ("y", "labels", "label")
"""Names under which it may hold their labels."""
_KEPT = (torch.float32, torch.bfloat16, torch.int32, torch.int64)
"""Number formats of samples that are not converted to float32."""

Sample = tuple[Tensor, int | Tensor] | tuple[Tensor]


class Batches(Protocol):
    """An iterable of batches ``[x]`` or ``[x, target]`` of known length."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Arrangement:
    """How samples become the input of a model.

    Attributes:
        layout: Axes of the model's input in einops notation, such as ``T B C H W`` or
            ``(T B) C H W``. If it is empty, a batch is ``[B, *sample]``. If it has T and samples
            have no time axis, they are repeated T times.
        timesteps: T, needed if samples have no time axis.
        mean: Subtracted from the channels (third axis from the end): one number for each, or one
            for all.
        std: Divides the channels after that, in the same way.
    """

    layout: str = ""
    timesteps: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def collate(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Joins samples of one shape to a batch.

        Raises:
            AnalyzerError: If the layout or the numbers of mean or std do not fit the samples.
        """
        x = self._normalised(torch.stack([sample[0] for sample in samples]))
        x = self._laid_out(x) if self.layout else x
        targets = [torch.as_tensor(sample[1]) for sample in samples if len(sample) == 2]
        return [x, torch.stack(targets)] if targets else [x]

    def _normalised(self, x: Tensor) -> Tensor:
        for values, word in ((self.mean, "mean"), (self.std, "std")):
            if not values:
                continue
            channels = x.shape[-3] if x.ndim > 3 else 0
            if len(values) not in (1, channels):
                raise AnalyzerError(
                    f"{len(values)} figures of --{word} do not fit samples of shape "
                    f"{tuple(x.shape[1:])}: give one, or one a channel."
                )
            by_channel = torch.tensor(values, device=x.device).reshape(
                -1, *([1] * min(x.ndim - 1, 2))
            )
            x = x - by_channel if word == "mean" else x / by_channel
        return x

    def _laid_out(self, x: Tensor) -> Tensor:
        axes = self.layout.replace("(", " ").replace(")", " ").split()
        rest = [axis for axis in axes if axis != "B"]
        if x.ndim == len(rest) and "T" in rest:
            rest.remove("T")
        repeated = "T" in axes and "T" not in rest
        if repeated and not self.timesteps:
            raise AnalyzerError(
                f"samples of shape {tuple(x.shape[1:])} have no time axis: give --timesteps to "
                f"repeat them over the T of the layout {self.layout!r}."
            )
        sizes = {"T": self.timesteps} if "T" in axes and self.timesteps else {}
        try:
            return einops.repeat(x, f"{' '.join(['B', *rest])} -> {self.layout}", **sizes)
        except einops.EinopsError:
            at = f" at {self.timesteps} timesteps" if sizes else ""
            raise AnalyzerError(
                f"the layout {self.layout!r} does not fit samples of shape {tuple(x.shape[1:])}"
                f"{at}: name B and each axis of a sample once, such as T B C H W."
            ) from None


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
        data = _Arrays(*_digits(shape), samples)
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
        data = _Arrays(made, None, samples)
        about["seed"] = seed
    elif (files := find_idx(spec)) is not None:
        test = files.images("test", shape)
        data = test if samples is None else Subset(test, range(min(samples, len(test))))
        about |= {"data": files.name, "split": "test"}
    elif path.suffix in _ARRAYS and not path.is_dir():
        x, y = _array_file(path, shape)
        data = _Arrays(x, y, samples, scales=_are_pixels(x[:_LOOKED_AT]) and scale)
        about["data"] = path.name
    elif path.is_dir():
        folder = open_folder(path, shape, samples, scale=scale)
        data = folder
        about["data"] = path.resolve().name
    else:
        raise AnalyzerError(
            f"data {spec!r} is not known: give digits, fashion-mnist, random, an .npz or .npy "
            "file, or a folder of images, arrays or IDX files."
        )
    if isinstance(data, (_Arrays, _Folder)) and data.scales:
        about["scaled"] = "integers of 0 to 255 were divided by 255, as those of images are"
    # Without a generator of its own, a loader draws from the global one even if it is unshuffled.
    loader = DataLoader(
        data,
        batch_size=batch_size,
        collate_fn=arrangement.collate,
        generator=torch.Generator("cpu"),
    )
    return loader, about


class _Arrays(Dataset[Sample]):
    """Samples along the first axis of an array, which may be mapped from the disk."""

    def __init__(
        self,
        x: Tensor | np.ndarray,
        y: Tensor | None = None,
        samples: int | None = None,
        *,
        scales: bool = False,
    ) -> None:
        self._x = x[:samples]
        self._y = y
        self.scales = scales

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> Sample:
        x = self._x[index]
        x = x if isinstance(x, Tensor) else torch.from_numpy(_native(x))
        x = _as_input(x) / 255 if self.scales else _as_input(x)
        return (x,) if self._y is None else (x, self._y[index])


class _Folder(Dataset[Sample]):
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
        images = files[0].suffix.lower() in _IMAGES
        self._shape = _image_shape(files[0]) if images and shape is None else shape
        self.scales = scale and not images and _are_pixels(_sample_file(files[0])[0].numpy()[None])
        self._first: tuple[torch.Size, bool] | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        path = self._files[index]
        label: int | Tensor | None = None
        if path.suffix.lower() in _IMAGES:
            assert self._shape is not None
            if self._exact and _image_shape(path) != self._shape:
                raise AnalyzerError(
                    f"{path} is of another size than {self._files[0].name}, {self._shape}: give "
                    "--input, such as 3,224,224, to which all images are then resized."
                )
            x = _image(path, self._shape)
        else:
            x, label = _sample_file(path)
            self._check(path, x)
            x = _as_input(x) / 255 if self.scales else _as_input(x)
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
        _check_shape(str(path), tuple(x.shape), self._shape)


def _digits(shape: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    from analyzer.data.digits import digits

    if shape is not None and (len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]):
        raise AnalyzerError(
            f"the digits are square and have one channel, and the model takes {shape}: use other "
            "data, such as --data random."
        )
    x, y = digits(shape[-1] if shape else 32)[1].tensors
    return x, y


_LOOKED_AT = 64
"""Samples that tell whether an array holds pixels."""


def _are_pixels(x: np.ndarray | Tensor) -> bool:
    """Whether samples are images of one or three channels in integers of 0 to 255.

    Spikes and counts of events are small integers too: values of 0 and 1 alone are none.
    """
    x = np.asarray(x)
    channels = x.shape[-3] if x.ndim > 3 else 0
    return x.dtype == np.uint8 and channels in (1, 3) and bool((x > 1).any())


def _check_shape(where: str, own: tuple[int, ...], shape: tuple[int, ...] | None) -> None:
    """Raises an error unless the last axes of a sample are the shape that a model takes."""
    if shape is None or own[-len(shape) :] == shape:
        return
    last = (*own[-1:], *own[-len(shape) : -1])
    hint = f"use data of that shape, or build the model for it by --input {','.join(map(str, own))}"
    if last == shape:
        hint = "it has its channels last, so give them first, as C, H, W"
    axes = " C, H, W" if len(shape) == 3 else ""
    raise AnalyzerError(
        f"{where} holds a sample of shape {own}, which does not end in the input shape{axes} = "
        f"{', '.join(map(str, shape))} of the model: {hint}."
    )


def _array_file(path: Path, shape: tuple[int, ...] | None) -> tuple[np.ndarray, Tensor | None]:
    """The samples of a file, and their targets if it has any."""
    x, y, name = _read(path, mapped=True)
    where = f"array {name!r} of {path}" if name else str(path)
    if x.ndim < 2 or not len(x):
        raise AnalyzerError(f"{where} has shape {x.shape}: its first axis must be samples.")
    _check_shape(where, x.shape[1:], shape)
    if y is None:
        return x, None
    if not y.ndim or len(y) != len(x):
        hint = "give a label for each sample"
        if y.ndim and len(y) in x.shape[1:3]:
            at = 1 + x.shape[1:3].index(len(y))
            hint = (
                f"arrays hold the samples first, such as [B, T, C, H, W], and axis {at} has "
                f"{len(y)}: move it, as by numpy.moveaxis({name or 'x'}, {at}, 0)"
            )
        raise AnalyzerError(
            f"{where} of shape {x.shape} holds {len(x)} samples on its first axis, but there are "
            f"{y.size} labels: {hint}."
        )
    target = torch.from_numpy(_native(y))
    return x, target if target.is_floating_point() else target.long()


def _sample_file(path: Path) -> tuple[Tensor, int | None]:
    """The one sample of a file, and its label if the file has one."""
    x, y, _ = _read(path, mapped=False)
    if not x.ndim:
        raise AnalyzerError(f"{path} holds a single number, not a sample.")
    return torch.from_numpy(_native(x)), None if y is None or y.size != 1 else int(y.item())


def _read(path: Path, *, mapped: bool) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The array of samples in a file, the array of labels or None, and the name of the first."""
    try:
        if path.suffix == ".npy":
            x = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
            if not isinstance(x, np.ndarray):
                x.close()
                raise AnalyzerError(f"{path} is an archive of arrays: let its name end in .npz.")
            _check_numbers(path, x)
            return x, None, ""
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise AnalyzerError(f"{path} is a single array: let its name end in .npy.")
        with opened as archive:
            names = archive.files
            first = next((n for n in _INPUTS if n in names), names[0] if names else None)
            if first is None:
                raise AnalyzerError(f"{path} holds no array.")
            label = next((n for n in _LABELS if n in names and n != first), None)
            x = archive[first]
            _check_numbers(path, x)
            y = None if label is None else archive[label]
            if y is not None:
                _check_numbers(path, y, f"its labels {label!r} hold")
            return x, y, first
    except AnalyzerError:
        raise
    except Exception as error:  # a broken file may raise anything
        reason = str(error).strip().rstrip(".") or type(error).__name__
        if "pickle" in reason:  # NumPy says how to load them anyway
            reason = (
                "it holds no plain array, but Python objects, which may run any code, or something "
                "else: save numbers by numpy.save"
            )
        raise AnalyzerError(f"cannot read arrays from {path}: {reason}.") from None


def _check_numbers(path: Path, x: np.ndarray, holds: str = "it holds") -> None:
    if x.dtype.kind not in "biuf":
        raise AnalyzerError(
            f"cannot read arrays from {path}: {holds} {x.dtype}, not numbers: save them as "
            "float32, or integers, such as by x.astype('float32')."
        )


def _native(x: np.ndarray) -> np.ndarray:
    """A copy in a number format that PyTorch has: bytes in the order of this machine."""
    kind = np.dtype(np.float64) if x.dtype == np.longdouble else x.dtype.newbyteorder("=")
    return np.array(x, dtype=kind)


def _as_input(x: Tensor) -> Tensor:
    """Converts doubles, halves, bools and small integers to float32; indices (int64) stay."""
    return x if x.dtype in _KEPT else x.float()


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
            f"{root} holds no samples: give images ({', '.join(_IMAGES)}) or arrays "
            f"({', '.join(_ARRAYS)}), in one subfolder a class or in none."
        )
    if samples is not None and samples < len(pairs):
        pairs = [pairs[math.floor(i * len(pairs) / samples)] for i in range(samples)]
    images = [path for path, _ in pairs if path.suffix.lower() in _IMAGES]
    if images and len(images) < len(pairs):
        raise AnalyzerError(f"{root} holds both images and arrays: keep them apart.")
    if images and shape is not None:
        _check_image_shape(shape)
    labels = None if pairs[0][1] is None else [int(label or 0) for _, label in pairs]
    return _Folder([path for path, _ in pairs], labels, shape, scale=scale)


def class_folders(root: Path) -> list[Path]:
    """The subfolders that are classes, sorted; hidden folders are left out."""
    return sorted(c for c in root.iterdir() if c.is_dir() and not c.name.startswith("."))


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    kinds = (*_IMAGES, *_ARRAYS)
    children = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in children
        if path.suffix.lower() in kinds and not path.name.startswith(".") and path.is_file()
    )


def _check_image_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise AnalyzerError(
            f"images can not have shape {shape}: give one or three channels, such as 3,224,224."
        )


def _image_shape(path: Path) -> tuple[int, ...]:
    """(C, H, W) of an image: three channels unless it is grey."""
    image_class, _ = _pillow()
    try:
        with image_class.open(path, formats=_FORMATS) as image:
            _refuse_large(path, image)
            channels = 1 if image.mode in ("1", "L", "LA") else 3
            return channels, image.height, image.width
    except (OSError, SyntaxError, ValueError, image_class.DecompressionBombError) as error:
        raise AnalyzerError(f"cannot read image {path}: {error}.") from None


def _refuse_large(path: Path, image: Any) -> None:
    """Refuses an image by its header, before any pixel is decoded."""
    if image.width * image.height > _MOST_PIXELS:
        raise AnalyzerError(
            f"image {path} has {image.width:,} x {image.height:,} pixels, and {_MOST_PIXELS:,} are "
            "read at most: make it smaller."
        )


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise AnalyzerError("reading images needs Pillow: pip install pillow.") from None
    return Image, ImageOps


def _image(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Reads an image as float32 ``[C, H, W]`` in [0, 1], resized, and cropped around its middle."""
    Image, ImageOps = _pillow()
    channels, height, width = shape
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _refuse_large(path, image)
            if image.mode.startswith(("I", "F")):
                raise AnalyzerError(
                    f"image {path} holds {image.mode} values: save it with 8 bits a channel."
                )
            plain = image.convert("RGB" if channels == 3 else "L")
        fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnalyzerError(f"cannot read image {path}: {error}.") from None
    values = torch.from_numpy(np.asarray(fitted, dtype=np.float32) / 255)
    return values.reshape(height, width, channels).permute(2, 0, 1).contiguous()
