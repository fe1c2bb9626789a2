"""Forward passes of one model in one frame: counted, and made into a profile."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.facts.correct import Correct
from analyzer.facts.records import Contraction, GroupCount, Tally
from analyzer.facts.sent import Sent
from analyzer.facts.shards import KEY, Shard
from analyzer.measure.frame.evidence import Evidence, Listener
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.outputs import Score
from analyzer.measure.neurons.state import reset_state
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.session.results import listed, profile_of
from analyzer.measure.session.settling import kept_batch, looked_at
from analyzer.measure.tensors.carried import CarriedState
from analyzer.measure.tensors.held import Guard
from analyzer.measure.torch_private.modes import pushed
from analyzer.measure.watch.failures import misfit, place_of
from analyzer.measure.watch.recorder import Recorder
from analyzer.profiles import Profile

__all__ = ["Passes"]


class Passes:
    """Sends batches through a model and counts them, in one frame.

    Args:
        frame: What is known before the first batch.
        reset: Called with the model before each batch; None resets all that is known.
        predict: From an output to class numbers.
        guard: Copies what is about to be overwritten.
        always: Whether every pass is watched in full.
        apart: Whether each pass is kept on its own, too, as :attr:`last`.
    """

    def __init__(
        self,
        frame: Frame,
        reset: Callable[[nn.Module], object] | None,
        predict: Callable[[Any], Any] | None,
        guard: Guard,
        *,
        always: bool,
        apart: bool = False,
    ) -> None:
        self.samples = 0
        self._apart = apart
        self._batches = 0
        self._frame = frame
        self._model = frame.model
        self._predict = predict
        self._score = Score(predict)
        self._guard = guard
        self._always = always
        self._given_reset = reset
        self._resets = 0
        self._states: list[str] = []
        self._input_shape: list[int] = []
        self._recorder: Recorder | None = None
        self._listener = Listener(frame.model)
        self._device = next((p.device for p in self._model.parameters()), None)

    def first(self, batch: Batch) -> Frame | None:
        """Counts the first batch.

        Returns:
            None; or, where the pass shows another frame than was assumed, that frame, in which all
            is to be counted anew.
        """
        batch = batch.on(self._device)
        frame = self._frame = self._frame.assumed(batch, 0)
        if frame.timesteps.number is None and self._listener.tells_time:
            # A plain pass costs less than a counted one.
            output, evidence = self._looked_at(batch)
            settled = frame.settled(batch, output, evidence, number=0)
            frame = self._frame = settled
            del output
        self._recorder = Recorder(
            self._model, default_rules(), frame.axes(), self._guard,
            always=self._always, resets=self._given_reset is None, apart=self._apart,
        )  # fmt: skip
        put_back = kept_batch(batch, self._guard)
        looks = self._given_reset is None
        carried = CarriedState(self._model, self._reset, self._guard) if looks else None
        with self._listener.listening(batch.tensors, frame.followed(batch, 0)) as evidence:
            output = self._count(batch)

        def again() -> Any:
            put_back()
            with torch.no_grad():
                return frame.run(batch)

        if carried is not None:
            output = carried.alone(output)
            self._states = carried.found(
                again,
                output,
                batch.tensors,
                self._recorder.depends_on_input,
                self._guard,
                frame.samples_of(batch, 0),
            )
        evidence.has_state = bool(self._states)
        evidence.note_neurons(self._recorder.unknown_neurons, self._recorder.looped)
        settled = frame.settled(batch, frame.joined(output), evidence, number=0).following(
            batch, self._recorder.turned, self._recorder.leading
        )
        if not frame.counts_as(settled, batch):
            put_back()
            return settled
        self._frame = settled
        self._add(batch, output)
        return None

    def forward(self, batch: Batch) -> None:
        """Counts a later batch."""
        if self._states:
            raise AnalyzerError(
                f"{listed(self._states)} state from one batch to the next, and nothing resets it, "
                "so what is counted would depend on the batch before: give reset=, a function "
                "that resets the model."
            )
        batch = self._decided(batch, self._batches)
        if self._listener.tells_axes:
            with self._listener.listening(batch.tensors) as evidence:
                output = self._count(batch, evidence)
        else:
            output, evidence = self._count(batch), Evidence()
        self._frame.check(batch, self._frame.joined(output), evidence, self._batches)
        self._add(batch, output)

    def opened(self, batch: Batch, number: int, guard: Guard) -> tuple[Frame, Batch]:
        """The frame of a batch that others count, and the batch where the model is."""
        self._guard = guard
        batch = self._decided(batch, number)
        samples = self._frame.samples_of(batch, number)
        self._input_shape = self._frame.shape_of(batch, samples)
        return self._frame, batch

    def _decided(self, batch: Batch, number: int) -> Batch:
        """The batch where the model is, once it has decided what the frame left open."""
        batch = batch.on(self._device)
        if self._frame.is_open(batch):
            output, evidence = self._looked_at(batch)
            self._frame = self._frame.decided(batch, output, evidence, number)
        return batch

    @property
    def last(self) -> tuple[tuple[Contraction, ...], tuple[Tally, ...]]:
        """Contractions and element-wise work of the last pass alone."""
        assert self._recorder is not None
        assert self._recorder.last is not None
        return self._recorder.last

    @property
    def contractions(self) -> Iterable[Contraction]:
        """What was counted so far, one per call site."""
        assert self._recorder is not None
        return self._recorder.contractions

    @property
    def facts(self) -> Iterable[Contraction | Tally | GroupCount | Sent]:
        """All that was counted so far."""
        found = self._recorder
        assert found is not None
        return chain(found.contractions, found.tallies, found.uncounted, found.groups, found.sent)

    @property
    def about_batches(self) -> dict[str, Any]:
        """Metadata that tell how batches were read, and what a sample of a batch takes."""
        assert self._recorder is not None
        frame = self._frame.as_metadata(self._said_of_resets())
        return self._recorder.memory | {"input_shape": self._input_shape, "frame": frame}

    def forget(self, number: int) -> None:
        """Forgets what was counted, and keeps the frame and the plans.

        So the batches of a later share are counted as they are in a run of all batches.
        """
        assert self._recorder is not None
        self._recorder.forget()
        self._score = Score(self._predict)
        self.samples = 0
        self._batches = number

    @property
    def correct(self) -> Correct:
        """Samples that were classified correctly so far."""
        return self._score.found

    @property
    def frame(self) -> Frame:
        """What is known of samples and timesteps by now."""
        return self._frame

    @property
    def place(self) -> tuple[int, ...] | None:
        """Where samples are read, as :attr:`.Frame.place` has it."""
        return self._frame.place

    def profile(self, name: str | None, shard: Shard | None = None) -> Profile:
        """All that was counted.

        Args:
            name: How tables call it.
            shard: Which batches of a run that is.
        """
        assert self._recorder is not None
        if self._states:
            warnings.warn(
                f"{listed(self._states)} state from one batch to the next, and nothing resets it: "
                "this batch began with the state that was there. Give reset=, a function that "
                "resets the model.",
                AnalyzerWarning,
                stacklevel=3,
            )
        about: dict[str, Any] = {}
        if self.correct.why:
            about["accuracy"] = self.correct.why
        if shard is not None:
            about[KEY] = shard.as_metadata()
        return profile_of(
            self._frame,
            self._recorder,
            samples=self.samples,
            input_shape=self._input_shape,
            resets=self._said_of_resets(),
            about=about,
            correct=self.correct.number,
            name=name,
        )

    def _count(self, batch: Batch, evidence: Evidence | None = None) -> Any:
        """Runs and counts one pass; returns what the model returned."""
        assert self._recorder is not None

        def run() -> Any:
            if evidence is not None:
                evidence.clear()
            return self._frame.run(batch)

        samples = self._frame.samples_of(batch, self._batches)
        with self._errors_located(batch), torch.no_grad():
            return self._recorder.run(run, self._reset, samples, (batch.args, batch.kwargs))

    @contextmanager
    def _errors_located(self, batch: Batch) -> Iterator[None]:
        """Errors of the block say in which module they were raised."""
        try:
            yield
        except Exception as error:
            where = place_of(error, self._model) or "(the model itself)"
            error.add_note(f"raised while profiling, in module {where}")
            shapes = ", ".join(str(tuple(x.shape)) for x in batch.tensors[:4])
            hint = misfit(error, self._model) or self._frame.hint(batch)
            error.add_note(hint or f"the model was given tensors of shape {shapes or 'none'}")
            raise

    def _add(self, batch: Batch, output: Any) -> None:
        frame = self._frame
        samples = frame.samples_of(batch, self._batches)
        self._input_shape = frame.shape_of(batch, samples)
        self.samples += samples
        self._batches += 1
        self._score.add(frame.joined(output), batch.target, samples, frame.timesteps.number)

    def _looked_at(self, batch: Batch) -> tuple[Any, Evidence]:
        """The output of a plain pass from a reset on, and what the pass shows."""

        def run() -> Any:
            with pushed(self._guard):
                self._reset()
                return self._frame.run(batch)

        with self._errors_located(batch):
            return looked_at(self._frame, self._listener, batch, run)

    def _reset(self) -> None:
        if self._given_reset is not None:
            self._given_reset(self._model)
        else:
            self._resets = reset_state(self._model)

    def _said_of_resets(self) -> str:
        if self._given_reset is not None:
            return "reset= before every batch"
        number = self._resets
        if self._states and not number:
            return f"nothing: {listed(self._states)} state"
        return (
            f"{number} module{'s' if number != 1 else ''} before every batch"
            if number
            else ("nothing to reset")
        )
