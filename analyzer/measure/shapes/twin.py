"""A model's twin on the meta device: the same modules, with shapes in place of values."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analyzer.errors import AnalyzerError
from analyzer.measure.shapes.known import taken

__all__ = ["twin_of"]


def twin_of(model: nn.Module) -> nn.Module:
    """The model on the meta device, in evaluation mode.

    It keeps the values of small buffers and attributes, such as tables of indices, of no parameter.

    Args:
        model: The model; where it is on the meta device already, it is its own twin.

    Raises:
        AnalyzerError: Where a part of the model can not be copied, or has no shape yet.
    """
    if any(nn.parameter.is_lazy(p) for p in model.parameters()):
        raise AnalyzerError(
            f"{type(model).__name__} has lazy parameters without a shape: run it once on a batch."
        )
    held: Iterable[Tensor] = (*model.parameters(), *model.buffers())
    if all(tensor.is_meta for tensor in held) and not model.training:
        return model
    twins: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
        twins[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    try:
        with _Taking():
            return copy.deepcopy(model, twins).eval()
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise AnalyzerError(
            f"{type(model).__name__} can not be copied to the meta device ({said[:200]}): build it "
            "there, under torch.device('meta'), and count that."
        ) from error


class _Taking(TorchFunctionMode):
    """Has each tensor that is copied in the block made anew on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            there = taken(tensor)
            memo[id(tensor)] = tensor.clone() if there is tensor else there
        return memo[id(tensor)]
