"""Tensors: their parts, versions and bases, and how their values leave PyTorch."""

from __future__ import annotations

from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor

__all__ = [
    "READ_BY_PYTHON",
    "base_of",
    "dense_parts",
    "dlpack_exports",
    "is_zeros_without_memory",
    "version_of",
]

READ_BY_PYTHON = "aten::resolve_neg"
"""What ``.tolist()`` and ``.numpy()`` call on every tensor, and little else does."""


def dlpack_exports() -> list[tuple[Any, str]]:
    """Where the functions are that export a tensor by DLPack: owners and names."""
    owners = (torch._C, torch, torch.utils.dlpack)
    names = ("_to_dlpack", "_to_dlpack_versioned", "to_dlpack")
    return [(owner, name) for owner in owners for name in names if name in vars(owner)]


def version_of(tensor: Tensor) -> int:
    """How often PyTorch wrote to a tensor in place; -1 of inference tensors, which do not count."""
    return -1 if tensor.is_inference() else tensor._version


def base_of(tensor: Tensor) -> Tensor:
    """The tensor that a view was taken of; the tensor itself where it is no view."""
    base = tensor._base
    return tensor if base is None else base


def dense_parts(tensor: Tensor) -> list[Tensor]:
    """The tensors with memory of their own that a tensor is made of; itself, if it has some.

    Raises:
        RuntimeError: Where it does not say what it is made of.
        NotImplementedError: The same, of other classes.
    """
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        # Refused where only a shape is declared and nothing allocated.
        tensor.untyped_storage().data_ptr()
        return [tensor]
    return [part for name in flatten()[0] for part in dense_parts(getattr(tensor, name))]


def is_zeros_without_memory(tensor: Tensor) -> bool:
    """Whether a tensor stands for zeros that PyTorch never wrote; False where it can not tell."""
    own = getattr(torch, "_is_zerotensor", None)
    return own is not None and bool(own(tensor))
