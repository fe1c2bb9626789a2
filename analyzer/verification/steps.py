"""The timestep that tensors belong to in a model that loops over time, told by what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

__all__ = ["Steps"]

_SEVERAL = -1
"""In place of a timestep: what holds several, and all that is computed from it."""


class Steps:
    """Follows the timesteps of the model's input through one pass.

    The input has a twin of the same shape and strides that holds the number of the timestep at
    each place: any view of the input, taken of the twin, shows the timesteps that it reads. What is
    computed belongs to the latest timestep that was read for it.

    Args:
        given: The model's input.
        axis: Its time axis.
    """

    def __init__(self, given: Tensor, axis: int) -> None:
        self._given = given
        numbers = torch.arange(given.shape[axis]).reshape([-1] + [1] * (given.ndim - axis - 1))
        self._twin = torch.empty_strided(given.shape, given.stride(), dtype=torch.int64)
        self._twin.copy_(numbers.expand(given.shape))
        self._known: WeakKeyDictionary[torch.UntypedStorage, int] = WeakKeyDictionary()

    def ran(self, sources: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """Notes that an operation made some results of some sources."""
        step = self._latest(sources)
        for result in results:
            storage = result.untyped_storage()
            self._known.pop(storage, None)
            if step is not None:
                self._known[storage] = step

    def of(self, tensors: Iterable[Tensor]) -> int | None:
        """The timestep that operands belong to, None where they do not tell one."""
        step = self._latest(tensors)
        return None if step == _SEVERAL else step

    def _latest(self, tensors: Iterable[Tensor]) -> int | None:
        found = {self._of_one(x) for x in tensors} - {None}
        return _SEVERAL if _SEVERAL in found else max(found, default=None)  # type: ignore[type-var]

    def _of_one(self, x: Tensor) -> int | None:
        if x.untyped_storage() is not self._given.untyped_storage():
            return self._known.get(x.untyped_storage())
        if x.dtype != self._given.dtype:
            return _SEVERAL
        at = x.storage_offset() - self._given.storage_offset()
        seen = self._twin.as_strided(x.shape, x.stride(), at).unique().tolist()
        return seen[0] if len(seen) == 1 else _SEVERAL
