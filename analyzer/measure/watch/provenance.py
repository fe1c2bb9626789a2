"""What tensors depend on: weights, other things that are the same for every input, or the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.measure.watch.storage import StorageMap

__all__ = ["Constant", "Provenance", "tensors", "written"]


class Constant(Enum):
    """How a tensor does not depend on the input.

    FIXED ones come from parameters and buffers and are of one size for any batch. CREATED ones
    were made in the forward pass: masks, positions, initial states, noise.
    """

    FIXED = "fixed"
    CREATED = "created"


class Provenance:
    """Follows weights and constants through the operations of a forward pass.

    Args:
        model: Its parameters and buffers are where constants begin.

    Attributes:
        weights: Storages of parameters, and of what is computed from constants and parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights: StorageMap[bool] = StorageMap()
        self._constants: StorageMap[Constant] = StorageMap()
        self._channels: StorageMap[tuple[int, int]] = StorageMap()
        for parameter in model.parameters():
            self.weights.put(parameter, True)
        for tensor in (*model.parameters(), *model.buffers()):
            self._constants.put(tensor, Constant.FIXED)

    def is_fixed(self, *operands: Tensor) -> bool:
        """Whether none depends on the input or its size."""
        return all(self._constants.get(operand) is Constant.FIXED for operand in operands)

    def is_weight(self, origins: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
        """Whether an operand is a weight: so is all that meets the input without depending on it.

        A fixed filter in a buffer and an identity made on the spot never drive; an initial state,
        which meets a weight, may.

        Args:
            origins: What the operand was made of, itself if it was not.
            others: The same of the other operand.
        """
        constant = self._are_constant(origins)
        if constant and any(self._holds_weights(x) for x in origins):
            return True
        return constant and not self._are_constant(others)

    def _are_constant(self, origins: Sequence[Tensor]) -> bool:
        return all(x in self._constants or self._holds_weights(x) for x in origins)

    def _holds_weights(self, tensor: Tensor) -> bool:
        base = tensor if tensor._base is None else tensor._base
        return tensor in self.weights or isinstance(base, nn.Parameter)

    def follow(self, func: Any, args: Any, kwargs: Any, out: Any) -> Constant | None:
        """Passes on to results how they do not depend on the input, and returns how."""
        inputs = list(tensors((*args, *kwargs.values())))
        kinds = {(self._constants.get(x), x.ndim > 0) for x in inputs}
        if func is torch.ops.aten.lift_fresh.default:  # a literal, such as torch.tensor(1)
            kinds = set()
        kinds.discard((Constant.CREATED, False))  # a number is of one size for any batch
        found = {kind for kind, _ in kinds}
        constant = None if None in found else Constant.CREATED
        if found == {Constant.FIXED}:
            constant = Constant.FIXED
        if constant is None:
            for tensor in written(func, args, kwargs):
                self._constants.drop(tensor)
                self.weights.drop(tensor)
        else:
            weights = any(x in self.weights for x in inputs)
            for result in tensors((out,)):
                self._constants.put(result, constant)
                if weights:
                    self.weights.put(result, True)
        return constant

    def of_layer(self, out: Any, axis: int) -> None:
        """Notes that a tensor is what a layer with weights computed, its channels on an axis."""
        if isinstance(out, Tensor) and out.ndim:
            self._channels.put(out, (out.shape[axis], out.stride(axis)))

    def adds_bias(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this adds a fixed value to each channel of a layer's output.

        PyTorch adds the bias of a linear layer so where the input is not contiguous.
        """
        if name != "add" or kwargs or not isinstance(args[1], Tensor):
            return False
        x, bias = args
        layer = self._channels.get(x)
        if layer is None or not self.is_fixed(bias) or bias.ndim > x.ndim:
            return False
        axis = next((a for a in range(-bias.ndim, 0) if bias.shape[a] > 1), -1)
        return bias.numel() == layer[0] and (x.shape[axis], x.stride(axis)) == layer

    def folds(self, name: str, args: tuple[Any, ...]) -> bool:
        """Whether this is a batch norm by fixed statistics over the channels of a layer's output.

        It folds into that layer's weights and costs nothing.
        """
        if "batch_norm" not in name:
            return False
        training = next((a for a in args if isinstance(a, bool)), False)
        if training and not name.endswith("no_training"):
            return False
        x = args[0]
        return self._channels.get(x) == (x.shape[1], x.stride(1))

    def changed(self, tensor: Tensor) -> None:
        """Notes that a tensor was written."""
        self._channels.drop(tensor)


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments or results of an operation, also those in lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors(value)


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation writes to."""
    schema = func._schema
    if not schema.is_mutable:
        if schema.name in _RUNNING_STATISTICS:
            return [x for x in args[3:5] if isinstance(x, Tensor)]
        return []
    values = (
        args[position] if position < len(args) else kwargs.get(argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return list(tensors(values))


_RUNNING_STATISTICS = frozenset(
    {"aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::miopen_batch_norm"}
)
"""Operations that write to running statistics in training though their schema does not say so."""
