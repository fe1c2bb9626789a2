"""``analyzer.merge``: the shards of one run into the profile that one worker would have made.

Facts are sums, and the classes of values join, so the order in which shards are given does not
matter. They are added up in the order of their batches, one after another: that gives a file its
order too, and takes the memory of one profile however many there are.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts import file, identity
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, GroupCount, Shape, SiteKey, Tally, accumulate_all
from analyzer.facts.sent import Sent
from analyzer.facts.shards import KEY, Shard, check_whole, refuse_other_data
from analyzer.profiles import Profile, load

__all__ = ["merge", "merged_in_order", "refuse_other_run"]

_SAME = (
    *(key for key in identity.IDENTITY if key != "input_shape"),
    "name", "data", "split", "seed", "weights", "scaled",
)  # fmt: skip
"""Metadata that all shards of a run share. The shape of the input is that of its last batch."""

_OWN = frozenset({KEY, "input_shape", "passes", "unknown_neurons", "frame", "accuracy"})
"""Metadata that are neither equal nor joined as those of two runs are."""


def merge(profiles: Iterable[Profile | str | Path], *, anyway: bool = False) -> Profile:
    """Makes one profile of all shards of a run: the one that a single run of all batches gives.

    Args:
        profiles: The shards, in any order, as :func:`analyzer.profile` made them with ``shard=``
            or the command line with ``--shard``: profiles or files. Files are read one after
            another, so that a thousand of them take no more memory than one.
        anyway: Whether shards are merged whose first batch did not count alike, as where they were
            measured on machines that round in other ways, so that a neuron fires on one alone.

    Returns:
        The profile. It is no shard any more; neither what it holds nor the file that it is saved as
        tells how the batches were shared out.

    Raises:
        AnalyzerError: Where shards are missing, given twice, or of different runs.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Linear(6, 3).eval()
        >>> batches = list(torch.eye(6).split(2))
        >>> parts = [analyzer.profile(model, batches, shard=(i, 2)) for i in (2, 1)]
        >>> [part.samples for part in parts]
        [4, 2]
        >>> whole = analyzer.merge(parts)
        >>> whole.samples, whole.to_bytes() == analyzer.profile(model, batches).to_bytes()
        (6, True)
    """
    given: Sequence[Profile | str | Path] = list(profiles)
    found = []
    for profile in given:
        if isinstance(profile, Profile):
            where, metadata = f"profile {profile.name!r}", profile.metadata
        else:
            where, metadata = str(profile), file.read_metadata(profile)
        found.append((Shard.of_metadata(metadata, where), where))
    ordered = (given[at] for at in check_whole(found))
    return merged_in_order(
        (p if isinstance(p, Profile) else load(p) for p in ordered), anyway=anyway
    )


def merged_in_order(shards: Iterable[Profile], *, anyway: bool = False) -> Profile:
    """The sum of shards that follow one another."""
    total: _Sum | None = None
    with _no_collection():
        for shard in shards:
            if total is None:
                total = _Sum(shard, anyway=anyway)
            else:
                total.add(shard)
    if total is None:
        raise AnalyzerError("there is no profile to merge: name the shards.")
    return total.profile()


def refuse_other_run(
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    one: str,
    other: str,
    *,
    anyway: bool = False,
) -> None:
    """Refuses a shard of another run, by metadata; errors call the two ``one`` and ``other``."""
    key = next((key for key in _SAME if mine.get(key) != theirs.get(key)), None)
    if key is not None:
        raise AnalyzerError(
            f"{one} and {other} are of different runs: {key} is {mine.get(key)!r} "
            f"in the one and {theirs.get(key)!r} in the other; merge shards of one run only."
        )
    a, b = Shard.of_metadata(mine, one), Shard.of_metadata(theirs, other)
    refuse_other_data(a, b, one, other)
    # Devices of two kinds round in other ways, so that now and then a neuron fires on one only.
    alike = _kinds(mine.get("device")) == _kinds(theirs.get("device"))
    counted = {a.first_counted, b.first_counted} - {""}
    if alike and len(counted) > 1 and not anyway:
        raise AnalyzerError(
            f"{one} and {other} are of different runs: the model did not do the same in the first "
            "batch of all, so its settings or buffers differ, or their machines round in other "
            "ways; measure all on one kind of machine, or merge shards with --anyway."
        )


def _kinds(device: Any) -> set[str]:
    """Kinds of the devices that metadata name, one or several, without their numbers."""
    return {str(d).partition(":")[0] for d in (device if isinstance(device, list) else [device])}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python looks for no cycles of objects: profiles have none, and looking takes a tenth."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class _Sum:
    """The sum of shards so far."""

    def __init__(self, first: Profile, *, anyway: bool) -> None:
        self._anyway = anyway
        self._where = Shard.of_metadata(first.metadata, f"profile {first.name!r}")
        self._first = first.metadata
        self._end = 0
        self._follow(self._where)
        self._metadata = dict(first.metadata)
        self._samples = first.samples
        self._correct = self._where.correct
        self._place = self._where.place
        self._layers = first.layers
        self._contractions: dict[SiteKey, Contraction] = {}
        self._tallies: dict[SiteKey, Tally] = {}
        self._uncounted: dict[SiteKey, Tally] = {}
        self._groups: dict[SiteKey, GroupCount] = {}
        self._shapes: dict[SiteKey, Shape] = {}
        self._sent: dict[SiteKey, Sent] | None = {}
        self._add_facts(first)

    def add(self, shard: Profile) -> None:
        """Adds the shard with the next batches."""
        described = Shard.of_metadata(shard.metadata, f"profile {shard.name!r}")
        refuse_other_run(
            self._first, shard.metadata, str(self._where), str(described), anyway=self._anyway
        )
        self._follow(described)
        self._join(self._metadata, shard.metadata, described, holds=shard.samples > 0)
        self._samples += shard.samples
        self._correct += described.correct
        self._layers = _filled(self._layers, shard.layers)
        self._add_facts(shard)

    def profile(self) -> Profile:
        """All of them as one profile, which is no shard.

        Raises:
            AnalyzerError: Where the last batches are missing.
        """
        if self._end != self._where.batches:
            raise AnalyzerError(
                f"the shards end at batch {self._end} of {self._where.batches}: give all shards "
                "of the run."
            )
        metadata: dict[str, Any] = {}
        for key, value in self._metadata.items():
            if key not in (KEY, "accuracy"):
                metadata[key] = value
            if key == "frame" and self._correct.why:
                metadata["accuracy"] = self._correct.why
        return Profile(
            samples=self._samples,
            metadata=metadata,
            contractions=tuple(self._contractions.values()),
            tallies=tuple(self._tallies.values()),
            uncounted=tuple(self._uncounted.values()),
            groups=tuple(self._groups.values()),
            correct=self._correct.number,
            shapes=tuple(self._shapes.values()),
            sent=None if self._sent is None else tuple(self._sent.values()),
            layers=self._layers,
        )

    def _follow(self, shard: Shard) -> None:
        """Refuses a shard that does not begin where the sum so far ends."""
        if shard.of != self._where.of or shard.start != self._end:
            raise AnalyzerError(
                f"{shard} is not the next one, which begins with batch {self._end}: give each "
                "shard of one run once, in the order of its batches."
            )
        self._end = shard.stop

    def _join(
        self, mine: dict[str, Any], theirs: Mapping[str, Any], shard: Shard, *, holds: bool
    ) -> None:
        """Joins metadata as one run of all batches would have them."""
        others = {key: value for key, value in theirs.items() if key not in _OWN}
        kept = {key: value for key, value in mine.items() if key not in _OWN}
        if _kinds(others.get("device")) <= _kinds(kept.get("device")):
            others["device"] = kept.get("device")  # one run names one device of several
        mine.update(identity.joined(kept, others))
        if holds:
            mine["input_shape"] = theirs.get("input_shape")
        mine["passes"] = _counts(mine.get("passes"), theirs.get("passes"))
        neurons = [*(mine.get("unknown_neurons") or ()), *(theirs.get("unknown_neurons") or ())]
        mine["unknown_neurons"] = list(dict.fromkeys(neurons))
        if None not in (self._place, shard.place) and self._place != shard.place and holds:
            raise AnalyzerError(
                f"the shards before {shard} read samples at another place than it does: name the "
                'axes of the input, such as layouts={"": "T B C H W"}, or give samples=.'
            )
        if self._place is None and shard.place is not None and holds:
            self._place, mine["frame"] = shard.place, theirs.get("frame")

    def _add_facts(self, shard: Profile) -> None:
        accumulate_all(self._contractions, shard.contractions)
        accumulate_all(self._tallies, shard.tallies)
        accumulate_all(self._uncounted, shard.uncounted)
        accumulate_all(self._groups, shard.groups)
        accumulate_all(self._shapes, shard.shapes)
        if self._sent is None or shard.sent is None:
            self._sent = None
        else:
            accumulate_all(self._sent, shard.sent)


def _filled(
    mine: tuple[Layer, ...] | None, theirs: tuple[Layer, ...] | None
) -> tuple[Layer, ...] | None:
    """Modules with the shapes that they were first seen with."""
    if mine is None or theirs is None or len(mine) != len(theirs):
        return mine
    return tuple(
        replace(a, input=b.input, output=b.output) if a.input is None and a.output is None else a
        for a, b in zip(mine, theirs, strict=True)
    )


def _counts(mine: Any, theirs: Any) -> Any:
    """How many passes there were of each kind, in both."""
    if not isinstance(mine, Mapping) or not isinstance(theirs, Mapping):
        return mine
    others = {key: value for key, value in theirs.items() if isinstance(value, int)}
    return {
        key: value + others.get(key, 0) if isinstance(value, int) else value
        for key, value in mine.items()
    }
