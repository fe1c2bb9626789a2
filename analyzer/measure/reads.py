"""What contractions read: which activations nobody read before, and what shapes tell of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from analyzer.facts import Extent
from analyzer.measure.provenance import tensors
from analyzer.measure.rules import Product
from analyzer.measure.sites import Layer
from analyzer.measure.storage import StorageMap

__all__ = ["Reads"]


class Reads:
    """The reads of one forward pass.

    Args:
        inputs: What the model is given: that, and copies of it, it did not write.
    """

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self._given: StorageMap[bool] = StorageMap()
        for tensor in inputs:
            self._given.put(tensor, True)
        self._parts: StorageMap[set[tuple[int, int]]] = StorageMap()

    def moved(self, args: Iterable[Any], out: Any) -> None:
        """An operation copied its arguments, or took views of them."""
        read = list(tensors(args))
        if read and all(tensor in self._given for tensor in read):
            for tensor in tensors((out,)):
                self._given.put(tensor, True)

    def overwritten(self, tensor: Tensor) -> None:
        """What was read of a tensor is there no more."""
        self._parts.drop(tensor)

    def layer(self, product: Product, weights: tuple[bool, bool], steps: int, times: int) -> Layer:
        """What shapes tell of a contraction, and which of its operands are read first here.

        Args:
            product: Its operands and geometry.
            weights: Which of them hold weights.
            steps: Timesteps that it holds.
            times: How often it counts.
        """
        lhs, rhs, geometry = product.lhs, product.rhs, product.geometry
        extent = None
        if weights[0] != weights[1]:
            extent = Extent(*geometry.reach(lhs, rhs, weights), steps)
        fresh = (
            not weights[0] and not product.implicit and self._is_first(lhs),
            not weights[1] and self._is_first(rhs),
        )
        swapped = weights == (True, False)
        return Layer(geometry.outputs(lhs, rhs) * times, extent, fresh[::-1] if swapped else fresh)

    def _is_first(self, tensor: Tensor) -> bool:
        """Whether the model made these elements and none read them before, whatever the view."""
        if tensor in self._given:
            return False
        part = (int(tensor.storage_offset()), tensor.numel())
        known = self._parts.get(tensor)
        if known is None:
            self._parts.put(tensor, {part})
            return True
        first = part not in known
        known.add(part)
        return first
