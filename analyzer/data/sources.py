"""Data to measure on: embedded digits, arrays, folders of images or arrays, random; in batches."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import einops
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from analyzer.errors import AnalyzerError

__all__ = ["Arrangement", "Batches", "class_folders", "open_data", "open_folder"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_ARRAYS = (".npy", ".npz")
_INPUTS = ("x", "images", "image", "frames")
_LABELS = ("y", "labels", "label")
_KEPT = (torch.float32, torch.bfloat16, torch.int32, torch.int64)

Sample = tuple[Tensor, int | Tensor] | tuple[Tensor]


class Batches(Protocol):
    """Batches ``[x]`` or ``[x, target]``, as many as their length says."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Arrangement:
    """How samples become the input of a model.

    Attributes:
        layout: Axes of the model's input in einops notation, such as ``T B C H W`` or
            ``(T B) C H W``; without it a batch is ``[B, *sample]``. Samples without a time axis are
            repeated over T.
        timesteps: What T is where samples have no time axis.
        mean: Subtracted from each channel (third axis from the end), or from all.
        std: Divided by after that.
    """

    layout: str = ""
    timesteps: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def collate(self, samples: Sequence[Sample]) -> list[Tensor]:
        """A batch of samples of one shape."""
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
            by_channel = torch.tensor(values).reshape(-1, *([1] * min(x.ndim - 1, 2)))
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
) -> tuple[Batches, dict[str, Any]]:
    """Batches to measure on, and what to say of them.

    Args:
        spec: ``digits`` (the test split); ``random``; an ``.npy`` file indexed by sample; an
            ``.npz`` file whose first array (or ``x``, ``images``) is, with targets ``y`` or
            ``labels``; or a folder of images (scaled to [0, 1], resized and cropped to ``shape``)
            or of arrays (one sample a file), whose subfolders, sorted, are the classes if there
            are any. Folders and ``.npy`` files are read as they are needed.
        shape: Shape of one sample; needed for ``random`` and for images.
        batch_size: Samples a batch.
        samples: How many samples to take, all by default (8 for ``random``): the first, but of a
            folder evenly spaced ones, so that all classes are among them.
        seed: Of ``random``.
        arrangement: How samples become the input of a model.

    Raises:
        AnalyzerError: Where the data can not be read or does not fit; while iterating too, with
            the name of the file.
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
        generator = torch.Generator().manual_seed(seed)
        data = _Arrays(torch.rand(samples or 8, *shape, generator=generator), None, samples)
        about["seed"] = seed
    elif path.suffix in _ARRAYS and not path.is_dir():
        data = _Arrays(*_array_file(path), samples)
        about["data"] = path.name
    elif path.is_dir():
        data = open_folder(path, shape, samples)
        about["data"] = path.resolve().name
    else:
        raise AnalyzerError(
            f"data {spec!r} is not known: give digits, random, an .npz or .npy file, or a folder "
            "of images or arrays."
        )
    # A loader without a generator of its own draws from the global one, even unshuffled.
    loader = DataLoader(
        data,
        batch_size=batch_size,
        collate_fn=arrangement.collate,
        generator=torch.Generator(),
    )
    return loader, about


class _Arrays(Dataset[Sample]):
    """Samples along the first axis of an array, which may lie on disk."""

    def __init__(
        self, x: Tensor | np.ndarray, y: Tensor | None = None, samples: int | None = None
    ) -> None:
        self._x = x[:samples]
        self._y = y

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> Sample:
        x = self._x[index]
        x = _as_input(x if isinstance(x, Tensor) else torch.from_numpy(np.array(x)))
        return (x,) if self._y is None else (x, self._y[index])


class _Folder(Dataset[Sample]):
    """One sample a file, read when asked for."""

    def __init__(
        self, files: Sequence[Path], labels: Sequence[int] | None, shape: tuple[int, ...] | None
    ) -> None:
        self._files = files
        self._labels = labels
        self._shape = shape
        self._first: tuple[torch.Size, bool] | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        path = self._files[index]
        label: int | Tensor | None = None
        if path.suffix.lower() in _IMAGES:
            assert self._shape is not None
            x = _image(path, self._shape)
        else:
            x, label = _sample_file(path)
            self._check(path, x)
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
        """An array may have axes, such as time, before those of the shape."""
        if self._shape is not None and tuple(x.shape[-len(self._shape) :]) != self._shape:
            raise AnalyzerError(
                f"{path} holds a sample of shape {tuple(x.shape)}, which does not end in the "
                f"input shape {self._shape}."
            )


def _digits(shape: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    from analyzer.data.digits import digits

    if shape is not None and (len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]):
        raise AnalyzerError(
            f"the digits are square and have one channel, and the model takes {shape}: use other "
            "data, such as --data random."
        )
    x, y = digits(shape[-1] if shape else 32)[1].tensors
    return x, y


def _array_file(path: Path) -> tuple[Tensor | np.ndarray, Tensor | None]:
    """Samples, and targets if there are any."""
    x, y, name = _read(path, mapped=True)
    where = f"array {name!r} of {path}" if name else str(path)
    if x.ndim < 2 or not len(x):
        raise AnalyzerError(f"{where} has shape {x.shape}: its first axis must be samples.")
    if y is None:
        return x, None
    if not y.ndim or len(y) != len(x):
        raise AnalyzerError(f"{path} holds {len(x)} samples but {y.size} labels.")
    target = torch.from_numpy(y)
    return x, target if target.is_floating_point() else target.long()


def _sample_file(path: Path) -> tuple[Tensor, int | None]:
    """One sample, and its label if the file holds one."""
    x, y, _ = _read(path, mapped=False)
    if not x.ndim:
        raise AnalyzerError(f"{path} holds a single number, not a sample.")
    return _as_input(torch.from_numpy(x)), None if y is None or y.size != 1 else int(y.item())


def _read(path: Path, *, mapped: bool) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The array of inputs in a file, that of labels if there is one, and the first one's name."""
    try:
        if path.suffix == ".npy":
            x = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
            _check_numbers(path, x)
            return x, None, ""
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            first = next((n for n in _INPUTS if n in names), names[0] if names else None)
            if first is None:
                raise AnalyzerError(f"{path} holds no array.")
            label = next((n for n in _LABELS if n in names and n != first), None)
            x = archive[first]
            _check_numbers(path, x)
            return x, None if label is None else archive[label], first
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise AnalyzerError(f"cannot read arrays from {path}: {error}.") from None


def _check_numbers(path: Path, x: np.ndarray) -> None:
    if x.dtype.kind not in "biuf":
        raise AnalyzerError(f"cannot read arrays from {path}: it holds {x.dtype}, not numbers.")


def _as_input(x: Tensor) -> Tensor:
    """Floats and small integers (counts, bytes) as float32; indices stay."""
    return x if x.dtype in _KEPT else x.float()


def open_folder(
    root: Path, shape: tuple[int, ...] | None, samples: int | None = None
) -> Dataset[Sample]:
    """The files of a folder, or of its subfolders, which are classes then; read when asked for.

    Args:
        root: A folder of images or arrays.
        shape: Of an image; of an array, what its shape ends in.
        samples: How many to take, evenly spaced; all by default.

    Raises:
        AnalyzerError: Where there are none, or of several kinds; when reading, where one is broken.
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
    if images:
        _check_image_shape(shape)
    labels = None if pairs[0][1] is None else [int(label or 0) for _, label in pairs]
    return _Folder([path for path, _ in pairs], labels, shape)


def class_folders(root: Path) -> list[Path]:
    """The subfolders that are classes, in their order; hidden ones are none."""
    return sorted(c for c in root.iterdir() if c.is_dir() and not c.name.startswith("."))


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    kinds = (*_IMAGES, *_ARRAYS)
    children = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in children
        if path.suffix.lower() in kinds and not path.name.startswith(".") and path.is_file()
    )


def _check_image_shape(shape: tuple[int, ...] | None) -> None:
    if shape is None:
        raise AnalyzerError("images need a size: give --input, such as 3,224,224.")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise AnalyzerError(
            f"images can not have shape {shape}: give one or three channels, such as 3,224,224."
        )


def _image(path: Path, shape: tuple[int, ...]) -> Tensor:
    """An image as float32 ``[C, H, W]`` in [0, 1], its middle resized to cover the size."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise AnalyzerError("reading images needs Pillow: pip install pillow.") from None
    channels, height, width = shape
    try:
        with Image.open(path) as image:
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
