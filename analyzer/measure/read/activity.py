"""The statistics of one tensor that counting needs: its value class and its non-zeros by axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.values import MAX_LEVEL, Values
from analyzer.measure.read.openmp import safe_in_forks
from analyzer.measure.read.readable import ordinary
from analyzer.measure.read.statistics import (
    Statistics,
    is_read_in_place,
    level_sums,
    prepared_reader,
    read_statistics,
)
from analyzer.measure.read.strides import LoopNest, loop_nest

__all__ = ["Activity"]

_FLOAT64_ROUNDING = 1e-15
_TOPS = np.arange(1.0, MAX_LEVEL + 1)[:, None]
_ROUNDING: Mapping[torch.dtype, float] = MappingProxyType(
    {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
)
_REALS: Mapping[float, Values] = MappingProxyType(
    {epsilon: Values(epsilon=epsilon, real=True) for epsilon in (0.0, *_ROUNDING.values())}
)

Array = NDArray[Any]


class Activity:
    """Exact statistics of the elements of one tensor, which it does not keep alive.

    Attributes:
        elements: Number of elements.
        values: Value class of all elements.
        nonzeros: Number of elements that are not zero.
    """

    __slots__ = ("_counts", "_levels", "elements", "nonzeros", "values")

    def __init__(self, elements: int, values: Values, nonzeros: int) -> None:
        self.elements = elements
        self.values = values
        self.nonzeros = nonzeros
        self._counts: dict[LoopNest, Array | Statistics] = {}
        self._levels: dict[LoopNest, Array] = {}

    @classmethod
    @safe_in_forks
    def read(
        cls,
        tensor: Tensor,
        keep: tuple[int, ...] = (),
        steps: int = 1,
        *,
        reals: bool = False,
    ) -> Activity:
        """Reads a tensor.

        Args:
            tensor: Of any real dtype.
            keep: Axes that :meth:`counts` will be asked to keep: they are counted in the same pass.
            steps: Timesteps that it will be asked for.
            reals: Whether its values count as reals whatever they are, as where the same operand
                held reals before: then its levels are not looked for, which is quicker.

        Raises:
            AnalyzerError: Where an element is NaN or infinite, or there are no real values to read.
        """
        elements = tensor.numel()
        if not elements:
            return cls(0, Values(), 0)
        reader = None
        if tensor.layout is torch.strided:
            reader = prepared_reader(
                tensor.shape, tensor.stride(), tensor.dtype, keep, steps, reals,
                torch.get_num_threads(),
            )  # fmt: skip
        if reader is None:
            tensor, nest = _looped(tensor, keep, steps)
            found = read_statistics(tensor, nest)
        else:
            found = reader(tensor)
        if not math.isfinite(found.peak):
            raise AnalyzerError(
                "a value is NaN or infinite, so look at the data and the modules before."
            )
        epsilon = _ROUNDING.get(tensor.dtype, 0.0)
        activity = cls(elements, _REALS[epsilon], found.nonzeros)
        if 0 < found.nonzeros < elements:
            activity._counts[found.nest] = found
        if not reals:
            activity.values = activity._classify(tensor, found, epsilon)
        return activity

    def counts(self, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Array:
        """Non-zeros summed over every axis but ``keep``, per timestep.

        Args:
            tensor: A view of the elements of this activity, in any shape.
            keep: Axes of the view to keep.
            steps: Number of timesteps, outermost in axis 0.

        Returns:
            int64 of shape ``[steps, elements kept]``, in the order of the view's axes.
        """
        if self.nonzeros in (0, self.elements):
            parts = math.prod(tensor.shape[a] for a in keep)
            parts = parts // steps if 0 in keep else parts
            each = self.nonzeros // (parts * steps) if self.nonzeros else 0
            return np.full((steps, parts), each, np.int64)
        nest = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        known = None if nest is None else self._counts.get(nest)
        if known is None:
            tensor, nest = _looped(tensor, keep, steps)
            known = read_statistics(tensor, nest)
        if isinstance(known, Statistics):  # folded when it is first asked for
            statistics, known = known, known.counts()
            self._counts[statistics.nest] = known
        return known

    @safe_in_forks
    def levels(self, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Array:
        """Absolute levels, as :meth:`counts` counts non-zeros; the values must be discrete."""
        if self.values.drives or not self.elements:
            return self.counts(tensor, keep, steps)
        nest = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        known = None if nest is None else self._levels.get(nest)
        if known is not None:
            return known
        tensor, nest = _looped(tensor, keep, steps)
        if nest not in self._levels:
            sums, _ = level_sums(tensor, nest, self.values.step, self.values.epsilon)
            self._levels[nest] = nest.fold(sums)
        return self._levels[nest]

    def _classify(self, tensor: Tensor, found: Statistics, epsilon: float) -> Values:
        if not found.nonzeros:
            return _values(0.0, 0, 0, epsilon)
        if found.least == found.peak:
            below, above = found.negatives > 0, found.negatives < found.nonzeros
            return _values(float(found.peak), -below, +above, epsilon)
        if found.peak > (MAX_LEVEL + 0.5) * found.least:
            return _REALS[epsilon]
        tensor = ordinary(tensor)
        floating = tensor.is_floating_point()
        step = self._step(tensor, found, epsilon) if floating else _gcd(tensor, found)
        if step is None:
            return _REALS[epsilon]
        low = high = round(found.peak / step)
        if 0 < found.negatives < found.nonzeros:
            low, high = (round(abs(float(x)) / step) for x in torch.aminmax(tensor))
        return _values(
            float(found.peak),
            -low if found.negatives else 0,
            high if found.negatives < found.nonzeros else 0,
            epsilon,
        )

    def _step(self, tensor: Tensor, found: Statistics, epsilon: float) -> float | None:
        """The step that all elements are multiples of, or None.

        It is guessed from the least and the largest magnitude and tried on all elements; one that
        does not fit joins the guess, which makes the step at least twice as fine.
        """
        sizes = np.array([found.least, found.peak])
        while True:
            top = _levels_of_largest(sizes / found.peak, epsilon)
            if top is None:
                return None
            step = found.peak / top
            sums, other = level_sums(tensor, found.nest, step, epsilon)
            if other is None:
                self._levels[found.nest] = found.nest.fold(sums)
                return step
            sizes = np.unique(np.append(sizes, other))


@lru_cache(maxsize=1024)
def _values(peak: float, low: int, high: int, epsilon: float) -> Values:
    """One object for equal values, so that joining them costs nothing."""
    return Values(peak, low, high, epsilon)


def _gcd(tensor: Tensor, found: Statistics) -> int | None:
    """The greatest common divisor of integers, None where the largest has too many levels."""
    step = int(np.gcd.reduce(tensor.cpu().to(torch.int64).numpy().reshape(-1)))
    return step if int(found.peak) // step <= MAX_LEVEL else None


def _levels_of_largest(sizes: Array, epsilon: float) -> int | None:
    """The fewest levels that the largest of some sizes, 1, may have if all are whole levels."""
    tops = _TOPS[round(1 / sizes[0]) - 1 :]  # the smallest has one level at least
    levels = tops * sizes[:-1]
    allowed = np.minimum((2 * epsilon + _FLOAT64_ROUNDING) * levels, 1 / 16)
    fits = (np.abs(levels - np.rint(levels)) <= allowed).all(1)
    return int(tops[fits.argmax(), 0]) if fits.any() else None


def _looped(tensor: Tensor, keep: tuple[int, ...], steps: int) -> tuple[Tensor, LoopNest]:
    """The tensor, copied where it has no loop nest or no memory of its own, and its loop nest."""
    tensor = ordinary(tensor)
    nest = loop_nest(tensor.shape, tensor.stride(), keep, steps)
    # Some dtypes are converted before they are read. A tensor with gaps loses them on the way, and
    # its loop nest would not fit any more.
    gaps = nest is not None and not nest.dense and not is_read_in_place(tensor.dtype)
    if nest is None or gaps:
        tensor = tensor.contiguous()
        nest = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        assert nest is not None
    return tensor, nest
