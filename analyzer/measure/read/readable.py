"""Decides how a tensor is read: by compiled code, by PyTorch's operations, or not at all.

Compiled code is given an address, so a tensor without memory behind it would end the process: a
subclass that wraps other tensors, a tensor of zeros that PyTorch never wrote, one whose storage
was freed. The values of such a tensor are first copied to an ordinary tensor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.read.strides import extent
from analyzer.measure.torch_private.tensors import is_zeros_without_memory

__all__ = ["Reading", "compiled", "compiled_address", "ordinary", "reading"]

Reading = Literal["compiled", "plain"]
"""``compiled``: loops compiled by Numba, on PyTorch's threads. ``plain``: PyTorch's operations
alone, which is slower, counts the same, and needs neither a compiler nor threads of our own."""

_VARIABLE = "ANALYZER_READING"
_CHOSEN: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading(how: Reading) -> Iterator[None]:
    """Chooses how tensors are read in a ``with`` block, whatever ``ANALYZER_READING`` says.

    Raises:
        AnalyzerError: Where it is neither.
    """
    token = _CHOSEN.set(_checked(how, "reading"))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


@cache
def compiled() -> ModuleType | None:
    """The compiled loops; None where their compiler can't be imported.

    The compiler is imported when this is first called, which takes a second.
    """
    try:
        return import_module("analyzer.measure.read.kernels")
    except Exception:  # the compiler refuses some versions of NumPy and Python
        return None


def compiled_address(tensor: Tensor, length: int) -> int:
    """The address at which compiled code may read a tensor; 0 where it may not.

    Args:
        tensor: Any.
        length: Elements from its first to its last in memory, see :func:`strides.extent`.
    """
    if not tensor.is_cpu or tensor.is_neg():
        return 0
    if (_CHOSEN.get() or _of_environment()) == "plain" or compiled() is None:
        return 0
    return _address(tensor, length)


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy with the same strides where its own memory doesn't show its values.

    Raises:
        AnalyzerError: Where there are no real numbers to be read.
    """
    kind = _refused(tensor)
    if kind:
        raise AnalyzerError(f"operands of dtype {tensor.dtype} ({kind}) can not be counted.")
    if _is_ordinary(tensor):
        return tensor
    for way in (_gathered, _copied, _plus_zero, _dequantized) if _is_computed(tensor) else ():
        # A subclass may raise anything for an operation that it doesn't support.
        with suppress(Exception), torch.no_grad():
            copy = way(tensor)
            if copy is not None and copy.shape == tensor.shape and not _refused(copy):
                copy = _with_strides(copy.detach(), tensor.stride())
                if _is_ordinary(copy):
                    return copy
    name = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
    raise AnalyzerError(
        f"a {name} of shape {tuple(tensor.shape)} on device {tensor.device} has no values in "
        "memory and supports no operation that gives them, so its zeros can't be counted: use an "
        "ordinary torch.Tensor in its place, or count from shapes alone with analyzer.count."
    )


def _refused(tensor: Tensor) -> str:
    """Why a tensor can't be counted whatever its values are; empty if it can."""
    if tensor.is_complex():
        return "complex"
    if tensor.is_quantized or tensor.layout != torch.strided:
        return "quantized or sparse"
    return "nested" if tensor.is_nested else ""


def _dispatches(tensor: Tensor) -> bool:
    """Whether a subclass decides what operations find in a tensor, not its memory.

    Wrapper subclasses do: DTensor, FakeTensor, quantized weights.
    """
    return type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__


def _is_ordinary(tensor: Tensor) -> bool:
    """Whether PyTorch's operations find a tensor's values in memory that is there."""
    if tensor.is_meta or tensor.is_neg() or _dispatches(tensor):
        return False
    if not (tensor.is_cpu or tensor.is_cuda):
        return True  # other devices may have no addresses
    return _address(tensor, extent(tensor.shape, tensor.stride())) != 0 or not tensor.numel()


def _address(tensor: Tensor, length: int) -> int:
    """Where a tensor's elements are; 0 where not all of them are in a storage."""
    if _dispatches(tensor):
        return 0
    try:
        place, size = tensor.data_ptr(), tensor.untyped_storage().nbytes()
    except RuntimeError:  # it has no storage
        return 0
    last = (tensor.storage_offset() + length) * tensor.element_size()
    return place if size >= last else 0


def _with_strides(tensor: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The tensor, or a copy of it, with some strides."""
    if tensor.stride() == stride:
        return tensor
    once = tuple(slice(None) if step else slice(0, 1) for step in stride)  # of expanded axes
    target = tensor.new_empty(extent(tensor.shape, stride))
    some = tensor[once]
    target.as_strided(some.shape, stride).copy_(some)
    return target.as_strided(tensor.shape, stride)


def _gathered(tensor: Any) -> Tensor | None:
    """All of a tensor that is spread over processes, as DTensor offers it."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return None if gather is None else gather()


def _copied(tensor: Tensor) -> Tensor | None:
    """What an ordinary tensor takes over from it; None where it isn't sure that it does."""
    target = torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    other = torch.ones_like(target)
    target.copy_(tensor)
    other.copy_(tensor)
    same = (target == other) | ((target != target) & (other != other))
    return target if bool(same.all()) else None


def _plus_zero(tensor: Tensor) -> Tensor:
    return tensor + 0


def _dequantized(tensor: Tensor) -> Tensor:
    return tensor.dequantize()


def _is_computed(tensor: Tensor) -> bool:
    """Whether operations find values in a tensor that is not ordinary.

    They end the process where the storage of an ordinary tensor was freed or made smaller.
    """
    if _dispatches(tensor) or is_zeros_without_memory(tensor):
        return True
    return tensor.is_neg() and _address(tensor, extent(tensor.shape, tensor.stride())) != 0


@cache
def _of_environment() -> Reading:
    """What the environment variable says when a tensor is first read."""
    return _checked(os.environ.get(_VARIABLE) or "compiled", f"the environment's {_VARIABLE}")


def _checked(how: str, name: str) -> Reading:
    if how not in get_args(Reading):
        raise AnalyzerError(f"{name} must be 'compiled' or 'plain', not {how!r}.")
    return cast("Reading", how)
