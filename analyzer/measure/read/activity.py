"""What a tensor holds: its value class and where its non-zeros are. Read once, remembered."""

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
from analyzer.measure.read.statistics import (
    Statistics,
    is_read_as_it_lies,
    level_sums,
    read_statistics,
)
from analyzer.measure.read.strides import LoopNest, loop_nest

__all__ = ["Activity"]

_FLOAT64_ROUNDING = 1e-15
_NOT_FINITE = "a value is NaN or infinite, so look at the data and the modules before."
_ROUNDING: Mapping[torch.dtype, float] = MappingProxyType(
    {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
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
    def read(cls, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Activity:
        """Reads a tensor, once, and remembers the counts that are asked for."""
        elements = tensor.numel()
        if not elements:
            return cls(0, Values(), 0)
        tensor, walk = _walked(tensor, keep, steps)
        return cls.of(read_statistics(tensor, walk), tensor, elements)

    @classmethod
    def of(
        cls, found: Statistics, tensor: Tensor, elements: int, *, reals: bool = False
    ) -> Activity:
        """What a pass found in a tensor.

        Args:
            found: That.
            tensor: As it was walked through; looked at again where values may be multiples.
            elements: Its size.
            reals: Whether its values count as reals whatever they are.
        """
        if reals and not math.isfinite(found.peak):
            raise AnalyzerError(_NOT_FINITE)
        activity = cls(elements, _reals(_ROUNDING.get(tensor.dtype, 0.0)), found.nonzeros)
        if 0 < found.nonzeros < elements:
            activity._counts[found.walk] = found
        if not reals:
            activity.values = activity._classify(tensor, found)
        return activity

    def knows(self, tensor: Tensor, keep: tuple[int, ...], steps: int) -> bool:
        """Whether counts and levels of a tensor are known, so that only its shape is needed."""
        without_levels = self.values.real or self.values.drives
        if without_levels and self.nonzeros in (0, self.elements):
            return True
        walk = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        return walk in self._counts and (without_levels or walk in self._levels)

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
            return np.full((steps, parts), each)
        walk = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        known = None if walk is None else self._counts.get(walk)
        if known is None:
            tensor, walk = _walked(tensor, keep, steps)
            known = read_statistics(tensor, walk)
        if isinstance(known, Statistics):  # folded when it is asked for
            found, known = known, known.counts()
            self._counts[found.walk] = known
        return known

    def levels(self, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Array:
        """Absolute levels, as :meth:`counts` counts non-zeros; the values must be discrete."""
        if self.values.drives or not self.elements:
            return self.counts(tensor, keep, steps)
        tensor, walk = _walked(tensor, keep, steps)
        if walk not in self._levels:
            sums, _ = level_sums(tensor, walk, self.values.step, self.values.epsilon)
            self._levels[walk] = walk.fold(sums)
        return self._levels[walk]

    def _classify(self, tensor: Tensor, found: Statistics) -> Values:
        if not math.isfinite(found.peak):
            raise AnalyzerError(_NOT_FINITE)
        epsilon = _ROUNDING.get(tensor.dtype, 0.0)
        if not found.nonzeros:
            return _values(0.0, 0, 0, epsilon)
        if found.least == found.peak:
            below, above = found.negatives > 0, found.negatives < found.nonzeros
            return _values(float(found.peak), -below, +above, epsilon)
        if found.peak > (MAX_LEVEL + 0.5) * found.least:
            return _reals(epsilon)
        floating = tensor.is_floating_point()
        step = self._step(tensor, found, epsilon) if floating else _gcd(tensor, found)
        if step is None:
            return _reals(epsilon)
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
            sums, odd = level_sums(tensor, found.walk, step, epsilon)
            if odd is None:
                self._levels[found.walk] = found.walk.fold(sums)
                return step
            sizes = np.unique(np.append(sizes, odd))


@lru_cache(maxsize=1024)
def _values(peak: float, low: int, high: int, epsilon: float) -> Values:
    """One object for equal values, so that joining them costs nothing."""
    return Values(peak, low, high, epsilon)


@lru_cache(maxsize=16)
def _reals(epsilon: float) -> Values:
    return Values(epsilon=epsilon, real=True)


def _gcd(tensor: Tensor, found: Statistics) -> int | None:
    """The greatest common divisor of integers, None where the largest has too many levels."""
    step = int(np.gcd.reduce(tensor.cpu().to(torch.int64).numpy().reshape(-1)))
    return step if int(found.peak) // step <= MAX_LEVEL else None


def _levels_of_largest(sizes: Array, epsilon: float) -> int | None:
    """The fewest levels that the largest of some sizes, 1, may have if all are whole levels."""
    smallest = round(1 / sizes[0])
    tops = np.arange(1, MAX_LEVEL + 1) if smallest <= MAX_LEVEL else np.empty(0, np.int64)
    # Mostly the smallest value is the step itself: tried before all other numbers of levels.
    for some in (tops[smallest - 1 : smallest], tops[smallest:]):
        levels = sizes * some[:, None]
        allowed = np.minimum((2 * epsilon + _FLOAT64_ROUNDING) * levels, 1 / 16)
        fits = (np.abs(levels - levels.round()) <= allowed).all(axis=1)
        if fits.any():
            return int(some[fits.argmax()])
    return None


def _walked(tensor: Tensor, keep: tuple[int, ...], steps: int) -> tuple[Tensor, LoopNest]:
    """The tensor, copied where no walk goes through it, and the walk."""
    walk = loop_nest(tensor.shape, tensor.stride(), keep, steps)
    # Others are walked in another dtype, which would not lie as they do where they are not dense.
    other = walk is not None and not walk.dense and not is_read_as_it_lies(tensor.dtype)
    if walk is None or other or tensor.is_neg():
        tensor = tensor.resolve_neg().contiguous()
        walk = loop_nest(tensor.shape, tensor.stride(), keep, steps)
        assert walk is not None
    return tensor, walk
