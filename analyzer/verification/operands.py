"""What brute force makes of the values of one operand: their class, masks, levels, timesteps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["SPIKES", "at_timesteps", "levels", "nonzeros", "ones", "value_class"]

SPIKES = ("zero", "binary", "ternary")
"""Classes of values that drive an operation."""

_LARGEST_LEVEL = 255
_ROUNDED = (torch.float32, torch.float64)


def value_class(tensor: Tensor) -> tuple[str, float]:
    """Class of a tensor's values by set logic, and what one level is worth.

    The step is the largest of which all values are whole multiples, to the rounding of the dtype;
    of dtypes with 16 bits and fewer, whose rounding would blur neighbouring levels, exactly.
    """
    epsilon = torch.finfo(tensor.dtype).eps if tensor.dtype in _ROUNDED else 0.0
    values: set[float] = set()
    for chunk in tensor.reshape(-1).split(1 << 16):
        values.update(np.unique(chunk.double().cpu().numpy()).tolist())
        if len(values) > 2 * _LARGEST_LEVEL + 1:
            return "real", 0.0
    sizes = np.unique(np.abs([value for value in values if value]))
    if not len(sizes):
        return "zero", 0.0
    largest = float(sizes[-1])
    spikes = "ternary" if min(values) < 0 < max(values) else "binary"
    if len(sizes) == 1:
        return spikes, largest
    for top in range(1, _LARGEST_LEVEL + 1):  # 1 where sizes differ by rounding alone
        multiples = sizes / largest * top
        blur = np.minimum(2 * epsilon * multiples + 1e-12, 1 / 16)
        if multiples[0] > 0.5 and np.all(np.abs(multiples - multiples.round()) <= blur):
            return ("graded" if top > 1 else spikes), largest / top
    return "real", 0.0


def levels(tensor: Tensor, step: float) -> Tensor:
    """Absolute levels, float64."""
    return (tensor.double() / step).abs().round() if step else ones(tensor) * 0


def ones(tensor: Tensor) -> Tensor:
    """As many ones, float64."""
    return torch.ones(tensor.shape, dtype=torch.float64, device=tensor.device)


def nonzeros(tensor: Tensor) -> Tensor:
    """1 where a value is not zero, else 0, float64."""
    return (tensor.double() != 0).double()


def at_timesteps(tensor: Tensor, steps: int, outer: int) -> list[Tensor]:
    """What a tensor whose first axis is ``(outer steps ...)`` holds in each timestep."""
    each = len(tensor) // (steps * outer)
    step_of_row = torch.arange(len(tensor), device=tensor.device) // each % steps
    return [tensor[step_of_row == step] for step in range(steps)]
