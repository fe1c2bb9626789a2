"""``analyzer.training_memory``: bytes that autograd saves for backward, and time of a step.

Inference and training differ in memory above all: a spiking network keeps the activations of every
timestep until backward. Both are measured in one real step, never estimated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pandas as pd
import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch, batches_of
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.session.profiling import counted_batch
from analyzer.measure.tensors.randomness import random_state
from analyzer.measure.tensors.restore import preserved
from analyzer.measure.torch_private.trees import tree_leaves, tree_map
from analyzer.measure.undoing import Undoable, undone
from analyzer.measure.watch.scopes import Scopes, followed

__all__ = ["TrainingMemory", "training_memory"]


@dataclass(frozen=True)
class TrainingMemory:
    """Memory and time of one training step.

    Attributes:
        samples: Samples in the batch.
        saved_bytes: Tensors that autograd keeps for backward, each storage once, without
            parameters and buffers.
        by_module: The same by the module in whose forward they were saved first: columns
            ``module`` and ``saved_bytes``.
        gradient_bytes: Gradients of the parameters.
        measured_peak_bytes: How far the step raised the allocator's peak on a GPU, or the resident
            set of the process on Linux. Includes what allocators round up and keep. None elsewhere,
            and where the resident set rose by less than ``saved_bytes``: the step then used memory
            that the process had kept from earlier work.
        seconds: Of forward and backward, the fastest of three.
    """

    samples: int
    saved_bytes: int
    by_module: pd.DataFrame
    gradient_bytes: int
    measured_peak_bytes: int | None
    seconds: float


def training_memory(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    loop: bool = False,
    samples: DeclaredSamples = None,
    layouts: Mapping[str, str] | None = None,
    forward: Forward | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
) -> TrainingMemory:
    """Runs training steps (forward, loss, backward) and measures the memory that they need.

    Use it to compare what training costs in memory, for instance over timesteps or between a
    spiking network and a dense one. No weight is updated, and the model is left as it was found:
    parameters, gradients, buffers, mode, neuron and random state.

    Args:
        model: The model, in any mode.
        inputs: As for :func:`analyzer.profile`; the first batch is used.
        timesteps: As for :func:`analyzer.profile`.
        loop: As for :func:`analyzer.profile`.
        samples: As for :func:`analyzer.profile`.
        layouts: As for :func:`analyzer.profile`.
        forward: As for :func:`analyzer.profile`.
        loss: From the model's output to a scalar; by default the sum of its first tensor.
        reset: As for :func:`analyzer.profile`.

    Raises:
        AnalyzerError: Where there is no batch, or the output or the loss takes no gradient.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
        >>> found = analyzer.training_memory(model, torch.ones(5, 6))
        >>> found.samples, found.gradient_bytes  # weights and biases in float32
        (5, 112)
        >>> found.saved_bytes  # the input [5, 6] and the output of ReLU [5, 4]
        200
    """
    frame = Frame.declare(
        model, timesteps=timesteps, loop=loop, samples=samples, layouts=layouts, forward=forward
    )

    def measured() -> TrainingMemory:
        batch = next(batches_of(inputs, model, forward), None)
        return _measured(model, frame, batch, loss, reset)

    return undone(measured, random_state())  # a loader draws too


def _measured(
    model: nn.Module,
    frame: Frame,
    batch: Batch | None,
    loss: Callable[[Any], Tensor] | None,
    reset: Callable[[nn.Module], object] | None,
) -> TrainingMemory:
    if batch is None or not any(x.ndim for x in batch.tensors):
        raise AnalyzerError("training memory needs a batch: a tensor, or arguments with one.")
    args, kwargs = tree_map(
        lambda x: x.detach() if isinstance(x, Tensor) else x, (batch.args, batch.kwargs)
    )
    batch = dataclasses.replace(batch, args=args, kwargs=kwargs)
    device = batch.tensors[0].device
    frame = counted_batch(frame, batch, reset).frame
    forget = reset or reset_state

    def step() -> None:
        forget(model)
        model.zero_grad(set_to_none=True)
        output = frame.joined(frame.run(batch))
        found = loss(output) if loss is not None else _sum(output)
        if not found.requires_grad:
            raise AnalyzerError("the loss takes no gradient: no parameter of the model needs one.")
        found.backward()

    with preserved(model) as guard, torch.enable_grad():
        for parameter in model.parameters():
            guard.before_write(parameter)
        model.train()
        with _peak(device) as peak:  # later steps reuse memory that the first keeps
            step()
        saved = _Saved(model)
        with saved.listening():
            step()
        gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
        seconds = _fastest(step, device)
    table = pd.DataFrame(
        {"module": list(saved.by_module), "saved_bytes": list(saved.by_module.values())}
    )
    total = sum(saved.by_module.values())
    measured = peak.bytes if peak.bytes is not None and peak.bytes >= total else None
    return TrainingMemory(frame.samples_of(batch, 0), total, table, gradients, measured, seconds)


def _fastest(step: Callable[[], None], device: torch.device) -> float:
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times)


class _Saved:
    """Bytes that autograd saves, by the module that runs."""

    def __init__(self, model: nn.Module) -> None:
        self.by_module: dict[str, int] = {}
        self._model = model
        self._scopes = Scopes(model)
        self._known: WeakSet[torch.UntypedStorage] = WeakSet()
        for tensor in (*model.parameters(), *model.buffers()):
            self._is_new(tensor)

    @contextmanager
    def listening(self) -> Iterator[None]:
        with followed(self._model) as self._scopes, _SavedHooks(self._pack):
            yield

    def _pack(self, tensor: Tensor) -> Tensor:
        if self._is_new(tensor):
            size = tensor.untyped_storage().nbytes()
            path = self._scopes.path
            self.by_module[path] = self.by_module.get(path, 0) + size
        return tensor.detach()  # a result that refers to itself would never be freed

    def _is_new(self, tensor: Tensor) -> bool:
        """Whether the storage of a tensor was not seen before."""
        if tensor.layout != torch.strided:
            return False
        storage = tensor.untyped_storage()
        new = storage not in self._known
        self._known.add(storage)
        return new


class _SavedHooks(Undoable):
    """Calls a function with each tensor that autograd saves, in a block."""

    def __init__(self, pack: Callable[[Tensor], Tensor]) -> None:
        self._pack = pack
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._saves, lambda x: x)
        self._heard = False

    def begin(self) -> None:
        self._hooks.__enter__()

    def undo(self) -> None:
        # Whoever is interrupted while hooks are set does not know whether they are.
        self._pack, self._heard = Tensor.detach, False
        with torch.enable_grad():
            torch.ones((), requires_grad=True).square()
        if self._heard:
            self._hooks.__exit__()

    def _saves(self, tensor: Tensor) -> Tensor:
        self._heard = True
        return self._pack(tensor)


class _Peak:
    bytes: int | None = None


@contextmanager
def _peak(device: torch.device) -> Iterator[_Peak]:
    """By how much memory rises in the block above its value before."""
    peak = _Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        clear.write_text("5")  # sets the peak back to what is resident now
        before = _resident(status, "VmRSS")
    except (OSError, KeyError):
        yield peak
        return
    yield peak
    peak.bytes = _resident(status, "VmHWM") - before


def _resident(status: Path, field: str) -> int:
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def _sum(output: Any) -> Tensor:
    for value in tree_leaves(output):
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.sum()
    raise AnalyzerError("the model's output holds no tensor of floats to take a gradient of.")
