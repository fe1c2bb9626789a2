"""Which inputs of a convolution are multiplied with which taps, the places of its kernel.

Under padding, stride or cropping an input near the border is multiplied with fewer taps than one in
the middle. Along each spatial axis that is a small table of zeros and ones; inputs and taps of
several axes are multiplied with each other where they are along every axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "fan_outs", "sums_by_tap"]

Array = NDArray[Any]


class Axis(NamedTuple):
    """A convolution along one spatial axis.

    Attributes:
        size: Length of the input.
        taps: Length of the kernel.
        output: Length of the output.
        stride: Step between neighbouring outputs; transposed, between neighbouring inputs.
        padding: Zeros added on both sides; transposed, outputs cut off on both sides.
        dilation: Distance between neighbouring taps.
        transposed: Whether it is a transposed convolution.
    """

    size: int
    taps: int
    output: int
    stride: int
    padding: int
    dilation: int
    transposed: bool

    @property
    def least(self) -> int:
        """The shortest output that a transposed convolution can have."""
        reach = self.dilation * (self.taps - 1) + 1
        return (self.size - 1) * self.stride - 2 * self.padding + reach

    @property
    def fits(self) -> bool:
        """Whether a convolution can have an output of this length."""
        if self.transposed:
            return 0 <= self.output - self.least < max(self.stride, self.dilation)
        starts = self.size + 2 * self.padding - self.dilation * (self.taps - 1) - 1
        return self.output == starts // self.stride + 1

    def pairs(self) -> Array:
        """int64 ``[size, taps]``: 1 where an input is multiplied with a tap, else 0."""
        position = np.arange(self.size)[:, None]
        tap = np.arange(self.taps)[None, :] * self.dilation
        if self.transposed:
            output = position * self.stride - self.padding + tap
            exists = (output >= 0) & (output < self.output)
        else:
            start = position + self.padding - tap
            exists = (start % self.stride == 0) & (start >= 0)
            exists &= start // self.stride < self.output
        return np.asarray(exists, dtype=np.int64)


def fan_outs(axes: Sequence[Axis]) -> tuple[Array, Array]:
    """Taps that each input is multiplied with, and inputs that each tap is, in one channel.

    Returns:
        int64 vectors: of the inputs ``[*S]`` and of the taps ``[*K]``, both flattened.
    """
    of_input = of_tap = np.ones(1, np.int64)
    for axis in axes:
        pairs = axis.pairs()
        of_input = np.outer(of_input, pairs.sum(1)).reshape(-1)
        of_tap = np.outer(of_tap, pairs.sum(0)).reshape(-1)
    return of_input, of_tap


def sums_by_tap(figures: Array, axes: Sequence[Axis]) -> Array:
    """For each tap, the sum of the figures of all inputs that it is multiplied with.

    Args:
        figures: Of the inputs, int64 ``[channels, *S]``.
        axes: The spatial axes.

    Returns:
        int64 ``[channels, *K]``.
    """
    for axis in axes:  # the first spatial axis goes, its taps become the last one
        figures = np.tensordot(figures, axis.pairs(), axes=(1, 0))
    return figures
