"""One pass of a probe batch in the midst of a training, of which nothing is left."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from analyzer.errors import AnalyzerError, undo_all
from analyzer.measure.session.profiling import profile
from analyzer.measure.tensors.held import Guard
from analyzer.measure.tensors.randomness import GENERATORS, generator_state, random_state
from analyzer.measure.tensors.restore import has_attributes, preserved
from analyzer.measure.torch_private.compiler import compiled_module
from analyzer.measure.undoing import Undoable, undone
from analyzer.profiles import Profile

__all__ = ["Probe", "copied", "probe_of", "samples_of", "synchronise", "unwrapped"]

_SEED = 0
"""Of the random numbers that a model draws in a probe: the same in each."""

_MOST_SAMPLES = 64
"""Samples that are taken of a loader at most."""


class Probe:
    """Runs a batch through a model that is being trained, as at inference, and counts.

    Args:
        model: The model.
        inputs: A batch, or a list of batches.
        options: Arguments of :func:`analyzer.profile`.
    """

    def __init__(self, model: nn.Module, inputs: Any, options: Mapping[str, Any]) -> None:
        self._model = model
        self._inputs = inputs
        self._options = dict(options)

    def run(self) -> Profile:
        """The profile of one pass.

        Raises:
            AnalyzerError: As :func:`analyzer.profile` does.
        """
        model = self._model
        with ExitStack() as stack:
            guard = stack.enter_context(_ModelAside(model))
            stack.enter_context(_InOwnPrecision())
            with guard:  # an eval() of the user's may overwrite weights, as where it merges them
                model.eval()
            own = vars(model).get("_original_forward")
            if own is not None:  # accelerate put autocast around it; it is put back with all else
                vars(model)["forward"] = own
            _seed()
            return profile(model, copied(self._inputs), progress=False, **self._options)

    def settle(self, first: Profile) -> Profile:
        """Runs once more, with what the first pass told declared, so that later ones need not look.

        Args:
            first: What :meth:`run` returned.
        """
        told = first.metadata.get("timesteps")
        if self._options.get("timesteps") is None and told is not None:
            undeclared = self._options
            self._options = undeclared | {"timesteps": told}
            try:
                again = self.run()
            except AnalyzerError:  # declared, a number of timesteps may ask for more
                again = None
            if again == first:
                return again
            self._options = undeclared
        return self.run()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without what compilation and data parallelism wrap around it.

    Raises:
        AnalyzerError: Where a process holds a part of each weight alone, so that none can run the
            model without the others.
    """
    while True:
        inner = compiled_module(model)
        if inner is None and isinstance(
            model, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = model.module
        if inner is None:
            break
        model = inner
    kinds = {type(module).__name__ for module in model.modules()}
    kinds |= {type(p).__name__ for p in model.parameters()}
    sharded = kinds & {"DTensor", "FSDPModule", "FullyShardedDataParallel"}
    if sharded or any(hasattr(p, "ds_id") for p in model.parameters()):
        raise AnalyzerError(
            f"the weights of this {type(model).__name__} are shared out among processes (FSDP or "
            "ZeRO-3), so none can run a probe alone: profile a checkpoint with analyzer.profile."
        )
    return model


def probe_of(inputs: Any) -> Any:
    """The probe batch: as it is given or, of a loader, some samples of its data.

    Args:
        inputs: What :func:`analyzer.profile` takes, but no iterator, which would be empty after one
            probe. Of a ``DataLoader`` a batch of evenly spaced samples is taken, at most 64.

    Raises:
        AnalyzerError: Where it can not be run twice.
    """
    if isinstance(inputs, DataLoader):
        return samples_of(inputs, getattr(inputs, "batch_size", None))
    if isinstance(inputs, Iterator):
        raise AnalyzerError(
            "the probe is an iterator, which is empty after one pass: give one batch, or a list of "
            "batches."
        )
    return inputs


def samples_of(loader: DataLoader[Any], size: int | None) -> Any:
    """A batch of a loader's data, evenly spaced, without a touch of its order or random numbers.

    Generators that the data or its transforms keep as attributes are put back, too.

    Args:
        loader: The loader.
        size: How many samples are wanted; at most 64 are taken.

    Raises:
        AnalyzerError: Where its samples can not be had by their numbers.
    """
    data: Any = loader.dataset
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not len(data):
        raise AnalyzerError(
            f"the probe can not be taken of a {type(data).__name__}, whose samples have no number: "
            "give one batch, such as probe=next(iter(loader)) before the training."
        )
    number = min(size or _MOST_SAMPLES, _MOST_SAMPLES, len(data))

    def drawn() -> Any:
        _seed()
        return loader.collate_fn([data[i * len(data) // number] for i in range(number)])

    generators = map(generator_state, _generators_of(data, loader.collate_fn))
    return undone(drawn, random_state(), *generators)


def _generators_of(*owners: Any) -> list[Any]:
    """Random generators that data, the data it is a part of, and its transforms keep."""
    found: list[Any] = []
    seen: dict[int, Any] = {}
    pending = list(owners)
    while pending:
        value = pending.pop()
        kind: Any = type(value)
        if isinstance(value, (list, tuple)):
            pending += [v for v in value if isinstance(v, (Dataset, *GENERATORS)) or callable(v)]
        elif id(value) in seen or isinstance(value, random.SystemRandom):  # which has no state
            continue
        elif isinstance(value, GENERATORS):
            found.append(value)
        elif isinstance(value, Dataset) or (callable(value) and has_attributes(kind)):
            pending += getattr(value, "__dict__", {}).values()
        else:
            continue
        seen[id(value)] = value
    return found


def synchronise(model: nn.Module) -> None:
    """Waits for what a GPU has left to do, so that a clock tells the training from the probe."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    for device in devices:
        torch.cuda.synchronize(device)


class _ModelAside(Undoable):
    """Preserves a model, its gradients by taking them away and putting the same tensors back.

    So nothing can write to them. They are as large as the model, and would be copied otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        self._rest = preserved(model)
        self._kept = [(p, p.grad) for p in model.parameters() if p.grad is not None]

    def begin(self) -> Guard:
        for parameter, _ in self._kept:
            parameter.grad = None
        guard: Guard = self._rest.__enter__()
        return guard

    def undo(self) -> None:
        # In this order each time: the model was preserved without gradients.
        undo_all((self._rest.leave, self._put_back))

    def _put_back(self) -> None:
        for parameter, gradient in self._kept:
            parameter.grad = gradient


class _InOwnPrecision(Undoable):
    """Leaves autocast, whose cache would keep weights of the probe, which have no gradient."""

    def __init__(self) -> None:
        self._kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        self._caches = torch.is_autocast_cache_enabled()

    def begin(self) -> None:
        for kind in self._kinds:
            torch.set_autocast_enabled(kind, False)
        if self._kinds:
            torch.set_autocast_cache_enabled(False)

    def undo(self) -> None:
        for kind in self._kinds:
            torch.set_autocast_enabled(kind, True)
        torch.set_autocast_cache_enabled(self._caches)


def _seed() -> None:
    """Seeds what :func:`.random_state` puts back."""
    random.seed(_SEED)
    np.random.seed(_SEED)
    torch.default_generator.manual_seed(_SEED)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(_SEED)


def copied(value: Any) -> Any:
    """Inputs with tensors of their own, so that a model that writes to its input leaves them."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(copied(item) for item in value)
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    return value
