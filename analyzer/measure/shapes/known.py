"""Values that are known although nothing is computed: masks, positions, tables of indices.

On the meta device a tensor has a shape and no values. Some models look at values all the same:
whether a mask hides anything, how far a generation has come. What is made of constants and of
tensors that were given with their values is computed beside the shapes, so that such questions have
an answer. What depends on weights, on random numbers or on an input of which only the shape is
given stays unknown, and a question about it is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "UnknownValueError",
    "is_small",
    "keep_values",
    "lose_values",
    "mapped",
    "on_values",
    "taken",
    "values_of",
]

_MOST_BYTES = 16 << 20
"""Values of larger tensors are not kept."""

_MOST_FLOAT_BYTES = 64 << 10
"""Those of larger floating-point tensors neither: they hardly ever decide what a model does."""

_ATTRIBUTE = "_analyzer_known_values"


class UnknownValueError(RuntimeError):
    """A value was asked for that shapes do not tell."""


def values_of(tensor: Tensor) -> Tensor | None:
    """The values of a tensor, None where they are not known."""
    if not tensor.is_meta:
        return tensor
    values: Tensor | None = getattr(tensor, _ATTRIBUTE, None)
    if values is None or (values.numel() and not values.untyped_storage().nbytes()):
        return None
    return values


def keep_values(tensor: Tensor, values: Tensor) -> None:
    """Notes the values of a tensor of the meta device."""
    setattr(tensor, _ATTRIBUTE, values)


def lose_values(tensor: Tensor) -> None:
    """Forgets the values of a tensor that was written to, and of all that share its memory."""
    values: Tensor | None = getattr(tensor, _ATTRIBUTE, None)
    if values is not None:
        values.untyped_storage().resize_(0)


def taken(tensor: Tensor) -> Tensor:
    """A tensor of the meta device in place of one with values, of which it keeps a copy."""
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_nested:
        return tensor
    own = tensor.detach()
    there = torch.empty_strided(own.shape, own.stride(), dtype=own.dtype, device="meta")
    if is_small(own):
        keep_values(there, own.cpu().clone())
    return there


def on_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation on tensors whose values are all known."""
    args = mapped(args, _known)
    kwargs = {key: mapped(x, _known) for key, x in kwargs.items()}
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("cpu")
    return func(*args, **kwargs)


def _known(tensor: Tensor) -> Tensor:
    values = values_of(tensor)
    assert values is not None
    return values


def is_small(*tensors: Tensor) -> bool:
    """Whether the values of some tensors are few enough to be kept."""
    return all(
        x.numel() * x.element_size()
        <= (_MOST_FLOAT_BYTES if x.is_floating_point() or x.is_complex() else _MOST_BYTES)
        for x in tensors
    )


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Arguments of an operation with each tensor changed, also those in lists."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(x, change) for x in value)
    return value
