"""Work of operations that read windows: pooling, resizing, and folding patches back.

Only elements that exist are read: a window that reaches over the border does less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from torch import Tensor

from analyzer.measure.rules.products import per_axis
from analyzer.measure.rules.work import Arguments, Keywords, Work, WorkRule, at, first_size

__all__ = ["window_rules"]


def window_rules() -> dict[str, WorkRule]:
    """The rules, by the base name of the operation."""
    rules: dict[str, WorkRule] = {
        "max_pool1d": _max_pool(1),
        "max_pool2d": _max_pool(2),
        "max_pool3d": _max_pool(3),
        "max_pool2d_with_indices": _max_pool(2),
        "max_pool3d_with_indices": _max_pool(3),
        "avg_pool1d": _avg_pool(1),
        "avg_pool2d": _avg_pool(2),
        "avg_pool3d": _avg_pool(3),
        "_adaptive_avg_pool2d": _adaptive_avg_pool(2),
        "_adaptive_avg_pool3d": _adaptive_avg_pool(3),
        "adaptive_max_pool2d": _adaptive_max_pool(2),
        "adaptive_max_pool3d": _adaptive_max_pool(3),
        "fractional_max_pool2d": _fractional_max_pool(2),
        "fractional_max_pool3d": _fractional_max_pool(3),
        "_upsample_bilinear2d_aa": _antialiased(1.0),
        "_upsample_bicubic2d_aa": _antialiased(2.0),
        "col2im": _fold,
    }
    return rules | {name: _interpolation(taps) for name, taps in _TAPS.items()}


_TAPS: Mapping[str, int] = MappingProxyType(
    {
        "upsample_linear1d": 2,
        "upsample_bilinear2d": 4,
        "upsample_trilinear3d": 8,
        "upsample_bicubic2d": 16,
    }
)
"""Neighbours of which a resized element is the weighted sum; the geometry gives the weights."""


def _max_pool(axes: int) -> WorkRule:
    """A window of n elements takes n - 1 comparisons."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        read = _read(args[0], out, axes, args[1], at(args, 2), at(args, 3), at(args, 4))
        return Work(compares=read - first_size(out))

    return rule


def _avg_pool(axes: int) -> WorkRule:
    """A window of n elements takes n - 1 additions and a multiplication by 1/n."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        read = _read(args[0], out, axes, args[1], at(args, 2), at(args, 3), 1)
        return Work(adds=read - out.numel(), multiplies=out.numel())

    return rule


def _adaptive_avg_pool(axes: int) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        read = _read_adaptively(args[0], out, axes)
        return Work(adds=read - out.numel(), multiplies=out.numel())

    return rule


def _adaptive_max_pool(axes: int) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return Work(compares=_read_adaptively(args[0], out[0], axes) - out[0].numel())

    return rule


def _fractional_max_pool(axes: int) -> WorkRule:
    """Windows start at random places, but all lie inside."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return Work(compares=first_size(out) * (math.prod(per_axis(args[1], axes)) - 1))

    return rule


def _interpolation(taps: int) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return Work(adds=taps - 1, multiplies=taps).times(out.numel())

    return rule


def _antialiased(support: float) -> WorkRule:
    """Two weighted sums, along the rows and then along the columns; shrinking widens them.

    Args:
        support: Half the width of the filter where the size does not change, in elements.
    """

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        height, width = args[0].shape[-2:]
        new_height, new_width = out.shape[-2:]
        images = out.shape[:-2].numel()
        work = Work()
        for lines, size, new in ((height, width, new_width), (new_width, height, new_height)):
            if size != new:
                taps = _widened_taps(size, new, support, bool(args[2]))
                work += Work(adds=taps - new, multiplies=taps).times(images * lines)
        return work

    return rule


def _fold(args: Arguments, out: Tensor, kwargs: Keywords) -> Work:
    """Patches that overlap are added up: one addition an element but the first at each place."""
    _, size, kernel, dilation, padding, stride = args[:6]
    entries = covered = patches = 1
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        blocks = (n + 2 * p - d * (k - 1) - 1) // s + 1
        places = [b * s - p + d * tap for b in range(blocks) for tap in range(k)]
        inside = [place for place in places if 0 <= place < n]
        entries *= len(inside)
        covered *= len(set(inside))
        patches *= len(places)
    images = args[0].numel() // max(patches, 1)
    return Work(adds=images * (entries - covered))


def _read(
    x: Tensor,
    out: Any,
    axes: int,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int] | None,
    dilation: int | Sequence[int] | None,
) -> int:
    """Elements in all windows together, padding left out."""
    result = out[0] if isinstance(out, (tuple, list)) else out
    sizes = per_axis(kernel, axes)
    settings = zip(
        x.shape[-axes:],
        result.shape[-axes:],
        sizes,
        sizes if stride in (None, []) else per_axis(stride or 1, axes),
        per_axis(padding or 0, axes),
        per_axis(dilation or 1, axes),
        strict=True,
    )
    return int(result.shape[:-axes].numel()) * math.prod(_taps(*setting) for setting in settings)


def _read_adaptively(x: Tensor, out: Tensor, axes: int) -> int:
    windows = zip(x.shape[-axes:], out.shape[-axes:], strict=True)
    return int(out.shape[:-axes].numel()) * math.prod(_adaptive_taps(*sizes) for sizes in windows)


@lru_cache(maxsize=1024)
def _taps(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Elements in the windows along one axis."""
    total = 0
    for output in range(outputs):
        start = output * stride - padding
        first = max(0, -(start // dilation))
        last = min(kernel, (size - 1 - start) // dilation + 1)
        total += max(last - first, 0)
    return total


@lru_cache(maxsize=1024)
def _adaptive_taps(size: int, outputs: int) -> int:
    """Window i goes from ⌊i · size / outputs⌋ to ⌈(i + 1) · size / outputs⌉."""
    return sum(-(-(i + 1) * size // outputs) - i * size // outputs for i in range(outputs))


@lru_cache(maxsize=1024)
def _widened_taps(size: int, outputs: int, support: float, align_corners: bool) -> int:
    """Elements under a filter that is as much wider as the result is smaller, along one axis."""
    if align_corners:
        scale = (size - 1) / (outputs - 1) if outputs > 1 else 0.0
    else:
        scale = size / outputs
    half = support * max(scale, 1.0)
    total = 0
    for output in range(outputs):
        center = scale * (output + 0.5)
        start = max(int(center - half + 0.5), 0)
        total += min(int(center + half + 0.5), size) - start
    return total
