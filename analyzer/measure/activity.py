"""What a tensor holds: its value class and where its non-zeros are. Read once, remembered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.census import Census, census, level_sums
from analyzer.measure.storage import StorageMap
from analyzer.values import MAX_LEVEL, Values

__all__ = ["Activities", "Activity", "Form", "form"]

_SAMPLE = 64
_FLOAT64_ROUNDING = 1e-15
_ROUNDING: Mapping[torch.dtype, float] = MappingProxyType(
    {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
)

Array = NDArray[Any]


class Form(NamedTuple):
    """How to walk a tensor's memory so that some of its axes are kept apart.

    Attributes:
        chunks: Outermost parts to keep apart.
        inner: Innermost elements to keep apart; all between is summed.
        split: Sizes of the axes that chunks and inner elements are made of.
        dropped: Which of these to sum afterwards.
        order: How to permute the rest into the order of the tensor's axes.
        steps: Timesteps, outermost in the result.
    """

    chunks: int
    inner: int
    split: tuple[int, ...]
    dropped: tuple[int, ...]
    order: tuple[int, ...]
    steps: int

    def fold(self, counts: Array) -> Array:
        """Counts ``[chunks, inner]`` as ``[steps, kept elements]``."""
        if self.dropped or self.order:
            counts = counts.reshape(self.split).sum(self.dropped).transpose(self.order)
        return counts.reshape(self.steps, -1)


@lru_cache(maxsize=4096)
def form(
    shape: tuple[int, ...], stride: tuple[int, ...], keep: tuple[int, ...], steps: int = 1
) -> Form | None:
    """The form of a dense tensor; None for one that does not fill one stretch of memory.

    Args:
        shape: Sizes of the axes.
        stride: Elements from one entry of an axis to the next.
        keep: Axes to keep apart.
        steps: Timesteps, outermost in axis 0.
    """
    if steps > 1:
        rest = shape[0] // steps
        shape, stride = (steps, rest, *shape[1:]), (stride[0] * rest, *stride)
        keep = (0, *(axis + 1 for axis in keep))
    axes = sorted((a for a in range(len(shape)) if shape[a] != 1), key=lambda a: -stride[a])
    expected = 1
    for axis in reversed(axes):
        if stride[axis] != expected:
            return None
        expected *= shape[axis]
    kept = [axis in keep for axis in axes]
    inside = len(axes)
    while inside and kept[inside - 1]:
        inside -= 1
    outside = inside
    while outside and not kept[outside - 1]:
        outside -= 1
    named = axes[:outside] + axes[inside:]
    split = tuple(shape[a] for a in named)
    dropped = tuple(i for i, a in enumerate(named) if a not in keep)
    left = [a for a in named if a in keep]
    order = tuple(left.index(a) for a in sorted(left))
    plain = not dropped and list(order) == list(range(len(order)))
    return Form(
        chunks=math.prod(split[:outside]),
        inner=math.prod(split[outside:]),
        split=split,
        dropped=dropped,
        order=() if plain else order,
        steps=steps,
    )


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
        self._counts: dict[Form, Array] = {}
        self._levels: dict[Form, Array] = {}

    @classmethod
    def read(cls, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Activity:
        """Reads a tensor, once, and remembers the counts that are asked for."""
        elements = tensor.numel()
        if not elements:
            return cls(0, Values(), 0)
        tensor, shape = _dense(tensor, keep, steps)
        found = census(tensor, shape.chunks, shape.inner)
        activity = cls(elements, Values(), found.nonzeros)
        activity._counts[shape] = shape.fold(found.counts)
        activity.values = activity._classify(tensor, found, shape)
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
        if not self.elements:
            return np.zeros((steps, math.prod(tensor.shape[a] for a in keep) // steps), np.int64)
        shape = form(tensor.shape, tensor.stride(), keep, steps)
        known = None if shape is None else self._counts.get(shape)
        if known is None:
            tensor, shape = _dense(tensor, keep, steps)
            found = census(tensor, shape.chunks, shape.inner)
            known = self._counts[shape] = shape.fold(found.counts)
        return known

    def levels(self, tensor: Tensor, keep: tuple[int, ...] = ()) -> Array:
        """Absolute levels summed over every axis but ``keep``; the values must be discrete."""
        if self.values.drives or not self.elements:
            return self.counts(tensor, keep)
        tensor, shape = _dense(tensor, keep, 1)
        if shape not in self._levels:
            values = self.values
            sums, _ = level_sums(
                _flat(tensor), shape.chunks, shape.inner, values.step, values.epsilon
            )
            self._levels[shape] = shape.fold(sums)
        return self._levels[shape]

    def _classify(self, tensor: Tensor, found: Census, shape: Form) -> Values:
        if not math.isfinite(found.peak):
            raise AnalyzerError(
                "a value is NaN or infinite, so look at the data and the modules before."
            )
        epsilon = _ROUNDING.get(tensor.dtype, 0.0)
        if not found.nonzeros:
            return _values(0.0, 0, 0, epsilon)
        if found.least == found.peak:
            below, above = found.negatives > 0, found.negatives < found.nonzeros
            return _values(float(found.peak), -below, +above, epsilon)
        if found.peak > (MAX_LEVEL + 0.5) * found.least:
            return _reals(epsilon)
        flat = _flat(tensor)
        step = (
            self._step(flat, found, shape, epsilon)
            if flat.is_floating_point()
            else _whole_step(flat, found)
        )
        if step is None:
            return _reals(epsilon)
        low = high = round(found.peak / step)
        if 0 < found.negatives < found.nonzeros:
            low, high = (round(abs(float(x)) / step) for x in torch.aminmax(flat))
        return _values(
            float(found.peak),
            -low if found.negatives else 0,
            high if found.negatives < found.nonzeros else 0,
            epsilon,
        )

    def _step(self, flat: Tensor, found: Census, shape: Form, epsilon: float) -> float | None:
        """The step that all elements are multiples of, or None.

        It is guessed from some magnitudes and all elements are tried on it; one that does not fit
        joins the guess, which can only make the step finer.
        """
        some = flat[:: max(1, len(flat) // _SAMPLE)].detach().to(torch.float64).abs().cpu().numpy()
        sizes = np.unique(np.append(some, (found.peak, found.least)))
        sizes = sizes[sizes > 0]
        while True:
            top = _levels_of_largest(sizes / found.peak, epsilon)
            if top is None:
                return None
            step = found.peak / top
            sums, odd = level_sums(flat, shape.chunks, shape.inner, step, epsilon)
            if odd is None:
                self._levels[shape] = shape.fold(sums)
                return step
            sizes = np.unique(np.append(sizes, odd))


class Activities:
    """Statistics of the tensors seen, remembered while their storage lives unchanged."""

    def __init__(self) -> None:
        self._known: StorageMap[dict[tuple[object, ...], Activity]] = StorageMap()

    def of(self, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Activity:
        """Statistics of a tensor, shared by all dense views of the same elements.

        Args:
            tensor: What to read, if it was not read before.
            keep: Axes that :meth:`Activity.counts` will be asked to keep: counted in this pass.
            steps: Timesteps it will be asked for.

        Raises:
            AnalyzerError: Where an element is NaN or infinite, or no real number.
        """
        if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
            kind = "complex" if tensor.is_complex() else "quantized or sparse"
            raise AnalyzerError(f"operands of dtype {tensor.dtype} ({kind}) can not be counted.")
        if tensor.is_inference():
            return Activity.read(tensor, keep, steps)
        known = self._known.get(tensor)
        if known is None:
            known = {}
            self._known.put(tensor, known)
        region = _region(tensor)
        activity = known.get(region)
        if activity is None:
            activity = known[region] = Activity.read(tensor, keep, steps)
        return activity

    def forget(self, tensor: Tensor) -> None:
        """Drops what is known of a tensor that has changed."""
        self._known.drop(tensor)

    def begin(self, weights: StorageMap[bool]) -> None:
        """Forgets all but weights: between passes tensors may change unseen, as NumPy's do."""
        self._known.keep_only(weights)


def _region(tensor: Tensor) -> tuple[object, ...]:
    """Which elements of its storage a tensor shows, and how often these were written."""
    shape, stride = tensor.shape, tensor.stride()
    where = (tensor.storage_offset(), tensor.dtype, tensor._version)
    if form(shape, stride, ()) is not None:
        return (*where, tensor.numel())
    return (*where, shape, stride)


@lru_cache(maxsize=1024)
def _values(peak: float, low: int, high: int, epsilon: float) -> Values:
    """One object for equal values, so that joining them costs nothing."""
    return Values(peak, low, high, epsilon)


@lru_cache(maxsize=16)
def _reals(epsilon: float) -> Values:
    return Values(epsilon=epsilon, real=True)


def _whole_step(flat: Tensor, found: Census) -> float | None:
    """The greatest common divisor of integers, None where the largest has too many levels."""
    step = int(np.gcd.reduce(flat.cpu().to(torch.int64).numpy()))
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


def _dense(tensor: Tensor, keep: tuple[int, ...], steps: int) -> tuple[Tensor, Form]:
    """The tensor, copied where it does not lie densely, and how to walk its memory."""
    shape = form(tensor.shape, tensor.stride(), keep, steps)
    if shape is None or tensor.is_neg():
        tensor = tensor.resolve_neg().contiguous()
        shape = form(tensor.shape, tensor.stride(), keep, steps)
        assert shape is not None
    return tensor, shape


def _flat(tensor: Tensor) -> Tensor:
    """All elements of a dense tensor in one axis, in the order of memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())
