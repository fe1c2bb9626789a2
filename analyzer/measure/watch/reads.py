"""What contractions read: which activations nobody read before, and what shapes tell of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from analyzer.facts.records import LayerShape
from analyzer.measure.rules.products import Product
from analyzer.measure.watch.provenance import tensors
from analyzer.measure.watch.sites import Layer
from analyzer.measure.watch.storage import StorageMap

__all__ = ["Reads"]


Part = tuple[object, int, int]
"""What holds some elements, where they begin, and how many they are."""


class Reads:
    """The reads of one forward pass.

    Args:
        inputs: What the model is given: that, and copies of it, it did not write.
    """

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self._given: StorageMap[bool] = StorageMap()
        for tensor in inputs:
            self._given.put(tensor, True)
        self._roots: StorageMap[object] = StorageMap()
        self._copies: StorageMap[Part] = StorageMap()
        self._read: set[Part] = set()

    def moved(self, args: Iterable[Any], out: Any) -> None:
        """An operation copied its arguments, or took views of them."""
        read, made = list(tensors(args)), list(tensors((out,)))
        if read and all(tensor in self._given for tensor in read):
            for tensor in made:
                self._given.put(tensor, True)
        if len(read) == len(made) == 1 and read[0].numel() == made[0].numel():
            source = self._part(read[0])
            if self._root(made[0]) is not source[0]:
                self._copies.put(made[0], source)

    def overwritten(self, tensor: Tensor) -> None:
        """What was read of a tensor is there no more."""
        self._roots.drop(tensor)
        self._copies.drop(tensor)

    def layer(
        self, product: Product, weights: tuple[bool, bool], steps: int, times: int, bias: bool
    ) -> Layer:
        """What shapes tell of a contraction, and which of its operands are read first here.

        Args:
            product: Its operands and geometry.
            weights: Which of them hold weights.
            steps: Timesteps that it holds.
            times: How often it counts.
            bias: Whether its module holds a bias.
        """
        lhs, rhs, geometry = product.lhs, product.rhs, product.geometry
        extent = None
        if weights[0] != weights[1]:
            extent = LayerShape(*geometry.fan_out(lhs, rhs, weights), bias)
        first = not product.implicit and self._is_first(lhs), self._is_first(rhs)
        fresh = first[::-1] if weights == (True, False) else first
        return Layer(geometry.outputs(lhs, rhs) * times, steps, extent, fresh)

    def _is_first(self, tensor: Tensor) -> bool:
        """Whether the model made these elements and none read them before, by any view or copy."""
        if tensor in self._given:
            return False
        part = self._part(tensor)
        first = part not in self._read
        self._read.add(part)
        return first

    def _part(self, tensor: Tensor) -> Part:
        """Which elements these are, of what was first made."""
        source = self._copies.get(tensor)
        if source is not None and source[2] == tensor.numel():
            return source
        return self._root(tensor), int(tensor.storage_offset()), tensor.numel()

    def _root(self, tensor: Tensor) -> object:
        """Stands for what a storage holds, until it is overwritten."""
        root = self._roots.get(tensor)
        if root is None:
            root = object()
            self._roots.put(tensor, root)
        return root
