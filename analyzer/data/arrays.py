"""Files of arrays: many samples in one, or one sample each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from analyzer.data.arrangement import Sample
from analyzer.errors import AnalyzerError, reason_of

__all__ = [
    "ARRAY_SUFFIXES",
    "Arrays",
    "are_pixels",
    "array_file",
    "as_input",
    "check_shape",
    "sample_file",
]

ARRAY_SUFFIXES = (".npy", ".npz")
"""Suffixes of arrays."""
_INPUTS = ("x", "images", "image", "frames")
"""Names under which an .npz file may hold its samples."""
_LABELS = ("y", "labels", "label")
"""Names under which it may hold their labels."""
_KEPT = (torch.float32, torch.bfloat16, torch.int32, torch.int64)
"""Number formats of samples that are not converted to float32."""


class Arrays(Dataset[Sample]):
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
        x = as_input(x) / 255 if self.scales else as_input(x)
        return (x,) if self._y is None else (x, self._y[index])


def are_pixels(x: np.ndarray | Tensor) -> bool:
    """Whether samples are images of one or three channels in integers of 0 to 255.

    Spikes and counts of events are small integers too: values of 0 and 1 alone are none.
    """
    x = np.asarray(x)
    channels = x.shape[-3] if x.ndim > 3 else 0
    return x.dtype == np.uint8 and channels in (1, 3) and bool((x > 1).any())


def check_shape(where: str, own: tuple[int, ...], shape: tuple[int, ...] | None) -> None:
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


def array_file(path: Path, shape: tuple[int, ...] | None) -> tuple[np.ndarray, Tensor | None]:
    """The samples of a file, and their targets if it has any."""
    x, y, name = _read(path, mapped=True)
    where = f"array {name!r} of {path}" if name else str(path)
    if x.ndim < 2 or not len(x):
        raise AnalyzerError(f"{where} has shape {x.shape}: its first axis must be samples.")
    check_shape(where, x.shape[1:], shape)
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


def sample_file(path: Path) -> tuple[Tensor, int | None]:
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
        reason = reason_of(error).strip().rstrip(".") or type(error).__name__
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


def as_input(x: Tensor) -> Tensor:
    """Converts doubles, halves, bools and small integers to float32; indices (int64) stay."""
    return x if x.dtype in _KEPT else x.float()
