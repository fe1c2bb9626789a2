"""Maps keyed by tensor storage that forget a storage when it dies."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["StorageMap"]

V = TypeVar("V")

_YOUNG = 8
"""How many of the latest storages are looked at whenever one is added."""


class StorageMap(Generic[V]):
    """Values attached to tensor storages; an entry lasts as long as its storage is alive.

    Sparse tensors have no storage and are never attached to.

    The weak reference keeps the storage's address from being used again (not its data), so a key
    can never be mistaken for that of a later tensor. What is left of a dead storage lies between
    large blocks of free memory and keeps them apart, so it is let go soon: most die young.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[StorageWeakRef, V]] = {}
        self._young: list[int] = []
        self._sweep_at = 16

    def get(self, tensor: torch.Tensor) -> V | None:
        """The value attached to the storage of a tensor, if any."""
        entry = self._entries.get(_key(tensor))
        return None if entry is None else entry[1]

    def put(self, tensor: torch.Tensor, value: V) -> None:
        """Attaches a value, in place of an earlier one."""
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        new = key not in self._entries
        self._entries[key] = (StorageWeakRef(storage), value)
        if new:
            self._young = [k for k in self._young if self._lives(k)][-_YOUNG:]
            self._young.append(key)
            if len(self._entries) > self._sweep_at:
                self._sweep()

    def drop(self, tensor: torch.Tensor) -> None:
        """Forgets what is attached to the storage of a tensor."""
        self._entries.pop(_key(tensor), None)

    def keep_only(self, others: StorageMap[Any]) -> None:
        """Forgets all that is not attached to a storage which the others know."""
        self._entries = {k: e for k, e in self._entries.items() if k in others._entries}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return _key(tensor) in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _lives(self, key: int) -> bool:
        """Whether a storage is alive; forgets it if not."""
        entry = self._entries.get(key)
        if entry is None or entry[0].expired():
            self._entries.pop(key, None)
            return False
        return True

    def _sweep(self) -> None:
        self._entries = {k: e for k, e in self._entries.items() if not e[0].expired()}
        self._sweep_at = len(self._entries) + 16


def _key(tensor: torch.Tensor) -> int:
    """Address of a tensor's storage; 0, which no storage has, where there is none."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else 0
