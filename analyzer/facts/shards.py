"""Which batches of a run a profile holds, where several workers or jobs share them out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts.codec import record
from analyzer.facts.correct import Correct

__all__ = ["KEY", "Shard", "check_whole", "digest_of", "refuse_other_data", "share_of"]

_NAMED = 8
"""How many missing shards an error names."""

KEY = "shard"
"""Where the metadata of a profile keep it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The batches that one of several profiles of a run holds.

    Attributes:
        index: Which of the shards it is, from 1.
        of: How many there are.
        start: Its first batch, from 0.
        stop: The batch after its last one.
        batches: How many batches the whole run has.
        first_batch: A digest of the first batch of the whole run, which tells data apart.
        correct: Samples that were classified correctly.
        place: Tensor, axis and merged timesteps where samples are read; empty where they were
            declared, None where no batch has told which of several places it is.
        first_counted: A digest of what the model did in that first batch, which tells models apart
            whose weights are equal. Empty in files of early versions, and where the model draws
            random numbers.
    """

    index: int
    of: int
    start: int
    stop: int
    batches: int
    first_batch: str
    correct: Correct
    place: tuple[int, ...] | None = None
    first_counted: str = ""

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any], where: str) -> Shard:
        """The shard that the metadata of a profile describe.

        Raises:
            AnalyzerError: Where the profile is no shard.
        """
        if KEY not in metadata:
            raise AnalyzerError(
                f"{where} is no shard of a run: measure it with --shard I/N, or shard=(i, n); "
                "whole profiles of disjoint data add up with +."
            )
        try:
            found: Shard = record(cls, metadata[KEY], KEY)
        except ValueError as error:
            raise AnalyzerError(f"{where} is damaged: metadata.{error}.") from None
        if not (1 <= found.index <= found.of and 0 <= found.start <= found.stop <= found.batches):
            raise AnalyzerError(f"{where} is damaged: it is {found}, which can not be.")
        return found

    def as_metadata(self) -> dict[str, Any]:
        """The same as the metadata of a profile keep it."""
        kept = asdict(self)
        kept["place"] = None if self.place is None else list(self.place)
        return kept

    def __str__(self) -> str:
        return f"shard {self.index} of {self.of}, batches {self.start} to {self.stop}"


def share_of(index: int, of: int, batches: int) -> tuple[int, int]:
    """The batches of one of several shards: its first, and the one after its last.

    Shards follow one another, so that the first seen comes first in their sum too. They differ by
    one batch at most, and where there are fewer batches than shards some are empty.
    """
    return (index - 1) * batches // of, index * batches // of


def digest_of(facts: Iterable[Any]) -> str:
    """A digest of records, without the figures in them that rounding may change."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(repr(asdict(fact, dict_factory=_without_floats)).encode())
    return digest.hexdigest()[:16]


def _without_floats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if not isinstance(value, float)}


def refuse_other_data(mine: Shard, theirs: Shard, one: str, other: str) -> None:
    """Refuses a shard of other batches; errors call the two ``one`` and ``other``."""
    _refuse_unequal(one, other, "with as many batches", mine.batches, theirs.batches)
    _refuse_unequal(one, other, "on the same data", mine.first_batch, theirs.first_batch)


def _refuse_unequal(one: str, other: str, what: str, mine: object, theirs: object) -> None:
    if mine != theirs:
        raise AnalyzerError(
            f"{one} and {other} are not of one run {what} ({mine} and {theirs}): merge "
            "shards of one run only."
        )


def check_whole(shards: Sequence[tuple[Shard, str]]) -> list[int]:
    """Checks that shards are one whole run.

    Args:
        shards: In any order, each with what errors call it.

    Returns:
        Their positions, in the order of their batches.

    Raises:
        AnalyzerError: Where they are of several runs, or one of them is missing or there twice.
    """
    if not shards:
        raise AnalyzerError("there is no profile to merge: name the shards.")
    first, where = shards[0]
    for shard, other in shards:
        _refuse_unequal(where, other, "in as many shards", first.of, shard.of)
        refuse_other_data(first, shard, where, other)
    seen: dict[int, str] = {}
    for shard, other in shards:
        if shard.index in seen:
            raise AnalyzerError(
                f"shard {shard.index} of {shard.of} is given twice, as {seen[shard.index]} and "
                f"{other}: name it once."
            )
        seen[shard.index] = other
    missing = first.of - len(seen)
    if missing:
        one = missing == 1
        absent = (str(index) for index in range(1, first.of + 1) if index not in seen)
        named = list(islice(absent, _NAMED))
        which = ", ".join(named) + (f" and {missing - _NAMED} more" if missing > _NAMED else "")
        raise AnalyzerError(
            f"shard{'' if one else 's'} {which} of {first.of} {'is' if one else 'are'} "
            f"missing: measure {'it' if one else 'them'} with --shard, and name "
            f"{'it' if one else 'them'} too."
        )
    order = sorted(range(len(shards)), key=lambda at: shards[at][0].index)
    for at in order:
        shard, other = shards[at]
        if (shard.start, shard.stop) != share_of(shard.index, shard.of, shard.batches):
            raise AnalyzerError(f"{other} is damaged: it is {shard}, which is not its share.")
    return order
