"""Tensors among the arguments and the results of an operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["has_memory", "tensors_in", "tensors_written"]


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor has one storage with values in it."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_meta


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments or results of an operation, also those in lists."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif type(value) in _SEQUENCES:
            found += tensors_in(value)
    return found


def tensors_written(
    places: Iterable[tuple[int, str]], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Tensor]:
    """The tensors that a call writes to, from position and name of the arguments it writes."""
    return tensors_in(
        args[position] if position < len(args) else kwargs.get(name) for position, name in places
    )


_SEQUENCES = frozenset({list, tuple})
