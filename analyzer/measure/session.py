"""``analyzer.profile``: batches through an observed model into a profile."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.measure.batches import Batch, batches_of, is_one_batch, length
from analyzer.measure.layouts import Layouts
from analyzer.measure.metadata import metadata_of
from analyzer.measure.neurons.state import HeldState, changed, held_state, reset_state
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.torch_private import (
    check_version,
    mode_depth,
    tree_leaves,
    tree_map,
    unwind_modes,
)
from analyzer.measure.watch.modules import place_of
from analyzer.measure.watch.recorder import Recorder
from analyzer.measure.watch.restore import preserved
from analyzer.profiles import Profile

__all__ = ["layouts_of", "profile"]


def profile(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    groups: Mapping[str, int] | None = None,
    name: str | None = None,
    progress: bool | None = None,
    reset: Callable[[nn.Module], object] | None = None,
    watch: str = "first",
    fold_batch_norm: bool = True,
) -> Profile:
    """Counts what a model does on some data, exactly.

    The model is not changed: training flags, buffers, gradients, random state and neuron
    state are afterwards as before, also when its forward raises, and its outputs are those of a
    plain forward under ``torch.no_grad()``.

    Args:
        model: Any module. Put it in ``eval()`` first to profile inference.
        inputs: One tensor, a tuple or dict of arguments, or an iterable of batches (such as a
            ``DataLoader``; of a batch ``(x, target)`` x is used, and integer targets give the
            accuracy where the model returns ``[B, classes]``).
        timesteps: Timesteps of one forward pass; by default what ``model.timesteps`` says.
        layouts: Axes of module inputs in einops notation, by glob pattern of module paths; the
            pattern ``""`` is the model's own input. By default what ``model.layouts`` says.
        groups: Groups to count by, such as ``{"temporal": 2, "spatial": 4, "structural": 8}``;
            by default what ``model.groups`` says.
        name: How tables call the profile; by default the model's class.
        progress: Whether to show a progress bar; by default on a terminal, for several batches.
        reset: Called with the model before every batch; by default the modules of SpikingJelly,
            snnTorch and sinabs, and those taught by :func:`analyzer.neuron`, are reset.
        watch: ``"first"`` watches every operation in the first batch of each shape only, and in
            later ones contractions alone, as long as these, the modules that run and the state of
            the model are the same; a batch that turns out otherwise is undone and run again.
            ``"every"`` watches every operation in every batch, which takes longer.
        fold_batch_norm: Whether a batch norm that folds into the layer before it costs nothing;
            :meth:`Profile.folding` turns the same measurement over.

    Returns:
        The profile, with totals over all samples.

    Raises:
        AnalyzerError: Where the input is unusable, or an operand holds NaN or infinity.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU()).eval()
        >>> profile = analyzer.profile(model, torch.eye(4, 6))  # 4 samples with one spike each
        >>> profile.samples, profile.totals["dense_macs"], profile.totals["ac"]
        (4, 72, 12)
    """
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"profile needs a torch.nn.Module, not {type(model).__name__}.")
    if any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        raise AnalyzerError(
            f"{type(model).__name__} has lazy parameters without a shape: run it once on a batch."
        )
    check_version()
    if watch not in ("first", "every"):
        raise AnalyzerError(f"watch must be 'first' or 'every', not {watch!r}.")
    axes = layouts_of(model, timesteps, layouts, groups)
    if model.training:
        warnings.warn(
            "the model is in training mode, so batch norm and dropout act as in training: call "
            "model.eval() first to profile inference.",
            AnalyzerWarning,
            stacklevel=2,
        )
    run = _Run(model, axes, reset)
    with _alone(model), preserved(model) as guard:
        always = watch == "every" or is_one_batch(inputs)
        resets = reset is None
        recorder = Recorder(model, default_rules(), axes, guard, always=always, resets=resets)
        for batch in _shown(batches_of(inputs), inputs, progress):
            run.forward(batch, recorder)
    if not run.batches:
        raise AnalyzerError("there is no batch to profile: the iterable of inputs is empty.")
    _warn_of_uncovered(recorder)
    measured = Profile(
        samples=run.samples,
        metadata=metadata_of(model, name, axes.timesteps, run.input_shape)
        | recorder.memory
        | {"passes": recorder.passes, "unknown_neurons": list(recorder.unknown_neurons)},
        contractions=tuple(recorder.contractions),
        tallies=tuple(recorder.tallies),
        uncounted=tuple(recorder.uncounted),
        groups=axes.counted,
        correct=run.correct,
        sent=tuple(recorder.sent),
    )
    return measured if fold_batch_norm else measured.folding(False)


def layouts_of(
    model: nn.Module,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    groups: Mapping[str, int] | None = None,
) -> Layouts:
    """Axes as they are given, for the rest as the model declares them."""
    declared = getattr(model, "layouts", None) if layouts is None else layouts
    wanted = getattr(model, "groups", None) if groups is None else groups
    return Layouts(
        declared if isinstance(declared, Mapping) else {},
        wanted if isinstance(wanted, Mapping) else {},
        _timesteps(model, timesteps),
    )


@contextmanager
def _alone(model: nn.Module) -> Iterator[None]:
    """Refuses a model that is being profiled already."""
    if _THREAD.profiles:
        raise AnalyzerError(
            "analyzer.profile was called in the forward of a model that is being profiled: its "
            "operations would count twice, so profile one after the other."
        )
    if not _BUSY.enter(id(model)):
        raise AnalyzerError(
            f"this {type(model).__name__} is being profiled by another thread: wait for it, or "
            "profile a copy."
        )
    depth = mode_depth()
    _THREAD.profiles = True
    try:
        yield
    finally:
        _THREAD.profiles = False
        unwind_modes(depth)
        _BUSY.leave(id(model))


class _Thread(threading.local):
    """Whether this thread is profiling."""

    profiles = False


_THREAD = _Thread()


class _Busy:
    """The models that are being profiled in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: set[int] = set()

    def enter(self, model: int) -> bool:
        with self._lock:
            free = model not in self._models
            self._models.add(model)
        return free

    def leave(self, model: int) -> None:
        with self._lock:
            self._models.discard(model)


_BUSY = _Busy()


class _Run:
    """Sends batches through the model and keeps the sums that are not operations."""

    def __init__(
        self, model: nn.Module, layouts: Layouts, reset: Callable[[nn.Module], object] | None
    ) -> None:
        self.samples = 0
        self.batches = 0
        self.correct: int | None = 0
        self.input_shape: list[int] = []
        self._axis: int | None = None
        self._model = model
        self._layouts = layouts
        self._reset = reset or reset_state
        self._held: HeldState | None = None
        self._looks = reset is None
        self._device = next((p.device for p in model.parameters()), None)

    def forward(self, batch: Batch, recorder: Recorder) -> None:
        args, kwargs = tree_map(self._to_device, (batch.args, batch.kwargs))
        first = next((x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)), None)
        if first is None or first.ndim == 0:
            raise AnalyzerError(
                f"batch {self.batches} holds no tensor with a batch axis, so its samples can not "
                "be counted: give a tensor, a tuple or dict of arguments, or batches of them."
            )
        if self.batches == 1 and self._looks:
            self._held = held_state(self._model)
        axis = self._layouts.batch_axis(first)
        if self._axis not in (None, axis) and first.shape[axis] != first.shape[self._axis or 0]:
            raise AnalyzerError(
                f"batch {self.batches} of shape {tuple(first.shape)} seems to hold its samples on "
                f"axis {axis}, the ones before on axis {self._axis}: name the axes of the model's "
                'input, such as layouts={"": "T B C H W"}.'
            )
        self._axis = axis
        samples = first.shape[axis]
        try:
            with torch.no_grad():
                output = recorder.run(
                    lambda: self._model(*args, **kwargs),
                    lambda: self._reset(self._model),
                    samples,
                    (args, kwargs),
                )
        except Exception as error:
            where = place_of(error, self._model) or "(the model itself)"
            error.add_note(f"raised while profiling, in module {where}")
            raise
        self._look_for_state()
        shape = list(first.shape)
        self.input_shape = shape[:axis] + shape[axis + 1 :]
        self.samples += samples
        self.batches += 1
        self._score(output, batch.target)

    def _look_for_state(self) -> None:
        """Warns, after two passes, of modules whose state nobody resets."""
        if not self._looks:
            return
        if self._held is None:
            return
        self._looks = False
        for path in changed(self._held, self._model):
            warnings.warn(
                f"module {path or '(the model itself)'} keeps state between batches and is of no "
                "known library, so it is not reset: give reset=, a function that resets the model.",
                AnalyzerWarning,
                stacklevel=5,
            )

    def _score(self, output: Any, target: Any) -> None:
        fits = (
            isinstance(output, Tensor)
            and isinstance(target, Tensor)
            and output.ndim == 2
            and target.ndim == 1
            and len(output) == len(target)
            and not target.is_floating_point()
        )
        if not fits or self.correct is None:
            self.correct = None
            return
        self.correct += int((output.argmax(1) == target.to(output.device)).sum())

    def _to_device(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self._device is not None:
            return value.to(self._device)
        return value


def _shown(batches: Iterator[Batch], inputs: Any, progress: bool | None) -> Iterator[Batch]:
    """The batches, under a progress bar where one is wanted."""
    total = length(inputs)
    single = is_one_batch(inputs)
    wanted = sys.stderr.isatty() and not single if progress is None else progress
    bar: AbstractContextManager[Any] = nullcontext()
    if wanted:
        from rich.console import Console
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True), transient=True)
    with bar as shown:
        task = shown.add_task("profiling", total=1 if single else total) if shown else None
        for batch in batches:
            yield batch
            if shown and task is not None:
                shown.advance(task)


def _timesteps(model: nn.Module, given: int | None) -> int:
    if given is None:
        own = getattr(model, "timesteps", None)
        return own if isinstance(own, int) and own > 0 else 1
    if not isinstance(given, int) or given < 1:
        raise AnalyzerError(f"timesteps must be a positive integer, not {given!r}.")
    return given


def _warn_of_uncovered(recorder: Recorder) -> None:
    names = sorted({tally.op for tally in recorder.uncounted})
    if not names:
        return
    warnings.warn(
        f"no rule covers {', '.join(names)}: that arithmetic is listed in Profile.uncovered and in "
        "no total.",
        AnalyzerWarning,
        stacklevel=3,
    )
