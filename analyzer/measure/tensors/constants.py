"""Whether what does not depend on the input is one for all samples of a pass, or one for each.

A *constant* is what weights, buffers and tensors made in the forward are computed to. It is one and
the same for all samples, so a sample does its work once. Where it was expanded to the batch, the
work of a pass is that of all its samples already; where it was not, it stands for each of them. The
values do not tell the two apart, so sizes and strides do, where sizes are new: an axis that was
expanded, repeated or made in the length of the batch holds the samples, and all that is computed
from such a tensor holds them too. A parameter of the same length does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from analyzer.measure.rules.defaults import CREATES

__all__ = ["Constant", "Makes", "SampleAxis"]


class Makes(Enum):
    """What an operation makes where its results may have more elements than its operands.

    FILLED: a tensor of a given size, filled with one value or with noise. LIKE: the same in the
    size of another. RANGE: one whose entries differ, such as positions. REPEATED: a tensor several
    times. JOINED: several tensors in one.
    """

    FILLED = "filled"
    LIKE = "like"
    RANGE = "range"
    REPEATED = "repeated"
    JOINED = "joined"

    @property
    def is_new(self) -> bool:
        """Whether the values come from no operand."""
        return self not in (Makes.REPEATED, Makes.JOINED)

    @classmethod
    def of(cls, name: str) -> Makes | None:
        """What an operation of this base name makes."""
        if name in _RANGES:
            return cls.RANGE
        if name in CREATES - _DRAWN:
            return cls.LIKE if name.endswith("_like") else cls.FILLED
        return {"repeat": cls.REPEATED, "cat": cls.JOINED, "stack": cls.JOINED}.get(name)


_RANGES = frozenset(
    {
        "arange", "linspace", "logspace", "range", "eye", "tril_indices", "triu_indices",
        "randperm",
    }
)  # fmt: skip
"""Operations that make a tensor whose entries differ."""

_DRAWN = frozenset(
    {"bernoulli", "uniform", "normal", "multinomial", "exponential", "geometric", "cauchy"}
)
"""Operations that may draw numbers from a distribution that a tensor gives."""


class Constant(NamedTuple):
    """What is known of a tensor that does not depend on the input.

    Attributes:
        tensor: The view that an operation reads.
        weights: Whether it comes from parameters.
        by_sample: Whether its storage is known to have elements for each sample.
    """

    tensor: Tensor
    weights: bool
    by_sample: bool


class SampleAxis:
    """Finds the axis of the samples in constants of one pass.

    Args:
        samples: How many samples pass.
        timesteps: Timesteps of one pass; samples of all of them may share an axis.

    Attributes:
        timesteps: Timesteps of one pass.
    """

    def __init__(self, samples: int = 1, timesteps: int = 1) -> None:
        self._samples = samples
        self.timesteps = timesteps
        # A pass of one sample needs no axis: its constants are that sample's.
        self._lengths = {samples, samples * timesteps} if samples > 1 else set()

    def divides(self, tensor: Tensor) -> bool:
        """Whether a tensor has as many elements for each sample."""
        return bool(self._lengths) and not tensor.numel() % self._samples

    def held(self, constants: Sequence[Constant], *, aligned: bool = False) -> bool:
        """Whether one of some constants has elements for each sample.

        Args:
            constants: Operands of one operation.
            aligned: Whether they lie on each other axis by axis, from the last. Then an axis along
                which one was expanded and another was not does not hold samples: grids of
                positions are made so.
        """
        if not self._lengths:
            return False
        if any(c.by_sample and self.divides(c.tensor) for c in constants):
            return True
        axes = {axis for c in constants for axis in self._expanded(c)}
        return any(
            not aligned or all(_is_repeated(c.tensor, axis) for c in constants) for axis in axes
        )

    def _expanded(self, constant: Constant) -> Iterator[int]:
        """Axes along which one was expanded to the batch, counted from the last, which is -1.

        The same elements of memory are read again along such an axis.
        """
        x = constant.tensor
        if x.layout is torch.strided and self.divides(x):
            for axis, (size, step) in enumerate(zip(x.shape, x.stride(), strict=True)):
                # Weights are expanded to windows, too, but positions to grids.
                windows = constant.weights and self._leads(size, axis)
                if step == 0 and (size in self._lengths or windows):
                    yield axis - x.ndim

    def introduced(self, makes: Makes, args: tuple[Any, ...], results: Sequence[Tensor]) -> bool:
        """Whether an operation made a tensor with elements for each sample of ones without."""
        if not self._lengths:
            return False
        sizes: Sequence[int] = ()
        if makes is Makes.FILLED:
            shape = results[0].shape
            sizes = shape[:-1] if len(shape) > 1 else shape  # the last axis holds features
        elif makes is Makes.REPEATED:
            sizes = args[1]
            if self._leads(sizes[0], 0):
                return True
        elif makes is Makes.JOINED:
            parts = args[0]
            same = len({_view(part) for part in parts}) == 1 < len(parts)
            sizes = (len(parts),) if same else ()
        return not self._lengths.isdisjoint(sizes)

    def _leads(self, size: int, axis: int) -> bool:
        """Whether a first axis may hold several windows or frames of each sample."""
        return axis == 0 and size > 0 and not size % self._samples and size != self.timesteps


def _is_repeated(x: Tensor, axis: int) -> bool:
    """Whether all entries along an axis, counted from the last, are one and the same."""
    return x.ndim < -axis or x.shape[axis] == 1 or x.stride(axis) == 0


def _view(x: Tensor) -> tuple[object, ...]:
    """Tells apart which elements of memory tensors show."""
    if x.layout is not torch.strided:
        return (id(x),)
    return id(x.untyped_storage()), x.storage_offset(), x.shape, x.stride()
