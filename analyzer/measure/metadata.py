"""What a profile says of a model beside its facts: size, weights, versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from analyzer import __version__

__all__ = ["metadata_of"]


def metadata_of(
    model: nn.Module, name: str | None, timesteps: int, input_shape: list[int]
) -> dict[str, Any]:
    """What a profile says of a model beside its facts."""
    first = next(model.parameters(), None)
    kind = type(model).__name__
    return {
        "name": name or kind,
        "model": kind,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_digest": None if first is not None and first.is_meta else _digest(model),
        "parameters_bytes": _bytes(model.parameters()),
        "buffers_bytes": _bytes(model.buffers()),
        "input_shape": input_shape,
        "timesteps": timesteps,
        "dtype": str(first.dtype).removeprefix("torch.") if first is not None else "",
        "device": str(first.device) if first is not None else "cpu",
        "versions": {
            "analyzer": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _digest(model: nn.Module) -> str:
    """Tells models apart by their parameters' names, shapes and up to 64 values of each."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        values = parameter.detach().flatten()
        some = values[:: max(1, len(values) // 64)].to("cpu", torch.float64)
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:16]


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of some tensors, shared ones once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
