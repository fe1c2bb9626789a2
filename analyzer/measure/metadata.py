"""What a profile says of a model beside its counts: size, a digest of its weights, versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.measure.torch_private.tensors import dense_parts
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
    named = list(model.named_parameters())
    parameters = [parameter for _, parameter in named]
    first = parameters[0] if parameters else None
    kind = type(model).__name__
    return {
        "name": name or kind,
        "model": kind,
        "parameters": sum(p.numel() for p in parameters),
        "weights_digest": _digest(named),
        "parameters_bytes": _bytes(parameters),
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


@torch.no_grad()
def _digest(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Tells models apart by their parameters' names, shapes and up to 64 values of each.

    None where a parameter holds no numbers to read: on the meta device, sparse, or of a class that
    only wraps other tensors.
    """
    names, some = [], []
    for name, parameter in named:
        if parameter.is_meta:
            return None
        try:
            values = parameter.flatten()
            values = values[:: max(1, values.shape[0] // 64)]
            some.append(values if values.is_cpu else values.cpu())
        except Exception:  # classes of tensors that others write refuse operations in any way
            return None
        names.append(f"{name} {tuple(parameter.shape)}".encode())
    digest = hashlib.sha256()
    # Joined, they are turned into one dtype in one step.
    joined = torch.cat([*some, torch.empty(0, dtype=torch.float64)]).to(torch.float64)
    content = joined.numpy().tobytes()
    end = 0
    for told, values in zip(names, some, strict=True):
        start, end = end, end + 8 * values.shape[0]
        digest.update(told + content[start:end])
    return digest.hexdigest()[:16]


def _bytes(tensors: Iterable[Tensor]) -> int | None:
    """Bytes of the storages of some tensors, shared ones once.

    Sparse and quantised tensors, which are made of others, take what these take. None where one of
    them does not say what it is made of: what it takes is not known, which is not zero.
    """
    sizes: dict[torch.UntypedStorage, int] = {}
    for tensor in tensors:
        try:
            for part in dense_parts(tensor):
                storage = part.untyped_storage()
                sizes[storage] = storage.nbytes()
        except (NotImplementedError, RuntimeError):
            return None
    return sum(sizes.values())
