"""What the command line is given: models by name or factory, checkpoints, data."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from analyzer import models
from analyzer.errors import AnalyzerError

__all__ = ["Loaded", "load_checkpoint", "open_data", "open_model"]

_NESTED_KEYS = ("model", "state_dict", "model_state_dict", "net", "model_ema")


@dataclass(frozen=True)
class Loaded:
    """A model and what is known of it.

    Attributes:
        model: In evaluation mode.
        name: How tables call it.
        input_shape: (C, H, W) of a registered model, None for others.
        weights: ``shipped``, the checkpoint's file name, or ``untrained``.
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...] | None
    weights: str


class _Batches(Protocol):
    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


def open_model(
    spec: str, *, checkpoint: Path | None = None, timesteps: int | None = None, seed: int = 0
) -> Loaded:
    """Builds a model.

    Args:
        spec: A registered name, ``package.module:factory`` or ``path/to/file.py:factory``; a
            factory is called without arguments and returns a module.
        checkpoint: Weights to load; without it a registered model takes its shipped weights.
        timesteps: Handed to the builder of a registered model.
        seed: Seeds the weights of a model that none are loaded into.
    """
    torch.manual_seed(seed)
    if ":" in spec:
        model = _from_factory(spec)
        name, shape, weights = spec.rsplit(":", 1)[1], None, "untrained"
    else:
        card = models.describe(spec)
        name, shape = card.name, card.input_shape
        overrides = {} if timesteps is None else {"timesteps": timesteps}
        shipped = checkpoint is None and models.weights_path(spec).exists()
        model = models.build(spec, pretrained=shipped, **overrides)
        weights = "shipped" if shipped else "untrained"
    if checkpoint is not None:
        load_checkpoint(model, checkpoint)
        weights = checkpoint.name
    return Loaded(model.eval(), name, shape, weights)


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Loads ``.safetensors``, or a ``.pth`` of plain tensors, strictly.

    The state dict may lie under a key such as ``model`` or ``state_dict``, and its names may begin
    with ``module.``.
    """
    state = _read_state(path)
    for key in _NESTED_KEYS:
        nested = state.get(key)
        if isinstance(nested, Mapping):
            state = dict(nested)
            break
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        result = model.load_state_dict(state, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise AnalyzerError(f"{path} does not fit {type(model).__name__}: {reason}") from None
    if result.missing_keys or result.unexpected_keys:
        raise AnalyzerError(
            f"{path} does not fit {type(model).__name__}: "
            f"missing {_some(result.missing_keys)}; unexpected {_some(result.unexpected_keys)}."
        )


def open_data(
    spec: str,
    *,
    shape: tuple[int, ...] | None,
    batch_size: int,
    samples: int | None,
    seed: int = 0,
) -> tuple[_Batches, dict[str, Any]]:
    """Batches to profile on, and what to say of them.

    Args:
        spec: ``digits`` (the test split), ``random`` or an ``.npz`` file whose first array (or
            ``x``, ``images``) is indexed by sample; ``y`` or ``labels`` are its targets.
        shape: Shape of one sample; needed for ``random``.
        batch_size: Samples a batch.
        samples: How many samples to take, all by default (8 for ``random``).
        seed: Of ``random``.
    """
    if batch_size < 1 or (samples is not None and samples < 1):
        raise AnalyzerError("batch size and number of samples must be at least 1.")
    about: dict[str, Any] = {"data": spec}
    if spec == "digits":
        tensors = _digits(shape)
        about["split"] = "test"
    elif spec == "random":
        if shape is None:
            raise AnalyzerError("random data needs a shape: give --input, such as 3,224,224.")
        generator = torch.Generator().manual_seed(seed)
        tensors = (torch.rand(samples or 8, *shape, generator=generator),)
        about["seed"] = seed
    elif spec.endswith(".npz"):
        tensors = _arrays(Path(spec))
        about["data"] = Path(spec).name
    else:
        raise AnalyzerError(f"data {spec!r} is not known: give digits, random or an .npz file.")
    tensors = tuple(t[:samples] for t in tensors)
    loader: DataLoader[tuple[Tensor, ...]] = DataLoader(
        TensorDataset(*tensors), batch_size=batch_size
    )
    return loader, about


def _digits(shape: tuple[int, ...] | None) -> tuple[Tensor, ...]:
    from analyzer.data import digits

    if shape is not None and (len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]):
        raise AnalyzerError(
            f"the digits are square and have one channel, and the model takes {shape}: use other "
            "data, such as --data random."
        )
    return digits(shape[-1] if shape else 32)[1].tensors


def _arrays(path: Path) -> tuple[Tensor, ...]:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            first = next((n for n in ("x", "images") if n in names), names[0] if names else None)
            if first is None:
                raise AnalyzerError(f"{path} holds no array.")
            x = torch.from_numpy(archive[first])
            label = next((n for n in ("y", "labels") if n in names and n != first), None)
            y = None if label is None else torch.from_numpy(archive[label])
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise AnalyzerError(f"cannot read arrays from {path}: {error}.") from None
    if x.ndim < 2 or not len(x):
        raise AnalyzerError(
            f"array {first!r} of {path} has shape {tuple(x.shape)}: its first axis must be samples."
        )
    if y is not None and len(y) != len(x):
        raise AnalyzerError(f"{path} holds {len(x)} samples but {len(y)} labels.")
    x = x.float() if x.dtype == torch.float64 else x
    return (x,) if y is None else (x, y.long() if not y.is_floating_point() else y)


def _from_factory(spec: str) -> nn.Module:
    place, name = spec.rsplit(":", 1)
    module = _import_file(Path(place)) if place.endswith(".py") else _import_name(place)
    factory = getattr(module, name, None)
    if factory is None:
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise AnalyzerError(f"{place} has no {name!r}; it has {_some(known)}.")
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise AnalyzerError(f"{spec} is {type(factory).__name__}: name a function or a class.")
    needed = [
        p.name
        for p in _parameters(factory)
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        raise AnalyzerError(
            f"{spec} needs arguments ({', '.join(needed)}): name a function that takes none."
        )
    model = factory()
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"{spec} returned {type(model).__name__}, not a torch.nn.Module.")
    return model


def _parameters(factory: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return []


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise AnalyzerError(f"there is no file {path} to take a model from.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise AnalyzerError(f"{path} can not be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    with _on_path(path.parent):
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise AnalyzerError(f"importing {path} raised {_said(error)}.") from error
    return module


def _import_name(name: str) -> Any:
    with _on_path(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise AnalyzerError(
                f"module {name!r} can not be imported ({error}): give package.module:factory or "
                "path/to/file.py:factory."
            ) from error
        except Exception as error:
            raise AnalyzerError(f"importing {name!r} raised {_said(error)}.") from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Lets a user's file import its neighbours."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _read_state(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise AnalyzerError(f"there is no checkpoint {path}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise AnalyzerError(f"{path} is no readable safetensors file: {error}.") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise AnalyzerError(
            f"{path} is no checkpoint of plain tensors ({str(error).splitlines()[0]}): save "
            "model.state_dict() again, best as safetensors."
        ) from None
    if not isinstance(state, Mapping):
        raise AnalyzerError(f"{path} holds {type(state).__name__}, not a state dict.")
    return dict(state)


def _some(names: Any, most: int = 4) -> str:
    shown = list(names)[:most]
    rest = len(names) - len(shown) if isinstance(names, Sized) else 0
    return (", ".join(shown) or "nothing") + (f" and {rest} more" if rest else "")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
