"""``analyzer.profile``: batches of data through a model, into a profile."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.facts.shards import digest_of
from analyzer.measure.frame.frame import Forward, Frame
from analyzer.measure.frame.inputs import Batch, batches_of, is_one_batch, length
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.session.checks import alone, check_model
from analyzer.measure.session.passes import Passes
from analyzer.measure.session.settling import MOST_ATTEMPTS, kept_batch, unsettled
from analyzer.measure.session.shares import Share, drawn_so_far
from analyzer.measure.session.singles import check_separable, count_singles
from analyzer.measure.tensors.randomness import random_state
from analyzer.measure.tensors.restore import preserved
from analyzer.measure.undoing import undone
from analyzer.measure.watch.watchable import in_training
from analyzer.profiles import Profile
from analyzer.terminal import Shown
from analyzer.terminal import progress as progress_of

__all__ = ["counted_batch", "profile", "warn_of_training"]


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
    progress: bool | str | None = None,
    watch: str = "first",
    fold_batch_norm: bool = True,
    per_sample: bool = False,
    shard: tuple[int, int] | None = None,
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
        progress: Whether to show a bar with the samples per second, also in a notebook; where none
            can be drawn a line every ten seconds. ``"log"`` prints lines everywhere. By default a
            bar on a terminal, for several batches.
        watch: ``"first"`` watches every operation in the first batch of each shape only, and in
            later ones contractions alone, as long as these, the modules that run and the state of
            the model are the same; a batch that turns out otherwise is undone and run again.
            ``"every"`` watches every operation in every batch, which takes longer.
        fold_batch_norm: Whether a batch norm that folds into the layer before it costs nothing;
            :meth:`Profile.folding` turns the same measurement over.
        per_sample: Whether the profile also keeps what single samples did, for
            :meth:`Profile.spread`, intervals in tables and :func:`analyzer.paired`. Each sample
            then runs alone, which takes longer; batches are cut along the axis of their samples.
            Of more than 1,024 samples so many are kept, chosen at random, the same in each run;
            the totals are of all.
        shard: Which share of the batches to count, ``(i, n)`` with i from 1 to n, where several
            workers or jobs share them out; :func:`analyzer.merge` makes one profile of all of
            them, which is the one of a single run. Each runs the first batch of all too, so that
            all take samples and timesteps for the same.

    Returns:
        The profile, with totals over all samples.

    Raises:
        AnalyzerError: Where the input is unusable, what tells samples or timesteps disagrees,
            state remains after the reset, or an operand holds NaN or infinity. With
            ``per_sample`` also where a batch can not be cut, or a batch norm uses its statistics.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU()).eval()
        >>> profile = analyzer.profile(model, torch.eye(4, 6))  # 4 samples with one spike each
        >>> profile.samples, profile.totals["dense_macs"], profile.totals["ac"]
        (4, 72, 12)
    """
    check_model(model)
    shown = Shown.of(progress)
    if watch not in ("first", "every"):
        raise AnalyzerError(f"watch must be 'first' or 'every', not {watch!r}.")
    for said, function in (("forward", forward), ("predict", predict), ("reset", reset)):
        if function is not None and not callable(function):
            raise AnalyzerError(f"{said} must be a function, not {function!r}: {_FUNCTIONS[said]}.")
    frame = Frame.declare(
        model, timesteps=timesteps, loop=loop, samples=samples, layouts=layouts, groups=groups,
        forward=forward,
    )  # fmt: skip
    warn_of_training(model)
    if per_sample and shard is not None:
        raise AnalyzerError(
            "per_sample keeps samples of a whole run and shard counts a part of one: give one of "
            "the two."
        )
    if per_sample:
        check_separable(model)
    single = is_one_batch(inputs)
    share = None
    if shard is not None:
        whole = single and length(inputs) != 1
        share = Share.declared(shard, inputs, whole=whole or isinstance(inputs, Tensor))
        single = False
    begins = share is None or share.start == 0 < share.stop
    batches = batches_of(inputs if share is None else share.own, model, forward)
    firsts = batches if share is None or begins else batches_of(share.first, model, forward)
    if single and shown is Shown.auto:
        shown = Shown.off
    total = 1 if single else length(inputs) if share is None else share.stop - share.start
    called = f"profiling {name or type(model).__name__}"

    def counted(frame: Frame) -> Profile:
        with progress_of(called, total, shown) as steps, alone(model):
            first = next(firsts, None)
            if first is None:
                raise AnalyzerError(
                    "there is no batch to profile: the iterable of inputs is empty."
                )
            digest = "" if share is None else Share.digest(first)
            for _ in range(MOST_ATTEMPTS):
                drawn = () if share is None else drawn_so_far()
                with preserved(model) as guard:
                    run = Passes(
                        frame,
                        reset,
                        predict,
                        guard,
                        always=watch == "every" or single or per_sample,
                    )
                    put_back = kept_batch(first, guard) if per_sample else None
                    settled = run.first(first)
                    if put_back is not None:
                        put_back()
                    if settled is None and not per_sample:
                        counted_first = ""
                        if share is not None:
                            if drawn != drawn_so_far():
                                _warn_of_random_numbers()
                            else:
                                counted_first = digest_of(run.facts)
                        if begins:
                            steps.done(units=run.samples)
                        else:
                            run.forget(share.start if share else 0)
                        for batch in batches:
                            before = run.samples
                            run.forward(batch)
                            steps.done(units=run.samples - before)
                        shard_of_run = (
                            None
                            if share is None
                            else share.described(digest, run.correct, run.place, counted_first)
                        )
                        return run.profile(name, shard_of_run)
                if settled is None:
                    return count_singles(
                        model, run, first, batches, reset, predict, name,
                        always=watch == "every", counted=lambda number: steps.done(units=number),
                    )  # fmt: skip
                frame = settled
            raise unsettled()

    measured = undone(partial(counted, frame), random_state())
    return measured if fold_batch_norm else measured.folding(False)


def counted_batch(
    frame: Frame, batch: Batch, reset: Callable[[nn.Module], object] | None
) -> Passes:
    """One batch, counted: has its profile, and the frame that it was counted in.

    Args:
        frame: As it is declared.
        batch: The batch.
        reset: Called with the model before it; None resets all that is known.

    Raises:
        AnalyzerError: As :func:`profile` does.
    """
    model = frame.model

    def counted() -> Passes:
        with alone(model):
            shown: Frame | None = frame
            for _ in range(MOST_ATTEMPTS):
                assert shown is not None
                with preserved(model) as guard:
                    run = Passes(shown, reset, None, guard, always=True)
                    shown = run.first(batch)
                    if shown is None:
                        return run
            raise unsettled()

    return undone(counted, random_state())


def warn_of_training(model: nn.Module) -> None:
    """Warns where a model is not as at inference; whoever called the caller is named."""
    if in_training(model):
        warnings.warn(
            "the model is in training mode, so batch norm and dropout act as in training: call "
            "model.eval() first to profile inference.",
            AnalyzerWarning,
            stacklevel=3,
        )


def _warn_of_random_numbers() -> None:
    warnings.warn(
        "the model draws random numbers, and shards draw others than one run of all batches does: "
        "their sums are as good as that run's, and not equal to them.",
        AnalyzerWarning,
        stacklevel=3,
    )


_FUNCTIONS = MappingProxyType(
    {
        "forward": "such as forward=lambda model, batch: model(batch[0])",
        "predict": "such as predict=lambda output: output.argmax(1)",
        "reset": "such as reset=lambda model: model.reset()",
    }
)
