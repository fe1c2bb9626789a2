"""Statistics of a tensor by PyTorch's operations: on any device, without compiled code.

They give the same integers as the compiled loops, and take several passes over memory instead of
one. Tensors on an accelerator are read this way, and those on a CPU that compiled code can't or
shall not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.read.strides import LoopNest, as_looped

__all__ = ["PlainStatistics", "level_sums", "nonzero_mask", "signed_integers", "statistics"]

PlainStatistics = tuple[Tensor, int, int, float, float]
"""A table of non-zeros ``[chunks, inner]``, their sum, negatives, largest and least magnitude."""

_BLOCK = 1 << 14
"""Elements of a CPU tensor that are read at once. PyTorch runs operations on so few in one thread,
which a fork of a process can't do without, and their results fit into a cache."""

_COMPUTES = ("cpu", "cuda")
"""Devices that compute in float64; tensors on others are copied from them."""

_NOT_COMPARED = (torch.uint16, torch.uint32, torch.uint64)
"""Dtypes for which PyTorch has few operations."""


def statistics(tensor: Tensor, nest: LoopNest) -> PlainStatistics:
    """Counts the non-zeros of a tensor along a loop nest, and finds the range of magnitudes.

    Args:
        tensor: Of any real dtype, strided and not empty.
        nest: Its loop nest.

    Raises:
        AnalyzerError: Where the magnitude of an integer fits no int64.
    """
    looped = as_looped(tensor, nest)
    table = torch.zeros((nest.chunks, nest.inner), dtype=torch.int64, device=tensor.device)
    negatives, peak, least = 0, 0.0, math.inf
    for chunks, places, values in _blocks(looped):
        values = _numbers(values)
        present = values != 0
        into = table[chunks, places] if nest.inner > 1 else table[chunks, 0]
        into += present.sum(1) if nest.inner > 1 else present.sum((1, 2))
        negatives += int((values < 0).sum())
        sizes = values.abs()
        most = math.inf if sizes.is_floating_point() else torch.iinfo(torch.int64).max
        top, low = (x.item() for x in (sizes.amax(), sizes.where(present, most).amin()))
        # A comparison with NaN is false, so NaN must be asked for to stay.
        peak = top if math.isnan(top) else max(peak, top)
        least = min(least, low)
        if not math.isfinite(peak):
            break
    nonzeros = int(table.sum())
    return table, nonzeros, negatives, peak, least if nonzeros else 0.0


def level_sums(
    tensor: Tensor, nest: LoopNest, step: float, epsilon: float
) -> tuple[Tensor, float | None]:
    """Sums absolute levels along a loop nest.

    Args:
        tensor: Of any real dtype, finite.
        nest: Its loop nest.
        step: What one level is worth.
        epsilon: Relative rounding that each element may carry.

    Returns:
        int64 ``[chunks, inner]``, and the first magnitude in the order of the loop nest that is no
        multiple of the step: where there is one, the sums mean nothing.
    """
    looped = as_looped(tensor, nest)
    if tensor.device.type not in _COMPUTES:
        looped = looped.cpu()
    sums = torch.zeros((nest.chunks, nest.inner), dtype=torch.int64, device=looped.device)
    loose = 2 * epsilon + 1e-15
    for chunks, places, values in _blocks(looped):
        sizes = values.double().abs() / step
        levels = (sizes + 0.5).long()
        nearest = levels.double()
        # The bound keeps the roundings of two neighbouring levels apart: in bfloat16 those of many
        # levels would overlap.
        others = (sizes - nearest).abs() > (nearest * loose).clamp(max=1 / 16)
        if bool(others.any()):
            return sums, abs(float(values.reshape(-1)[int(others.reshape(-1).int().argmax())]))
        into = sums[chunks, places] if nest.inner > 1 else sums[chunks, 0]
        into += levels.sum(1) if nest.inner > 1 else levels.sum((1, 2))
    return sums, None


def nonzero_mask(tensor: Tensor) -> Tensor:
    """Which elements of a tensor of any dtype are not zero."""
    if tensor.dtype in _NOT_COMPARED:
        tensor = tensor.to(torch.int64)
    elif tensor.is_floating_point() and tensor.dtype.itemsize == 1:
        tensor = tensor.float()
    return tensor != 0


def signed_integers(tensor: Tensor) -> Tensor:
    """Integers of any dtype as int64.

    Raises:
        AnalyzerError: Where the magnitude of one fits no int64.
    """
    whole = tensor.to(torch.int64)
    lowest = torch.iinfo(torch.int64).min
    if tensor.dtype == torch.uint64:
        if bool((whole < 0).any()):
            raise AnalyzerError("an unsigned integer is 2^63 or more, and such can't be counted.")
    elif tensor.dtype == torch.int64 and bool((whole == lowest).any()):
        raise AnalyzerError(f"an integer is {lowest}, whose magnitude fits no integer.")
    return whole


def _numbers(values: Tensor) -> Tensor:
    """Values of a dtype that PyTorch compares on every device."""
    if values.dtype == torch.bool:
        return values.to(torch.int64)
    if not values.is_floating_point():
        return signed_integers(values)
    return values if values.dtype.itemsize > 1 else values.float()


def _blocks(looped: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Parts of ``[chunks, rows, width]`` in the order of memory, with their chunks and places."""
    chunks, rows, width = looped.shape
    most = _BLOCK if looped.device.type == "cpu" else looped.numel()
    many_chunks = max(most // (rows * width), 1)
    many_rows = max(most // width, 1) if many_chunks == 1 else rows
    many_places = most if many_rows == 1 and many_chunks == 1 else width
    for chunk in range(0, chunks, many_chunks):
        for row in range(0, rows, many_rows):
            for place in range(0, width, many_places):
                some, places = slice(chunk, chunk + many_chunks), slice(place, place + many_places)
                yield some, places, looped[some, row : row + many_rows, places]
