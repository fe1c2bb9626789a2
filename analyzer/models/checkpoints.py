"""Reads checkpoint files (safetensors, or what ``torch.save`` wrote) and loads them into models.

Files are mapped from the disk where possible, so that loading takes little more memory than the
model. No code in a pickle is run, and a name or shape that does not match is an error.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError, reason_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["load_checkpoint", "read_checkpoint", "why_unreadable"]

_NESTED = ("model", "state_dict", "model_state_dict", "net", "ema", "model_ema", "module")
"""Keys under which checkpoints nest their state dict."""
_PREFIXES = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before each name."""
_SHOWN = 8
"""How many names an error lists."""


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Loads weights into a model; every name and shape must match.

    Args:
        model: The model to load into. If the file does not fit, a part of it may be loaded. A
            model with a method ``official_name`` also takes state dicts of the published code,
            whose names this method translates.
        path: A file that :func:`read_checkpoint` reads.

    Raises:
        AnalyzerError: If the file can't be read or does not fit. The error lists the names that
            are missing, that are unexpected, and whose shapes differ.
    """
    own = model.state_dict()
    state, official = _translated(read_checkpoint(path), model, own)

    def called(name: str) -> str:
        return official.get(name, name)

    differing = {
        name
        for name in own.keys() & state.keys()
        if _has_shape(own[name]) and _shape(state[name]) != _shape(own[name])
    }
    shapes = sorted(
        f"{called(name)} ({_shape(state[name])} in the file, {_shape(own[name])} in the model)"
        for name in differing
    )
    fitting = {name: value for name, value in state.items() if name not in differing}
    try:
        result = model.load_state_dict(fitting, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise AnalyzerError(f"{path} does not fit {type(model).__name__}: {reason}") from None
    loaded = [name for name in fitting if name in own]
    missing = [name for name in result.missing_keys if name not in differing]
    imaginary = [name for name in loaded if _is_complex(state[name]) and not _is_complex(own[name])]
    problems = {
        "missing": [called(name) for name in missing if not _tied(own, name, loaded)],
        "unexpected": [called(name) for name in result.unexpected_keys],
        "of another shape": shapes,
        "of complex numbers, and not of real ones,": [called(name) for name in imaginary],
    }
    said = [f"{problem} {_some(names)}" for problem, names in problems.items() if names]
    if said:
        raise AnalyzerError(f"{path} does not fit {type(model).__name__}: {'; '.join(said)}.")


def _translated(
    state: dict[str, Tensor], model: nn.Module, own: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict under the model's names, and the name that the file has for each of them.

    A pointwise (1×1) layer may be a linear layer or a convolution of one or two axes in the
    published code; its weight is reshaped to that of the model's layer.
    """
    translate = getattr(model, "official_name", None)
    if translate is None or own.keys() == state.keys():
        return state, {}
    named = {name: translate(name) for name in state}
    official = {ours: theirs for theirs, ours in named.items() if ours}
    found = {ours: state[theirs] for ours, theirs in official.items()}
    for name, value in found.items():
        target: Any = own.get(name)
        if _has_shape(target) and _axes(value) == _axes(target):
            found[name] = value.reshape(target.shape)
    return found, official


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads the state dict in a file, on the CPU.

    The tensors are mapped from the disk rather than read where possible. The state dict may be
    nested under keys such as ``model`` or ``state_dict``, and all its names may begin with
    ``module.`` or ``_orig_mod.``, as data parallelism and compilation leave them.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.save`` wrote of plain tensors
            (``.pth``, ``.pt``, ``.bin``). No code in the file is run.

    Raises:
        AnalyzerError: If there is no such file, or no state dict of tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise AnalyzerError(f"there is no checkpoint {path}.")
    state = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    found = _innermost(state)
    tensors = [value for value in found.values() if hasattr(value, "shape")]
    if found and not tensors:
        raise AnalyzerError(
            f"{path} holds no state dict: there is no tensor under its keys {_some(found)}, and "
            f"none of them is one of {', '.join(_NESTED)}."
        )
    odd = [key for key in found if not isinstance(key, str)]
    if odd:
        raise AnalyzerError(
            f"{path} holds no state dict: {_some(map(repr, odd))} among its keys "
            f"{'is' if len(odd) == 1 else 'are'} no text, and names of parameters are."
        )
    return _without_prefixes(found)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise AnalyzerError(
            f"{path} is no readable safetensors file: {reason_of(error)}."
        ) from None


def _pickle(path: Path) -> dict[str, Any]:
    import torch

    # timm keeps the arguments of a training run beside the weights: names and plain values.
    harmless = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with harmless:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except (RuntimeError, ValueError):  # files of old versions can not be mapped
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle may raise anything
        reason = why_unreadable(error)
        raise AnalyzerError(
            f"{path} is no checkpoint of plain tensors ({reason}): save model.state_dict() again, "
            "best as safetensors."
        ) from None
    if not isinstance(state, Mapping):
        raise AnalyzerError(f"{path} holds {type(state).__name__}, not a state dict.")
    return dict(state)


def why_unreadable(error: Exception) -> str:
    """Why a file is no checkpoint, without PyTorch's advice to run what code it holds."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if "TorchScript" in plain:
        return "it holds a program of TorchScript"
    if "weights only" in plain.lower() or "weights_only" in plain:
        return "it holds Python objects, such as a whole model, which may run any code"
    first = plain.strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return first if " " in first else "it is empty, cut off or something else"


def _innermost(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict below all keys under which checkpoints nest it."""
    seen = [state]
    while True:
        nested = next((x for x in map(seen[-1].get, _NESTED) if isinstance(x, Mapping) and x), None)
        if nested is None or any(nested is one for one in seen):
            return dict(seen[-1])
        seen.append(nested)


def _without_prefixes(state: dict[str, Any]) -> dict[str, Any]:
    while state:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _has_shape(value: Any) -> bool:
    """Whether a value has a shape: lazy parameters have none yet, extra state is no tensor."""
    from torch.nn.parameter import is_lazy

    return not is_lazy(value) and hasattr(value, "shape")


def _is_complex(value: Any) -> bool:
    return bool(getattr(getattr(value, "dtype", None), "is_complex", False))


def _axes(value: Any) -> list[int]:
    """The sizes of all axes but those of size 1."""
    return [size for size in value.shape if size > 1]


def _shape(value: Any) -> str:
    return ("×".join(map(str, value.shape)) or "a scalar") if _has_shape(value) else "no tensor"


def _tied(own: Mapping[str, Any], name: str, loaded: Iterable[str]) -> bool:
    """Whether a weight shares its memory with a loaded one; files store shared weights once."""
    weight = own.get(name)
    if weight is None or not _has_shape(weight) or not weight.numel():
        return False
    return any(
        _has_shape(own[other]) and own[other].data_ptr() == weight.data_ptr() for other in loaded
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(map(str, listed[:_SHOWN]))
    rest = len(listed) - _SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
