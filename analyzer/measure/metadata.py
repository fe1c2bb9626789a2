"""What a profile says of a model beside its counts: size, a digest of its weights, versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from analyzer.version import __version__

__all__ = ["metadata_of"]


def metadata_of(
    model: nn.Module, name: str | None, timesteps: int | None, input_shape: list[int]
) -> dict[str, Any]:
    """What a profile says of a model beside its counts.

    Args:
        model: The model.
        name: What tables call it; by default the name of its class.
        timesteps: Timesteps of one inference, None where they are not known.
        input_shape: Shape of the first input, batch included.

    Returns:
        Figures and texts by their key in the file; None for what the model does not show.
    """
    first = next(model.parameters(), None)
    kind = type(model).__name__
    return {
        "name": name or kind,
        "model": kind,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_digest": _digest(model),
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


def _digest(model: nn.Module) -> str | None:
    """Tells models apart by their parameters' names, shapes and up to 64 values of each.

    None where a parameter holds no numbers to read: on the meta device, sparse, or of a class that
    only wraps other tensors.
    """
    names, some = [], []
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return None
        try:
            values = parameter.detach().flatten()
            some.append(values[:: max(1, len(values) // 64)].to("cpu"))
        except Exception:  # classes of tensors that others write refuse operations in any way
            return None
        names.append(f"{name} {tuple(parameter.shape)}".encode())
    digest = hashlib.sha256()
    ends = np.cumsum([len(values) for values in some])
    # Joined, they are turned into one dtype in one step.
    joined = torch.cat([*some, torch.empty(0, dtype=torch.float64)]).to(torch.float64).numpy()
    for told, numbers in zip(names, np.split(joined, ends), strict=False):
        digest.update(told + numbers.tobytes())
    return digest.hexdigest()[:16]


def _bytes(tensors: Iterable[Tensor]) -> int | None:
    """Bytes of the storages of some tensors, shared ones once.

    None where one of them has no storage of its own, as sparse tensors and classes that only wrap
    other tensors: what they take is not known, which is not zero.
    """
    sizes: dict[StorageWeakRef, int] = {}
    for tensor in tensors:
        try:
            storage = tensor.untyped_storage()
            storage.data_ptr()  # refused where only a shape is declared and nothing allocated
            sizes[StorageWeakRef(storage)] = storage.nbytes()
        except (NotImplementedError, RuntimeError):
            return None
    return sum(sizes.values())
