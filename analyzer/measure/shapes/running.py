"""Operations in a pass without values: the shape of each result, and its values where known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.rules.registry import base_name
from analyzer.measure.shapes.known import (
    UnknownValueError,
    is_small,
    keep_values,
    lose_values,
    mapped,
    on_values,
    taken,
    values_of,
)
from analyzer.measure.shapes.results import shaped
from analyzer.measure.tensors.arguments import tensors_in, tensors_written
from analyzer.measure.torch_private.operators import OpOverload, written_arguments

__all__ = ["MetaRun"]

_UNWRITTEN = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})
_LIKE = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operations whose results depend on the shape of their argument and not on its values."""

_REPLACING = frozenset({"set", "resize", "resize_as"})
"""Operations that give a tensor other memory."""

_INDEXING = frozenset({"index", "_unsafe_index"})

_OF_ONE_DTYPE = frozenset({"mm", "addmm", "bmm", "baddbmm", "convolution"})

_READING = MappingProxyType(
    {"_local_scalar_dense": "Python asks for", "equal": "a comparison asks for"}
)
"""How an error tells what reads values."""

_TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class _Kind:
    """What must be known of an overload."""

    __slots__ = ("computed", "like", "name", "reads_values", "view", "written")

    def __init__(self, func: Any, left_out: frozenset[str]) -> None:
        self.name = base_name(func)
        plain = isinstance(func, OpOverload)
        tags = func.tags if plain else ()
        self.written = written_arguments(func)
        self.view = plain and bool(func.is_view)
        self.like = self.name in _LIKE
        self.reads_values = any(tag in tags for tag in _TAGS)
        random = torch.Tag.nondeterministic_seeded in tags
        left_out |= _UNWRITTEN | _REPLACING
        self.computed = plain and not random and self.name not in left_out


class MetaRun:
    """Gives the results of operations on the meta device in place of PyTorch.

    Args:
        left_out: Base names of operations whose values are never computed, as they are the work
            that is counted.
    """

    def __init__(self, left_out: frozenset[str]) -> None:
        self._kind = lru_cache(maxsize=None)(lambda func: _Kind(func, left_out))

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operation: its shape, and its values where they are known.

        Raises:
            UnknownValueError: Where the result hangs on values that are not known.
        """
        kind = self._kind(func)
        if kind.name == "lift_fresh":
            return taken(args[0])
        tensors = tensors_in((*args, *kwargs.values()) if kwargs else args)
        device = kwargs.get("device")
        if not all(x.is_meta for x in tensors):
            if not any(x.is_meta for x in tensors) and (device is None or device.type != "meta"):
                return func(*args, **kwargs)
            _refuse_writing(kind, args, kwargs)
            args = mapped(args, taken)
            kwargs = {key: mapped(x, taken) for key, x in kwargs.items()}
            tensors = tensors_in((*args, *kwargs.values()))
        told = kind.computed and all(values_of(x) is not None for x in tensors)
        if told and device is not None and device.type == "cpu" and kind.name == "_to_copy":
            return on_values(func, args, kwargs)  # to be read by Python, most likely
        if device is not None:
            kwargs = {**kwargs, "device": torch.device("meta")}
        if kind.reads_values:
            return _read(func, kind, args, kwargs, told)
        if kind.name == "embedding":
            _check_rows(args[0], args[1])
        elif kind.name in _OF_ONE_DTYPE:
            _check_dtypes(kind, tensors)
        out = shaped(func, args, kwargs)
        if kind.like and is_small(out):
            args, kwargs, told = mapped(args, _unread), dict(kwargs), True
        elif told and not (kind.view or kind.written):
            told = is_small(*tensors_in((out,)))
        if told and kind.computed:
            _keep(out, on_values(func, args, kwargs))
        else:
            for target in tensors_written(kind.written, args, kwargs):
                lose_values(target)
        return out


def _read(func: Any, kind: _Kind, args: tuple[Any, ...], kwargs: dict[str, Any], told: bool) -> Any:
    """The result of an operation whose shape, or itself, hangs on values."""
    if told:
        values = on_values(func, args, kwargs)
        if not isinstance(values, Tensor | tuple | list):
            return values
        return mapped(values, taken)
    if kind.name in _INDEXING:
        places = [place for x in args[1] for place in _places(x, kind)]
        return shaped(func, (args[0], places, *args[2:]), kwargs)
    if kind.name == "masked_select" and values_of(args[1]) is not None:
        whole = torch.broadcast_shapes(args[0].shape, args[1].shape)
        chosen = int(on_values(torch.Tensor.expand, (args[1], whole), {}).sum())
        return torch.empty(chosen, dtype=args[0].dtype, device="meta")
    if kwargs.get("output_size") is not None:
        return shaped(func, args, kwargs)
    raise _unknown(kind, args)


def _places(index: Tensor | None, kind: _Kind) -> Sequence[Tensor | None]:
    """An index as whole numbers, also where it is a mask."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return (index,)
    values = values_of(index)
    if values is None:
        raise _unknown(kind, (index,))
    return [taken(places) for places in values.nonzero().unbind(1)]


def _check_rows(table: Tensor, rows: Tensor) -> None:
    """Refuses rows of an embedding that it does not have, as a run would."""
    values = values_of(rows)
    if values is None or not values.numel():
        return
    least, most = int(values.min()), int(values.max())
    if least < 0 or most >= len(table):
        raise IndexError(
            f"index {least if least < 0 else most} is out of range of an embedding of "
            f"{len(table)} rows"
        )


def _keep(out: Any, values: Any) -> None:
    for made, value in zip(tensors_in((out,)), tensors_in((values,)), strict=True):
        if values_of(made) is not value:
            keep_values(made, value)


def _unknown(kind: _Kind, args: Any) -> UnknownValueError:
    asked = next((x for x in tensors_in(args) if values_of(x) is None), None)
    shape = "unknown shape" if asked is None else f"shape {tuple(asked.shape)}"
    what = _READING.get(kind.name, f"the size of a result of {kind.name} hangs on")
    return UnknownValueError(f"{what} values of a tensor of {shape}, which shapes do not tell")


def _check_dtypes(kind: _Kind, tensors: list[Tensor]) -> None:
    """Refuses operands of several dtypes, as a run would; the meta device takes them."""
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) > 1:
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise RuntimeError(f"operands of {kind.name} are {names}")


def _refuse_writing(kind: _Kind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses to write what is not known where a caller keeps values."""
    if any(not x.is_meta for x in tensors_written(kind.written, args, kwargs)):
        raise UnknownValueError(
            f"{kind.name} writes a result that has no values into a tensor that was made outside "
            "of the model"
        )


def _unread(x: Tensor) -> Tensor:
    """A tensor of the same shape whose values nobody reads; it takes no memory."""
    return torch.empty((), dtype=x.dtype).expand(x.shape)
