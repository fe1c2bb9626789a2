"""What a counted model is given: tensors described by dtype and shape, or tensors themselves."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeGuard

import torch
from einops.parsing import ParsedExpression
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.frame import Forward
from analyzer.measure.frame.inputs import Batch, read_batch

__all__ = ["batch_of", "is_sample_shape", "one_batch", "shape_with_batch"]

_PASSED = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


def is_sample_shape(given: Any) -> TypeGuard[tuple[int, ...] | list[int]]:
    """Whether this is the shape of one sample: a tuple or list of whole numbers."""
    return isinstance(given, (tuple, list)) and bool(given) and all(map(_is_whole, given))


def batch_of(given: Any, dtype: torch.dtype) -> Any:
    """One batch from a description of it; its tensors are on the meta device where described.

    ``(dtype, shape)`` and a plain shape stand for a tensor wherever they are in dicts, tuples and
    lists. Tensors, plain values and objects stay what they are.

    Args:
        given: The description.
        dtype: Of tensors that are described by their shape alone.

    Raises:
        AnalyzerError: Where a dtype or a shape is none.
    """
    if isinstance(given, (Tensor, *_PASSED)):
        return given
    if is_sample_shape(given):
        return _empty(given, dtype)
    if isinstance(given, (tuple, list)) and _is_typed(given):
        return _empty(given[1], _dtype(given[0]))
    if type(given) in (tuple, list):
        return type(given)(batch_of(item, dtype) for item in given)
    if isinstance(given, Mapping):
        items = {key: batch_of(item, dtype) for key, item in given.items()}
        if all(items[key] is given[key] for key in items):
            return given
        if type(given) is dict or not isinstance(given, MutableMapping):
            return items
        same = copy.copy(given)  # such as BatchEncoding, whose items are attributes too
        same.update(items)
        return same
    return given


def one_batch(given: Any, model: nn.Module, forward: Forward | None) -> Batch:
    """The arguments of the model's forward in a batch.

    Raises:
        AnalyzerError: Where a batch can not be told from many, or holds nothing to pass on.
    """
    if forward is None and not isinstance(given, (Tensor, tuple, Mapping)):
        raise AnalyzerError(
            f"count takes one batch, not {type(given).__name__}: give a tensor, a tuple or dict of "
            "arguments (of a loader its first batch), or forward=, a function (model, batch) -> "
            "output."
        )
    return read_batch(given, model, forward)


def shape_with_batch(
    sample: tuple[int, ...] | list[int], layout: str | None, timesteps: int
) -> tuple[int, ...]:
    """Shape of a model's input that holds one sample.

    Args:
        sample: Its shape without the batch axis; where the layout has an axis of time of its own,
            with or without it.
        layout: Axes of the input, such as ``(T B) C H W``; None where the batch comes first.
        timesteps: Timesteps of one pass.

    Raises:
        AnalyzerError: Where the sample does not fit.
    """
    _check_sizes(sample)
    if layout is None:
        return (1, *sample)
    axes = [list(axis) for axis in ParsedExpression(layout).composition]
    timed = ["T"] in axes
    own = [axis for axis in axes if "B" not in axis and axis != ["T"]]
    with_time = [axis for axis in axes if "B" not in axis]
    if len(sample) not in (len(own), len(with_time)):
        raise AnalyzerError(
            f"the layout {layout!r} of the model's input does not fit a sample of shape "
            f"{tuple(sample)}: give one axis for each name but B{' (T may be left out)' * timed}."
        )
    sizes = iter(sample)
    whole = tuple(
        _folded(axis, timesteps)
        if "B" in axis
        else timesteps
        if axis == ["T"] and len(sample) == len(own)
        else next(sizes)
        for axis in axes
    )
    if timed and whole[axes.index(["T"])] != timesteps:
        raise AnalyzerError(
            f"a sample of shape {tuple(sample)} has {whole[axes.index(['T'])]} timesteps in the "
            f"layout {layout!r}, but one pass of the model has {timesteps}: give timesteps=, or "
            "another shape."
        )
    return whole


def _folded(axis: list[str], timesteps: int) -> int:
    """Length of the axis that holds the batch, of one sample."""
    foreign = sorted(set(axis) - {"T", "B"})
    if foreign:
        raise AnalyzerError(
            f"a layout that folds {', '.join(foreign)} into the batch does not tell how long that "
            'axis is: give the whole input instead, such as (("float32", (8, 3)),).'
        )
    return timesteps if "T" in axis else 1


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_typed(given: tuple[Any, ...] | list[Any]) -> bool:
    return (
        len(given) == 2
        and isinstance(given[0], (str, torch.dtype))
        and isinstance(given[1], (tuple, list))
        and all(map(_is_whole, given[1]))
    )


def _dtype(named: str | torch.dtype) -> torch.dtype:
    if isinstance(named, torch.dtype):
        return named
    found = getattr(torch, named.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise AnalyzerError(f"{named!r} is no dtype of PyTorch: write int64, float32, bool.")
    return found


def _empty(shape: tuple[int, ...] | list[int], dtype: torch.dtype) -> Tensor:
    _check_sizes(shape)
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _check_sizes(shape: tuple[int, ...] | list[int]) -> None:
    if any(size < 1 for size in shape):
        raise AnalyzerError(f"{tuple(shape)} is no shape: its sizes are whole numbers from 1.")
