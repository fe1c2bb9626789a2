"""A model's twin on the meta device: the same modules, with shapes in place of values."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analyzer.errors import AnalyzerError
from analyzer.measure.shapes.known import KnownValues

__all__ = ["twin_of"]


def twin_of(model: nn.Module, known: KnownValues) -> nn.Module:
    """The model on the meta device, in evaluation mode.

    Args:
        model: The model; where it is on the meta device already, it is its own twin.
        known: Takes the values of its tables: of small buffers and attributes, of no parameters.

    Raises:
        AnalyzerError: Where a part of the model can not be copied.
    """
    held: Iterable[Tensor] = (*model.parameters(), *model.buffers())
    if all(tensor.is_meta for tensor in held) and not model.training:
        return model
    twins: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
        twins[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    try:
        with _Taking(known):
            return copy.deepcopy(model, twins).eval()
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise AnalyzerError(
            f"{type(model).__name__} can not be copied to the meta device ({said[:200]}): build it "
            "there, under torch.device('meta'), and count that."
        ) from error


class _Taking(TorchFunctionMode):
    """Has each tensor that is copied in the block made anew on the meta device."""

    def __init__(self, known: KnownValues) -> None:
        super().__init__()
        self._known = known

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = self._known.taken(tensor)
        return memo[id(tensor)]
