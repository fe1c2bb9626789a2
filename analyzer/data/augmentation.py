"""Light random changes of training images, each image of a batch by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from analyzer.errors import AnalyzerError, unknown

__all__ = ["AUGMENTATIONS", "affine", "augmentation", "flip", "shift"]

Augmentation = Callable[[Tensor], Tensor]

_SHIFT = 2


def flip(images: Tensor) -> Tensor:
    """Mirrors half of the images ``[B, C, H, W]``."""
    chosen = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def shift(images: Tensor) -> Tensor:
    """Moves each image ``[B, C, H, W]`` by up to two whole pixels along both axes.

    What comes in is black.
    """
    B, _, H, W = images.shape
    padded = F.pad(images, (_SHIFT,) * 4)
    down, right = torch.randint(2 * _SHIFT + 1, (2, B, 1, 1, 1))
    rows = (torch.arange(H).view(1, 1, H, 1) + down).expand(B, images.shape[1], H, W + 2 * _SHIFT)
    columns = (torch.arange(W).view(1, 1, 1, W) + right).expand(B, images.shape[1], H, W)
    return padded.gather(2, rows).gather(3, columns)


def affine(images: Tensor) -> Tensor:
    """Rotates images ``[B, C, H, W]`` by up to 10°, scales by 10 %, moves by 2 of 32 pixels."""
    uniform = torch.rand(4, len(images)) * 2 - 1
    angle = uniform[0] * math.radians(10)
    zoom = 1 + 0.1 * uniform[1]
    # The grid spans [-1, 1], so two of 32 pixels are 2/16.
    shift_x, shift_y = uniform[2:] * 2 / 16
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    matrices = torch.stack(
        [torch.stack([cos, -sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1)], 1
    )
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {"flip": flip, "shift": shift, "affine": affine}
)
"""By name, in the order in which they are applied."""


def augmentation(names: Sequence[str]) -> Augmentation:
    """A function that changes a batch of images ``[B, C, H, W]`` at random.

    Args:
        names: Keys of :data:`AUGMENTATIONS`; none leaves images as they are.

    Raises:
        AnalyzerError: If one is unknown, or both shift and affine are asked for.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, list(AUGMENTATIONS))
    if {"shift", "affine"} <= set(names):
        raise AnalyzerError("augmentation affine shifts images already: leave shift out.")
    chosen = [change for name, change in AUGMENTATIONS.items() if name in names]

    def changed(images: Tensor) -> Tensor:
        for change in chosen:
            images = change(images)
        return images

    return changed
