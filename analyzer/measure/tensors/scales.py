"""Spikes that a layer reads at another size in each channel.

Where spikes are multiplied by a fixed factor for each channel, and a layer with weights sums over
these channels, the factors fold into the columns of its weights, and what drives it are the spikes
as they were. That can not be told from values alone, as a single row of any numbers looks like
spikes of many sizes; so it is noted what a tensor was multiplied by, and undone when it is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Scale"]


class Scale(NamedTuple):
    """What a tensor was multiplied by.

    Attributes:
        factor: Fixed factors that broadcast to the tensor.
        shape: Of the tensor.
        stride: Of the tensor, which fills its storage.
    """

    factor: Tensor
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, name: str, args: tuple[Any, ...], fixed: list[bool], out: Any) -> Scale | None:
        """What an operation multiplied by; None where it was no product with fixed factors.

        Args:
            name: Base name of the operation.
            args: Its arguments.
            fixed: Of each of two tensors, whether it comes from parameters and buffers alone.
            out: Its result.
        """
        if not isinstance(out, Tensor) or out.dtype not in (torch.float32, torch.float64):
            return None
        if fixed == [False, True]:
            factor = args[1]
        elif fixed == [True, False] and name == "mul":
            factor = args[0]
        else:
            return None
        fills = out.storage_offset() == 0 and out.untyped_storage().nbytes() == out.nbytes
        if factor.numel() < 2 or not fills:
            return None  # of one size in all channels
        factor = factor.detach().double()
        factor = factor.reciprocal() if name == "div" else factor
        return cls(factor, tuple(out.shape), out.stride())

    def folds(self, x: Tensor, axis: int, steps: int) -> bool:
        """Whether the factors differ only where weights or timesteps can take them over.

        Args:
            x: A view of the tensor, as a layer reads it.
            axis: Axis of the view that the layer sums over.
            steps: Timesteps outermost in the view.
        """
        least = x.stride(axis)
        beyond = least * x.shape[axis]
        for at in range(1, self.factor.ndim + 1):
            step = self.stride[-at]
            in_time = at == len(self.shape) and self.shape[0] == steps > 1
            if self.factor.shape[-at] > 1 and not (least <= step < beyond or in_time):
                return False
        return True

    def undone(self, x: Tensor) -> Tensor:
        """The same view of what the tensor was before; it holds a copy."""
        factor = torch.where(self.factor == 0, 1.0, self.factor)
        before = torch.empty_strided(self.shape, self.stride, dtype=x.dtype, device=x.device)
        before.copy_(x.as_strided(self.shape, self.stride, 0) / factor)
        return before.as_strided(x.shape, x.stride(), x.storage_offset())
