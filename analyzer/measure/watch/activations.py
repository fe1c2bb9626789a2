"""The memory of a forward pass: what its operations write, and keep alive."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from analyzer.measure.watch.storage import StorageMap

__all__ = ["Activations"]


class Activations:
    """The memory of a forward pass as its operations show it.

    Args:
        known: Tensors that are no activations: parameters, buffers, inputs.

    Attributes:
        written: Bytes of all results, views aside; in-place writes count again.
        peak: Most bytes of activations alive at one time.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        self.written = 0
        self.peak = 0
        self._known: StorageMap[bool] = StorageMap()
        for tensor in known:
            self._known.put(tensor, True)
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def saw(self, results: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
        """Notes the results of an operation, and the tensors that it wrote to."""
        self.written += sum(target.nbytes for target in targets if target.layout == torch.strided)
        new = False
        for result in results:
            if result.layout != torch.strided or result in self._known:
                continue
            storage = result.untyped_storage()
            entry = self._alive.get(storage._cdata)
            if entry is None or entry[0].expired():
                # The weak reference keeps the address from being used again.
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                self.written += storage.nbytes()
                new = True
        if new:
            self._alive = {k: e for k, e in self._alive.items() if not e[0].expired()}
            self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
