"""``analyzer.watch``: forwards that the caller's own code runs, into a profile."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from analyzer.errors import AnalyzerError, AnalyzerWarning, undo_all
from analyzer.measure.frame.evidence import Evidence, Listener
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.session.checks import alone, check_model
from analyzer.measure.session.inferences import Inferences
from analyzer.measure.session.results import listed, profile_of
from analyzer.measure.session.settling import MOST_ATTEMPTS, kept_batch, looked_at, unsettled
from analyzer.measure.tensors.restore import kept
from analyzer.measure.undoing import Intercepted, undone
from analyzer.measure.watch.recorder import Recorder
from analyzer.profiles import Profile

__all__ = ["Watched", "watch"]


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
    Where the first forward shows other samples or timesteps than a frame of samples first and one
    timestep, it is undone and run once more: hooks of the caller's then see it twice.

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
        What was watched; its :meth:`.Watched.profile` is the profile.

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
    check_model(model)
    frame = Frame.declare(
        model, timesteps=timesteps, samples=samples, layouts=layouts, groups=groups
    )
    watched = Watched(frame, name, fold_batch_norm)
    with alone(model, blocks_thread=False), Intercepted(model, watched.call):
        yield watched


class Watched:
    """The forwards of a model that ran in a block of :func:`.watch`."""

    def __init__(self, frame: Frame, name: str | None, fold_batch_norm: bool) -> None:
        self._frame = frame
        self._name = name
        self._folds = fold_batch_norm
        self._forwards = self._samples = 0
        self._one_step = False
        self._input_shape: list[int] = []
        self._listener = Listener(frame.model)
        self._inferences = Inferences(frame.model)
        self._recorder: Recorder | None = None
        self._lock = threading.RLock()
        self._running = False

    def call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Runs and counts one forward of the model."""
        with self._lock:  # forwards of several threads of the user's, one after another
            if self._running:
                return forward(*args, **kwargs)
            return undone(
                partial(self._count, forward, args, kwargs),
                partial(setattr, self, "_running", False),
                flags=False,  # those are the caller's
            )

    def profile(self, samples: int | None = None) -> Profile:
        """The profile of all forwards so far.

        Args:
            samples: How many samples they were, such as ``len(loader.dataset)``. By default those
                of each forward are added up, which is not what is meant where a sample takes
                several forwards of its own, as in a generation.

        Raises:
            AnalyzerError: Where nothing ran, the samples can not be told, or the block resets
                neurons after another number of timesteps than was declared.
        """
        if self._recorder is None or not self._forwards:
            raise AnalyzerError("no forward of the model ran in the block, so nothing was counted.")
        steps = self._frame.timesteps.number
        if self._one_step and self._frame.declared.given and steps:
            self._inferences.check(steps)
        number = self._number(samples)
        self._warn_of_resets(number)
        measured = profile_of(
            self._frame,
            self._recorder,
            samples=number,
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

    def _warn_of_resets(self, samples: int) -> None:
        """Warns of neurons that begin an inference with the state of the one before."""
        forwards = max(self._samples // samples, 1) if self._one_step else 1
        lacking = self._inferences.lacks(forwards)
        if lacking:
            warnings.warn(
                f"{listed(lacking)} state from one inference to the next, and the block does not "
                "reset it, so what was counted depends on the inference before: reset the model "
                "before each, such as by spikingjelly's functional.reset_net(model).",
                AnalyzerWarning,
                stacklevel=3,
            )

    def _count(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        self._running = True
        batch = Batch(args, dict(kwargs))

        def run() -> Any:
            return forward(*args, **kwargs)

        recorder = self._recorder
        if recorder is not None and self._frame.is_open(batch):
            output, evidence = looked_at(self._frame, self._listener, batch, run)
            self._frame = self._frame.decided(batch, output, evidence, self._forwards)
            del output
        with self._inferences.forward(() if recorder is None else recorder.unknown_neurons):
            output, settled = self._first(run, batch) if recorder is None else self._run(run, batch)
        samples = settled.samples_of(batch, self._forwards)
        self._samples += samples
        self._input_shape = self._frame.shape_of(batch, samples)
        self._forwards += 1
        return output

    def _first(self, run: Callable[[], Any], batch: Batch) -> tuple[Any, Frame]:
        """Counts the first forward: undone, and once more where it shows another frame."""
        model = self._frame.model
        frame = self._frame.assumed(batch, 0)
        guard, put_back = kept(model)
        put_batch_back = kept_batch(batch, guard)
        for _ in range(MOST_ATTEMPTS):
            self._frame = frame
            self._recorder = Recorder(model, default_rules(), frame.axes(), guard, always=True)
            try:
                output, settled = self._run(run, batch)
            except BaseException:
                self._recorder = None
                raise
            settled = settled.following(batch, self._recorder.turned, self._recorder.leading)
            if frame.counts_as(settled, batch):
                guard.release()
                self._frame = settled
                return output, settled
            del output
            undo_all((put_back, put_batch_back))
            frame = settled
        raise unsettled()

    def _run(self, run: Callable[[], Any], batch: Batch) -> tuple[Any, Frame]:
        """The output of a forward that is counted, and the frame that it shows."""
        assert self._recorder is not None
        samples = self._frame.samples_of(batch, self._forwards)
        timed = None if self._forwards else self._frame.followed(batch, 0)
        with self._listener.listening(batch.tensors, timed) as evidence:
            output = self._recorder.run(run, lambda: None, samples, (batch.args, batch.kwargs))
        evidence.note_neurons(self._recorder.unknown_neurons, self._recorder.looped)
        return output, self._settled(self._frame, batch, output, evidence)

    def _settled(self, frame: Frame, batch: Batch, output: Any, evidence: Evidence) -> Frame:
        one = bool(evidence.steps) and set(evidence.steps.values()) == {1}
        self._one_step = self._one_step or one
        if one:  # the loop over time is the caller's
            evidence.steps.clear()
            evidence.runs.clear()
        found = frame.settled(batch, output, evidence, number=self._forwards)
        if one and not frame.declared.given:
            return found.without_timesteps("nothing tells: each forward is one timestep")
        return found
