"""What a tensor holds: its value class and where its non-zeros are. Read once, remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.storage import StorageMap
from analyzer.values import MAX_LEVEL, Values

__all__ = ["Activities", "Activity", "classify"]

_HEAD = 4096
_EXACT_FLOAT32_SUM = 2**24
_EXACT_FLOAT64 = 2**53
_FLOAT64_ROUNDING = 1e-15
_FLOATS = (torch.float32, torch.float64)
_DISTINCT = 2 * MAX_LEVEL + 1


@dataclass(frozen=True, slots=True)
class Activity:
    """Exact statistics of the elements of one tensor, which it does not keep alive.

    Attributes:
        elements: Number of elements.
        values: Value class of all elements.
        nonzeros: Number of elements that are not zero.
    """

    elements: int
    values: Values
    nonzeros: int
    _maps: dict[tuple[object, ...], Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, tensor: Tensor) -> Activity:
        """Reads a tensor."""
        return cls(tensor.numel(), classify(tensor), _nonzeros(_flat(tensor)))

    def map(self, tensor: Tensor, keep: tuple[int, ...], steps: int = 1) -> Tensor:
        """Non-zeros summed over every axis but ``keep``, per timestep.

        Args:
            tensor: The view to count in: the elements of this activity in any shape.
            keep: Axes of the view to keep, ascending; axis 0 may not be among them if steps > 1.
            steps: Number of timesteps, outermost in axis 0.

        Returns:
            int64 of shape ``[steps, *kept sizes]``.
        """
        key = (tensor.shape, tensor.stride(), keep, steps)
        if key not in self._maps:
            self._maps[key] = self._count(*_split_time(tensor, keep, steps))
        return self._maps[key]

    def level_map(self, tensor: Tensor, keep: tuple[int, ...]) -> Tensor:
        """Absolute levels summed over every axis but ``keep``; the values must be discrete."""
        if self.values.drives:
            return self.map(tensor, keep)
        view, axes = _split_time(tensor, keep, 1)
        if self.values.step == 1 and self.values.low == 0:
            return view.sum(axes, dtype=torch.float64).to(torch.int64)
        levels = (view.to(torch.float64) / self.values.step).abs().round()
        return levels.sum(axes).to(torch.int64)

    def _count(self, view: Tensor, axes: list[int]) -> Tensor:
        if view.dtype in _FLOATS and view.numel() < _EXACT_FLOAT32_SUM:
            if (self.values.low, self.values.high, self.values.peak) == (0, 1, 1.0):
                return view.sum(axes).to(torch.int64)
            counts: Tensor = torch.linalg.vector_norm(view, 0, dim=axes)
            return counts.to(torch.int64)
        return (view != 0).sum(axes)


class Activities:
    """Statistics of the tensors seen, remembered while their storage lives unchanged."""

    def __init__(self) -> None:
        self._known: StorageMap[dict[tuple[object, ...], Activity]] = StorageMap()

    def of(self, tensor: Tensor) -> Activity:
        """Statistics of a tensor, shared by all dense views of the same elements."""
        if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
            kind = "complex" if tensor.is_complex() else "quantized or sparse"
            raise AnalyzerError(f"operands of dtype {tensor.dtype} ({kind}) can not be counted.")
        if tensor.is_inference():
            return Activity.read(tensor)
        region = self._region(tensor)
        known = self._known.get(tensor)
        if known is None:
            known = {}
            self._known.put(tensor, known)
        activity = known.get(region)
        if activity is None:
            activity = known[region] = Activity.read(tensor)
        return activity

    def forget(self, tensor: Tensor) -> None:
        """Drops what is known of a tensor that is about to change."""
        self._known.drop(tensor)

    def begin(self, weights: StorageMap[bool]) -> None:
        """Forgets all but weights: between passes tensors may change unseen, as NumPy's do."""
        self._known.keep_only(weights)

    @staticmethod
    def _region(tensor: Tensor) -> tuple[object, ...]:
        where = (tensor.storage_offset(), tensor.dtype, tensor._version)
        if _is_dense(tensor):
            return (*where, tensor.numel())
        return (*where, tensor.shape, tensor.stride())


def classify(tensor: Tensor) -> Values:
    """Value class of a tensor, decided by its values, exactly.

    Raises:
        AnalyzerError: Where a value is NaN or infinite.
    """
    if tensor.numel() == 0:
        return Values()
    if tensor.dtype == torch.bool:
        fired = int(tensor.any())
        return Values(float(fired), 0, fired)
    flat = _flat(tensor)
    floating = flat.is_floating_point()
    epsilon = torch.finfo(flat.dtype).eps if floating else 0.0
    low, high = (bound.item() for bound in torch.aminmax(flat))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AnalyzerError(
            "a value is NaN or infinite, so look at the data and the modules before."
        )
    if low == high == 0:
        return Values(epsilon=epsilon)
    if (low, high) == (0, 1) and flat.dtype in _FLOATS and _is_unit(flat):
        return Values(1.0, 0, 1, epsilon)
    distinct = _distinct(flat[:_HEAD])
    if distinct.numel() > _DISTINCT:
        return Values(epsilon=epsilon, real=True)
    if not floating and max(-low, high) > _EXACT_FLOAT64:
        return _few_valued(flat, low, high, epsilon) or Values(epsilon=epsilon, real=True)
    return (
        _few_valued(flat, low, high, epsilon)
        or _graded(flat, distinct, low, high, epsilon)
        or _graded(flat, _all_distinct(flat), low, high, epsilon)
        or Values(epsilon=epsilon, real=True)
    )


def _is_unit(flat: Tensor) -> bool:
    """Whether values between 0 and 1 are all 0 or 1: no term of the sum is negative."""
    return float(torch.dot(flat, 1 - flat)) == 0


def _distinct(flat: Tensor) -> Tensor:
    """The distinct values, ascending."""
    if flat.device.type == "cpu" and flat.dtype != torch.bfloat16:
        return torch.from_numpy(np.unique(flat.numpy()))  # faster than torch's on few values
    found: Tensor = torch.unique(flat)
    return found


def _nonzeros(flat: Tensor) -> int:
    """Number of non-zeros of a tensor with one axis."""
    if flat.device.type == "cpu":  # NumPy counts a mask many times faster than torch
        mask = flat if flat.dtype == torch.bool else flat != 0
        return int(np.count_nonzero(mask.numpy()))
    return int(torch.count_nonzero(flat))


def _few_valued(flat: Tensor, low: float, high: float, epsilon: float) -> Values | None:
    """Binary or ternary values, or None."""
    nonzeros = _nonzeros(flat)
    # Bounds as tensors: a Python number would turn large integers into float32.
    least, most = flat.new_tensor(low), flat.new_tensor(high)
    peaks = _nonzeros(flat == (most if high > 0 else least))
    if peaks == nonzeros:
        sign = (0, 1) if high > 0 else (-1, 0)
        return Values(float(max(abs(low), abs(high))), *sign, epsilon)
    if low == -high and peaks + _nonzeros(flat == least) == nonzeros:
        return Values(float(high), -1, 1, epsilon)
    return None


def _graded(
    flat: Tensor, distinct: Tensor | None, low: float, high: float, epsilon: float
) -> Values | None:
    """Multiples of the common step of some of the values, if all values are; else None."""
    if distinct is None:
        return None
    extremes = distinct.new_tensor([low, high])
    sizes = torch.unique(torch.cat([distinct, extremes]).to(torch.float64).abs()).cpu().numpy()
    sizes = sizes[sizes > 0]
    top = _levels_of_largest(sizes / sizes[-1], epsilon)
    if top is None:
        return None
    largest = float(sizes[-1])
    step = largest / top
    if not all(_are_multiples(chunk, step, epsilon) for chunk in flat.split(1 << 20)):
        return None
    return Values(largest, min(0, round(low / step)), max(0, round(high / step)), epsilon)


def _levels_of_largest(sizes: NDArray[np.float64], epsilon: float) -> int | None:
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


def _are_multiples(chunk: Tensor, step: float, epsilon: float) -> bool:
    """Whether all values are whole numbers of steps, to the rounding of their dtype."""
    if step == 1 and chunk.dtype in _FLOATS and bool((chunk == chunk.round()).all()):
        return True
    levels = chunk.to(torch.float64) / step
    nearest = levels.round()
    # Rounding may not blur neighbouring levels, as it would for many levels in bfloat16.
    allowed = (nearest.abs() * (2 * epsilon + _FLOAT64_ROUNDING)).clamp_(max=1 / 16)
    return not bool(((levels - nearest).abs() > allowed).any())


def _all_distinct(flat: Tensor) -> Tensor | None:
    """All distinct values, or None where there are more than a graded tensor may have."""
    distinct = flat[:0]
    for chunk in flat.split(1 << 16):
        distinct = _distinct(torch.cat([distinct, _distinct(chunk)]))
        if distinct.numel() > _DISTINCT:
            return None
    return distinct


def _split_time(tensor: Tensor, keep: tuple[int, ...], steps: int) -> tuple[Tensor, list[int]]:
    """A view ``[steps, rest of axis 0, ...]`` and the axes of it to sum over."""
    if steps == 1:
        view, kept = tensor.unsqueeze(0), {0, *(axis + 1 for axis in keep)}
    else:
        view, kept = tensor.unflatten(0, (steps, -1)), {0, *(axis + 1 for axis in keep)}
    axes = [axis for axis in range(view.ndim) if axis not in kept]
    if not axes:  # an empty list would mean all axes
        view, axes = view.unsqueeze(-1), [view.ndim]
    return view, axes


def _flat(tensor: Tensor) -> Tensor:
    """All elements in one axis, without a copy where they lie densely."""
    if _is_dense(tensor):
        return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return tensor.reshape(-1)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one stretch of memory, in any order of axes."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(
        (stride, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if size != 1
    ):
        if stride != expected:
            return False
        expected *= size
    return True
