"""One sample a pass: what ``analyzer.profile(per_sample=True)`` does with each batch.

A sample that runs alone is counted by the same code as a batch, so its figures are exact for every
operation, and those of all samples add up to the totals. Reading a batch sample by sample instead
would take an axis of samples in every operand, which neither merged axes nor products of a whole
batch have.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.facts.records import Contraction, SiteKey, merge
from analyzer.facts.reservoir import Reservoir
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.layouts import SAMPLES_FIRST
from analyzer.measure.frame.samples import Samples
from analyzer.measure.frame.splitting import single_samples
from analyzer.measure.session.passes import Passes
from analyzer.measure.session.settling import MOST_ATTEMPTS, unsettled
from analyzer.measure.tensors.held import Guard
from analyzer.measure.tensors.restore import preserved
from analyzer.profiles import Profile

__all__ = ["check_separable", "count_singles"]

_NOTICED = 1e-3
"""Share of events by which a batch and its samples alone may differ before a warning. Rounding
that tips a neuron over its threshold changes few; a statistic over the batch changes most."""


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_separable(model: nn.Module) -> None:
    """Refuses a model whose result for a sample is known to depend on the rest of its batch.

    Raises:
        AnalyzerError: Names a batch norm that uses the statistics of the batch.
    """
    for path, module in model.named_modules():
        if not isinstance(module, _BATCH_NORMS):
            continue
        if module.training or module.running_mean is None:
            do = "keep running statistics" if module.running_mean is None else "call model.eval()"
            raise AnalyzerError(
                f"per_sample=True runs each sample alone, and batch norm {path!r} takes the mean "
                f"of the batch, so alone a sample gives another result: {do} first."
            )


def count_singles(
    model: nn.Module,
    whole: Passes,
    first: Batch,
    batches: Iterable[Batch],
    reset: Callable[[nn.Module], object] | None,
    predict: Callable[[Any], Any] | None,
    name: str | None,
    *,
    always: bool,
    counted: Callable[[int], object],
) -> Profile:
    """The profile of batches that are counted sample by sample.

    Args:
        model: The model, as it was found.
        whole: Has counted the first batch as it was given, so it knows the frame.
        first: The first batch.
        batches: All others.
        reset: As of :class:`.Passes`.
        predict: As of :class:`.Passes`.
        name: How tables call the profile.
        always: Whether every pass is watched in full.
        counted: Called after each batch with how many samples it had.

    Raises:
        AnalyzerError: Where a batch can not be cut into its samples, or these alone run other
            operations.
    """
    alone: Frame | None = None
    for _ in range(MOST_ATTEMPTS):
        with preserved(model) as guard:
            run = _Singles(whole, guard, reset, predict, alone, always=always)
            alone = run.add(first)
            if alone is None:
                counted(run.samples)
                for batch in batches:
                    before = run.samples
                    run.add(batch)
                    counted(run.samples - before)
                return run.profile(name)
    raise unsettled()


class _Singles:
    """Counts batches sample by sample.

    Args:
        whole: Has counted the first batch as it was given, so it knows the frame.
        guard: Copies what is about to be overwritten.
        reset: As of :class:`.Passes`.
        predict: As of :class:`.Passes`.
        alone: The frame of a sample alone, None where it is taken to be that of the batch.
        always: Whether every pass is watched in full.

    Attributes:
        samples: Samples counted so far.
    """

    def __init__(
        self,
        whole: Passes,
        guard: Guard,
        reset: Callable[[nn.Module], object] | None,
        predict: Callable[[Any], Any] | None,
        alone: Frame | None,
        *,
        always: bool,
    ) -> None:
        self._whole = whole
        self._alone = alone
        self._guard = guard
        self._settings = (reset, predict, guard)
        self._always = always
        self._reservoir = Reservoir()
        self._digest = hashlib.blake2b(digest_size=16)
        self._run: Passes | None = None
        self._batches = 0
        self._first_difference = 0.0

    @property
    def samples(self) -> int:
        """How many were counted so far."""
        return 0 if self._run is None else self._run.samples

    def add(self, batch: Batch) -> Frame | None:
        """Counts the samples of a batch.

        Returns:
            None; or, where the first sample shows another frame than the batch, that frame, in
            which all is to be counted anew.

        Raises:
            AnalyzerError: Where the batch can not be cut into its samples.
        """
        frame, batch = self._whole.opened(batch, self._batches, self._guard)
        assert frame.samples is not None
        count = frame.samples_of(batch, self._batches)
        if not count:
            self._batches += 1
            return None
        order = frame.order == SAMPLES_FIRST
        cut = single_samples(batch, frame.samples, count, samples_first=order, number=self._batches)
        for single in cut:
            _digest(single.tensors, self._digest)
            place = self._reservoir.next()
            if self._run is None:
                one = replace(frame, samples=_one(frame.samples), declared_samples=1)
                alone = self._alone or one
                self._run = Passes(alone, *self._settings, always=self._always, apart=True)
                settled = self._run.first(single)
                if settled is not None:
                    return settled
            else:
                self._run.forward(single)
            if place is not None:
                self._reservoir.keep(place, *self._run.last)
        if not self._batches and count > 1:
            self._compare()
        self._batches += 1
        return None

    def profile(self, name: str | None) -> Profile:
        """All that was counted, with what single samples did."""
        assert self._run is not None
        found = self._run.profile(name)
        seen = self._whole.about_batches
        metadata = {**found.metadata, **seen, "alone": {"differs": self._first_difference}}
        sampled = self._reservoir.sampled(
            self._digest.hexdigest(), found.contractions, found.tallies
        )
        return replace(found, metadata=metadata, sampled=sampled)

    def _compare(self) -> None:
        """Holds the first batch against its samples alone."""
        assert self._run is not None
        together = _by_key(self._whole.contractions)
        alone = _by_key(self._run.contractions)
        for key in (*together, *alone):
            a, b = together.get(key), alone.get(key)
            if a is None or b is None or a.dense_macs != b.dense_macs:
                raise AnalyzerError(
                    f"per_sample=True runs each sample alone, and then {key[0] or 'the model'!r} "
                    f"does not the same {key[1]} as in the first batch: leave per_sample=True out, "
                    "or give batches of one sample."
                )
        differ = total = 0
        for key, a in together.items():
            b = alone[key]
            for x, y in ((a.lhs, b.lhs), (a.rhs, b.rhs)):
                if not x.parameter:
                    differ += abs(x.nonzeros - y.nonzeros)
                    total += x.nonzeros
        self._first_difference = differ / max(total, 1)
        if self._first_difference > _NOTICED:
            warnings.warn(
                f"run alone, the samples of the first batch have {self._first_difference:.1%} "
                "other non-zeros than together: the model draws random numbers, or its result for "
                "a sample depends on the others of its batch. The figures are those of samples "
                "alone.",
                AnalyzerWarning,
                stacklevel=4,
            )


def _by_key(sites: Iterable[Contraction]) -> Mapping[SiteKey, Contraction]:
    return {site.key: site for site in merge(sites)}


def _one(place: Samples) -> Samples:
    """A sample of its own, wherever it was read."""
    return Samples(place.source, place.assumed, declared=1)


def _digest(tensors: Iterable[Tensor], into: Any) -> None:
    """Adds one sample to what tells data apart: the numbers of all tensors, and their shapes."""
    for x in tensors:
        into.update(f"{x.dtype}{tuple(x.shape)}".encode())
        dense = x if x.layout is torch.strided else x.to_dense()
        flat = dense.detach().reshape(-1).contiguous().cpu()
        into.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
