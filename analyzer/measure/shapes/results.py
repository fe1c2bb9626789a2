"""Shapes of the results of operations, where PyTorch takes long to tell or can not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.rules.registry import base_name
from analyzer.measure.tensors.arguments import tensors_in
from analyzer.measure.torch_private.operators import is_elementwise

__all__ = ["shaped"]


def shaped(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The shape of a result.

    PyTorch works out some shapes in Python functions that load its compiler when they first run,
    which takes longer than to count the largest model. Those of common operations are made here,
    where the arguments fit; where they do not, PyTorch says why.
    """
    name = base_name(func)
    if name == "_grouped_mm":
        return _grouped(*args, **kwargs)
    own = _SHAPES.get(name)
    if own and not kwargs and all(_is_plain(x, own) for x in tensors_in(args)):
        made = own(*args)
        if made is not None:
            return made
    if not is_elementwise(func) or "memory_format" in kwargs:
        return func(*args, **kwargs)
    given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    shape = torch.broadcast_shapes(*(x.shape for x in given))
    like = next((x for x in given if x.shape == shape and not x.is_contiguous()), None)
    empty = (_nothing(x) for x in args)
    dtype = func(*empty, **{key: _nothing(x) for key, x in kwargs.items()}).dtype
    if like is None:
        return torch.empty(shape, dtype=dtype, device="meta")
    return torch.empty_like(like, dtype=dtype)


def _is_plain(x: Tensor, own: Callable[..., Any]) -> bool:
    """Whether a result made of this argument is contiguous."""
    free = own is _multiplied or (own is _joined and x.ndim < 4)  # no channels last below
    return free or x.is_contiguous()


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    """Shape of ``torch.cat``."""
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    some = [x for x in tensors if x.shape != (0,)]  # an old habit of PyTorch skips those
    if not some:
        return torch.empty(0, dtype=dtype, device="meta")
    shape = list(some[0].shape)
    if any(_without(x, dim) != _without(some[0], dim) for x in some):
        return None
    shape[dim] = sum(x.shape[dim] for x in some)
    return torch.empty(shape, dtype=dtype, device="meta")


def _without(x: Tensor, dim: int) -> list[int]:
    shape = list(x.shape)
    del shape[dim]
    return shape


def _multiplied(bias: Tensor, lhs: Tensor, rhs: Tensor) -> Tensor | None:
    """Shape of a matrix product with a bias."""
    if lhs.shape[1] != rhs.shape[0] or bias.shape != rhs.shape[1:]:
        return None
    return torch.empty((lhs.shape[0], rhs.shape[1]), dtype=lhs.dtype, device="meta")


def _normalised(
    x: Tensor, size: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Shapes of a layer norm: its result, means and reciprocal deviations."""
    if x.shape[x.ndim - len(size) :] != tuple(size):
        return None
    kept = x.shape[: x.ndim - len(size)] + (1,) * len(size)
    mean, deviation = (torch.empty(kept, dtype=x.dtype, device="meta") for _ in range(2))
    return torch.empty_like(x), mean, deviation


def _scaled(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """Shapes of a batch norm: its result, and what only training saves."""
    if any(other.shape != x.shape[1:2] for other in tensors_in(rest)):
        return None
    saved = x.shape[1] if rest[4] else 0
    mean, deviation = (torch.empty(saved, device="meta") for _ in range(2))
    return torch.empty_like(x), mean, deviation


def _grouped(
    lhs: Tensor,
    rhs: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Shape of products by group. PyTorch tells it for one dtype only, though it computes others.

    See ``measure/rules/fused.py`` for which axis is in groups.
    """
    shape = (*lhs.shape[-2:-1], *rhs.shape[-1:])
    if lhs.ndim == rhs.ndim:
        count = len(lhs) if offs is None or lhs.ndim == 3 else offs.numel()
        shape = (count, *shape)
    return torch.empty(shape, dtype=out_dtype or lhs.dtype, device="meta")


def _shares(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Shape of a softmax."""
    return torch.empty_like(x, dtype=dtype)


_SHAPES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "addmm": _multiplied,
        "cat": _joined,
        "native_batch_norm": _scaled,
        "native_layer_norm": _normalised,
        "_safe_softmax": _shares,
    }
)
"""Shapes of the results of contiguous arguments."""


def _nothing(x: Any) -> Any:
    """An argument like this one without an element."""
    return torch.empty([0] * x.ndim, dtype=x.dtype) if isinstance(x, Tensor) else x
