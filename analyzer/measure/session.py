"""``analyzer.profile`` and ``analyzer.watch``: forward passes into a profile."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.measure.frame.evidence import Evidence, Listener
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch, batches_of, is_one_batch, length
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.passes import Passes, alone, profile_of
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.torch_private import check_version, intercepted
from analyzer.measure.watch.recorder import Recorder
from analyzer.measure.watch.restore import Guard, Held, preserved
from analyzer.profiles import Profile

__all__ = ["Watched", "profile", "watch"]


def profile(
    model: nn.Module,
    inputs: Any,
    *,
    timesteps: int | None = None,
    loop: bool = False,
    samples: DeclaredSamples = None,
    layouts: Mapping[str, str] | None = None,
    groups: Mapping[str, int] | None = None,
    forward: Forward | None = None,
    predict: Callable[[Any], Any] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
    name: str | None = None,
    progress: bool | None = None,
    watch: str = "first",
    fold_batch_norm: bool = True,
) -> Profile:
    """Counts what a model does on some data, exactly.

    The model is not changed: training flags, buffers, gradients, random state and neuron
    state are afterwards as before, also when its forward raises, and its outputs are those of a
    plain forward under ``torch.no_grad()``.

    What is not declared is told by evidence: targets, outputs, neurons, and modules that read the
    input. The profile says what told the samples and the timesteps
    (``profile.metadata["frame"]``).

    Args:
        model: Any module. Put it in ``eval()`` first to profile inference.
        inputs: One tensor, a tuple or dict of arguments, or an iterable of batches (such as a
            ``DataLoader``). The signature of the model's forward tells which parts of a batch are
            arguments; a part that is left over and looks like a target gives the accuracy.
        timesteps: Timesteps T of one inference; by default what ``model.timesteps`` says, else how
            often neurons run in a pass. It is None in the profile where nothing tells.
        loop: Whether the model computes one timestep a call. It is then called T times a batch,
            with the same input, or with a slice each where the layout of its input has a time axis.
        samples: How many samples a batch holds, a number or a function of the batch; needed only
            where no layout, target, output or convention tells.
        layouts: Axes of module inputs in einops notation, by glob pattern of module paths; the
            pattern ``""`` is the model's own input. By default what ``model.layouts`` says.
        groups: Groups to count by, such as ``{"temporal": 2, "spatial": 4, "structural": 8}``;
            by default what ``model.groups`` says.
        forward: A function ``(model, batch) -> output`` that runs what is to be profiled, such as
            ``lambda model, batch: model.generate(**batch)``; by default the model is called.
        predict: From an output to the class number of each sample, for the accuracy; the usual
            outputs (logits, logits over time, ``(spikes, membrane)``) need none.
        reset: Called with the model before every batch; by default modules of spiking libraries,
            those taught by :func:`analyzer.neuron`, and all with a ``reset()`` are reset.
        name: How tables call the profile; by default the model's class.
        progress: Whether to show a progress bar; by default on a terminal, for several batches.
        watch: ``"first"`` watches every operation in the first batch of each shape only, and in
            later ones contractions alone, as long as these, the modules that run and the state of
            the model are the same; a batch that turns out otherwise is undone and run again.
            ``"every"`` watches every operation in every batch, which takes longer.
        fold_batch_norm: Whether a batch norm that folds into the layer before it costs nothing;
            :meth:`Profile.folding` turns the same measurement over.

    Returns:
        The profile, with totals over all samples.

    Raises:
        AnalyzerError: Where the input is unusable, what tells samples or timesteps disagrees,
            state remains after the reset, or an operand holds NaN or infinity.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU()).eval()
        >>> profile = analyzer.profile(model, torch.eye(4, 6))  # 4 samples with one spike each
        >>> profile.samples, profile.totals["dense_macs"], profile.totals["ac"]
        (4, 72, 12)
    """
    _check(model)
    if watch not in ("first", "every"):
        raise AnalyzerError(f"watch must be 'first' or 'every', not {watch!r}.")
    frame = Frame.declare(
        model, timesteps=timesteps, loop=loop, samples=samples, layouts=layouts, groups=groups,
        forward=forward,
    )  # fmt: skip
    if model.training:
        warnings.warn(
            "the model is in training mode, so batch norm and dropout act as in training: call "
            "model.eval() first to profile inference.",
            AnalyzerWarning,
            stacklevel=2,
        )
    always = watch == "every" or is_one_batch(inputs)
    batches = _shown(batches_of(inputs, model, forward), inputs, progress)
    with alone(model):
        first = next(batches, None)
        if first is None:
            raise AnalyzerError("there is no batch to profile: the iterable of inputs is empty.")
        for _ in range(_MOST_ATTEMPTS):
            with preserved(model) as guard:
                run = Passes(frame, reset, predict, guard, always=always)
                settled = run.first(first)
                if settled is None:
                    for batch in batches:
                        run.forward(batch)
                    measured = run.profile(name)
                    break
            frame = settled
        else:
            raise AnalyzerError(
                "how many samples and timesteps a batch holds can not be settled: give timesteps= "
                "and samples=."
            )
    return measured if fold_batch_norm else measured.folding(False)


_MOST_ATTEMPTS = 3
"""Passes over the first batch: in the frame that is assumed, and in the one that it shows."""


def _check(model: Any) -> None:
    """Refuses what is no module that can be run.

    Raises:
        AnalyzerError: With what to do.
    """
    if not isinstance(model, nn.Module):
        raise AnalyzerError(f"profile needs a torch.nn.Module, not {type(model).__name__}.")
    if any(torch.nn.parameter.is_lazy(p) for p in model.parameters()):
        raise AnalyzerError(
            f"{type(model).__name__} has lazy parameters without a shape: run it once on a batch."
        )
    check_version()


@contextmanager
def watch(
    model: nn.Module,
    *,
    timesteps: int | None = None,
    samples: DeclaredSamples = None,
    layouts: Mapping[str, str] | None = None,
    groups: Mapping[str, int] | None = None,
    name: str | None = None,
    fold_batch_norm: bool = True,
) -> Iterator[Watched]:
    """Counts every forward of a model in a block of the caller's own code.

    Use it where :func:`profile` can not run the model itself: around an evaluation loop, a
    generation, a sampler, a simulator. Nothing is reset and nothing is put back, as the block may
    do so; every operation of every forward is watched, and outputs and gradients are as without.
    The first forward also runs once without being counted, and is undone: it tells what a sample
    and a timestep are.

    Args:
        model: The model that the block calls.
        timesteps: Timesteps of one inference, as for :func:`profile`. Where each forward is one
            timestep, T forwards make an inference.
        samples: As for :func:`profile`, of each forward.
        layouts: As for :func:`profile`.
        groups: As for :func:`profile`.
        name: As for :func:`profile`.
        fold_batch_norm: As for :func:`profile`.

    Yields:
        What was watched; its :meth:`Watched.profile` is the profile.

    Raises:
        AnalyzerError: Where the model is being profiled already, or what tells the samples of a
            forward disagrees.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU()).eval()
        >>> with analyzer.watch(model) as watched, torch.no_grad():
        ...     for batch in torch.eye(6).split(2):
        ...         output = model(batch)
        >>> watched.profile().totals["dense_macs"], watched.profile().samples
        (108, 6)
    """
    _check(model)
    frame = Frame.declare(
        model, timesteps=timesteps, samples=samples, layouts=layouts, groups=groups
    )
    watched = Watched(frame, name, fold_batch_norm)
    with alone(model, blocks_thread=False), intercepted(model, watched.call):
        yield watched


class Watched:
    """The forwards of a model that ran in a block of :func:`watch`."""

    def __init__(self, frame: Frame, name: str | None, fold_batch_norm: bool) -> None:
        self._frame = frame
        self._name = name
        self._folds = fold_batch_norm
        self._forwards = self._samples = 0
        self._one_step = False
        self._input_shape: list[int] = []
        self._listener = Listener(frame.model)
        self._recorder: Recorder | None = None
        self._lock = threading.RLock()
        self._running = False

    def call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Runs and counts one forward of the model."""
        with self._lock:  # forwards of several threads of the user's, one after another
            if self._running:
                return forward(*args, **kwargs)
            self._running = True
            try:
                return self._count(forward, args, kwargs)
            finally:
                self._running = False

    def profile(self, samples: int | None = None) -> Profile:
        """The profile of all forwards so far.

        Args:
            samples: How many samples they were, such as ``len(loader.dataset)``. By default those
                of each forward are added up, which is not what is meant where a sample takes
                several forwards of its own, as in a generation.

        Raises:
            AnalyzerError: Where nothing ran, or the samples can not be told.
        """
        if self._recorder is None or not self._forwards:
            raise AnalyzerError("no forward of the model ran in the block, so nothing was counted.")
        measured = profile_of(
            self._frame,
            self._recorder,
            samples=self._number(samples),
            input_shape=self._input_shape,
            resets="left to the caller",
            about={"forwards": self._forwards},
            correct=None,
            name=self._name,
        )
        return measured if self._folds else measured.folding(False)

    def _number(self, samples: int | None) -> int:
        if samples is not None:
            if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
                raise AnalyzerError(f"samples must be a number of samples, not {samples!r}.")
            return samples
        if not self._one_step:
            return self._samples
        steps = self._frame.timesteps.number
        whole, rest = (
            divmod(self._samples, steps) if self._frame.declared.given and steps else (0, 1)
        )
        if rest:
            raise AnalyzerError(
                "each forward is one timestep of its neurons, so how many samples passed is not "
                "known: give watch(timesteps=) and profile(samples=)."
            )
        return whole

    def _count(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        batch = Batch(args, dict(kwargs))
        if self._recorder is None:
            self._frame = self._seen_before_counting(batch)
            axes = self._frame.axes()
            self._recorder = Recorder(
                self._frame.model, default_rules(), axes, Guard(), always=True
            )
        with self._listener.listening(batch.tensors) as evidence:
            output = self._recorder.run(
                lambda: forward(*args, **kwargs),
                lambda: None,
                self._frame.samples_of(batch, self._forwards),
                (args, kwargs),
            )
        samples = self._settled(self._frame, batch, output, evidence).samples_of(
            batch, self._forwards
        )
        self._samples += samples
        self._input_shape = self._frame.shape_of(batch, samples)
        self._forwards += 1
        return output

    def _seen_before_counting(self, batch: Batch) -> Frame:
        """The frame that the first forward shows: it runs once uncounted and is undone."""
        frame = self._frame.assumed(batch, 0)
        given = [Held(x) for x in batch.tensors]
        with preserved(frame.model), torch.no_grad():
            for held in given:
                held.save()
            with self._listener.listening(batch.tensors) as evidence:
                output = frame.run(batch)
            found = self._settled(frame, batch, output, evidence)
            for held in given:
                held.restore()
        return found

    def _settled(self, frame: Frame, batch: Batch, output: Any, evidence: Evidence) -> Frame:
        one = bool(evidence.steps) and set(evidence.steps.values()) == {1}
        self._one_step = self._one_step or one
        if one:  # the loop over time is the caller's
            evidence.steps.clear()
            evidence.runs.clear()
        found = frame.settled(batch, output, evidence, has_state=False, number=self._forwards)
        if one and not frame.declared.given:
            return found.without_timesteps("nothing tells: each forward is one timestep")
        return found


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
