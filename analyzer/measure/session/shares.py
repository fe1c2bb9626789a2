"""A share of some batches: those of one worker or job among several, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from analyzer.errors import AnalyzerError, whole_of
from analyzer.facts.correct import Correct
from analyzer.facts.shards import Shard, share_of
from analyzer.measure.frame.inputs import Batch, length
from analyzer.measure.tensors.randomness import random_numbers_of_python

__all__ = ["Share", "drawn_so_far"]


@dataclass(frozen=True)
class Share:
    """The batches that are counted here, of all that a run has.

    Attributes:
        inputs: All batches.
        index: Which of the shares it is, from 1.
        of: How many there are.
        batches: How many batches there are in all.
        start: The first batch of the share.
        stop: The batch after its last.
    """

    inputs: Any
    index: int
    of: int
    batches: int
    start: int
    stop: int

    @classmethod
    def declared(cls, shard: Any, inputs: Any, *, whole: bool) -> Share:
        """The share that a caller asks for.

        Args:
            shard: Which of how many, ``(i, n)`` with i from 1 to n.
            inputs: The batches.
            whole: Whether the inputs are no batches but one.

        Raises:
            AnalyzerError: Where there is no such share, or the batches can not be shared out.
        """
        numbers = [whole_of(x) for x in shard] if isinstance(shard, (tuple, list)) else []
        index, of = numbers if len(numbers) == 2 else (None, None)
        if index is None or of is None or not 1 <= index <= of:
            raise AnalyzerError(f"shard must be (i, n) with i from 1 to n, not {shard!r}.")
        if whole:
            raise AnalyzerError(
                "shards share out batches, and inputs are one batch: give several, such as a "
                "DataLoader or list(x.split(32))."
            )
        number = length(inputs)
        if number is None:
            raise AnalyzerError(
                f"shards need to know how many batches there are, and {type(inputs).__name__} has "
                "no length: give a list or a DataLoader of a dataset with a length."
            )
        if isinstance(getattr(inputs, "sampler", None), RandomSampler):
            raise AnalyzerError(
                "a loader that shuffles gives each worker the batches in another order, so shards "
                "would overlap: give DataLoader(..., shuffle=False)."
            )
        return cls(inputs, index, of, number, *share_of(index, of, number))

    @property
    def first(self) -> Iterable[Any]:
        """The first batch of all, which settles what samples and timesteps are."""
        return _part(self.inputs, 0, 1)

    @property
    def own(self) -> Iterator[Any]:
        """The batches of the share.

        Raises:
            AnalyzerError: Where there are not as many as their length says.
        """
        last = self.stop == self.batches
        found = 0
        for batch in _part(self.inputs, self.start, None if last else self.stop):
            found += 1
            yield batch
        if found != self.stop - self.start:
            raise AnalyzerError(
                f"inputs say that they are {self.batches} batches, and batches {self.start} to "
                f"{self.stop} are {found}: give a loader whose length is right."
            )

    def described(
        self, first: str, correct: Correct, place: tuple[int, ...] | None, counted: str
    ) -> Shard:
        """What the profile says of it."""
        return Shard(
            self.index, self.of, self.start, self.stop, self.batches, first, correct, place, counted
        )

    @staticmethod
    def digest(batch: Batch) -> str:
        """Tells batches apart by the tensors that they hold, targets included."""
        digest = hashlib.sha256()
        for x in (*batch.tensors, batch.target):
            if not isinstance(x, Tensor):
                continue
            digest.update(f"{x.dtype} {tuple(x.shape)}".encode())
            try:
                values = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
                plain = values.detach().cpu().reshape(-1).contiguous().view(torch.uint8)
                digest.update(plain.numpy().tobytes())
            except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantised, wrapped
                continue
        return digest.hexdigest()[:16]


def _part(inputs: Any, start: int, stop: int | None) -> Iterable[Any]:
    """Some batches of all, without reading the others where that can be."""
    if isinstance(inputs, DataLoader) and _reads_in_order(inputs):
        groups = list(islice(iter(inputs.batch_sampler or ()), start, stop))
        return DataLoader(
            inputs.dataset,
            batch_sampler=groups,
            collate_fn=inputs.collate_fn,
            num_workers=inputs.num_workers,
            pin_memory=inputs.pin_memory,
            timeout=inputs.timeout,
            worker_init_fn=inputs.worker_init_fn,
            multiprocessing_context=inputs.multiprocessing_context,
            generator=inputs.generator,
            prefetch_factor=inputs.prefetch_factor,
        )
    if isinstance(inputs, Sequence):
        return inputs[start:stop]
    return islice(iter(inputs), start, stop)


def _reads_in_order(loader: DataLoader[Any]) -> bool:
    """Whether a loader goes through a dataset in its order, and does no more than that."""
    batches = loader.batch_sampler
    usual = type(loader).__iter__ is DataLoader.__iter__
    plain = type(batches) is BatchSampler and type(batches.sampler) is SequentialSampler
    return usual and plain


def drawn_so_far() -> tuple[Any, ...]:
    """Tells whether random numbers were drawn between two calls, by whatever generator."""
    gpu = bytes(torch.cuda.get_rng_state().tolist()) if torch.cuda.is_initialized() else b""
    return random_numbers_of_python(), bytes(torch.get_rng_state().tolist()), gpu
