"""Keeps what single samples did while data streams by, in bounded memory.

Of more samples than fit, a uniform choice is kept (algorithm R of Vitter, 1985). Moments would not
do: the variance of an energy takes the products of all pairs of rows, as prices are not known yet,
and neither a bootstrap nor a paired test can be made of them. The choice depends on the number of
samples alone, so that two models measured on the same data keep the same samples.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analyzer.facts.records import Contraction, SiteKey, Tally, merge
from analyzer.facts.sampled import SITE_FIGURES, TALLY_FIGURES, Sampled, packed
from analyzer.facts.values import Values

__all__ = ["LARGEST", "Reservoir", "joined"]

LARGEST = 1024
"""Samples that are kept at most. The error of a mean does not depend on it: all samples are in the
totals. Only its estimate does, and is then good to about 2 % (1 / sqrt(2 · 1024))."""

_SEED = 20240229
"""Of the choice of samples; any number would do, as long as it stays."""

_Slot = tuple[str, SiteKey, int | None]
_SITE = len(SITE_FIGURES) + 2  # and the values of both operands
_TALLY = len(TALLY_FIGURES)


class Reservoir:
    """What some samples of a stream did."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._seen = 0
        self._kept: list[tuple[int, bytes]] = []
        self._places: dict[_Slot, int] = {}
        self._length = 0
        self._values: dict[Values, int] = {}

    def next(self) -> int | None:
        """Where the next sample of the stream is kept; None where it is not."""
        number, self._seen = self._seen, self._seen + 1
        place = number if number < LARGEST else int(self._random.integers(number + 1))
        return place if place < LARGEST else None

    def keep(self, place: int, sites: Iterable[Contraction], tallies: Iterable[Tally]) -> None:
        """Keeps the sample that :meth:`next` was asked for last."""
        found: dict[int, tuple[int, ...]] = {}
        for site in sites:
            for step, part in ((None, site), *enumerate(site.parts or ())):
                at = self._place(("site", site.key, step), _SITE)
                found[at] = (*_figures(part), self._number(part.lhs.values),
                             self._number(part.rhs.values))  # fmt: skip
        for tally in merge(tallies):
            at = self._place(("tally", tally.key, None), _TALLY)
            found[at] = tuple(getattr(tally, name) or 0 for name in TALLY_FIGURES)
        row = np.zeros(self._length, np.int64)
        for at, figures in found.items():
            row[at : at + len(figures)] = figures
        entry = (self._seen - 1, zlib.compress(row.tobytes(), 1))
        if place == len(self._kept):
            self._kept.append(entry)
        else:
            self._kept[place] = entry

    def sampled(
        self, digest: str, contractions: Sequence[Contraction], tallies: Sequence[Tally]
    ) -> Sampled:
        """All that was kept, as the totals over all samples read it."""
        entries = sorted(self._kept)
        values = list(self._values)
        wanted = [(record, step, total) for record, total in enumerate(contractions)
                  for step in _steps_of(total)]  # fmt: skip
        slots = [("site", total.key, step) for _, step, total in wanted]
        slots += [("tally", tally.key, None) for tally in tallies]
        rows = [np.frombuffer(zlib.decompress(content), np.int64) for _, content in entries]

        def column(slot: _Slot, width: int) -> NDArray[np.int64]:
            start = self._places.get(slot, self._length)
            found = np.zeros((len(rows), width), np.int64)
            for at, row in enumerate(rows):
                if start < len(row):
                    found[at] = row[start : start + width]
            return found

        def sites() -> Iterator[tuple[int, int | None, NDArray[np.int64]]]:
            for record, step, total in wanted:
                whole = total if step is None else (total.parts or ())[step]
                seen = column(("site", total.key, step), _SITE)
                yield record, step, _in_steps_of(whole, seen, values)

        works = (
            (record, column(("tally", tally.key, None), _TALLY))
            for record, tally in enumerate(tallies)
        )
        return packed([number for number, _ in entries], digest, sites(), works)

    def _place(self, slot: _Slot, width: int) -> int:
        if slot not in self._places:
            self._places[slot] = self._length
            self._length += width
        return self._places[slot]

    def _number(self, values: Values) -> int:
        return self._values.setdefault(values, len(self._values))


def joined(
    first: Sampled,
    second: Sampled,
    records: tuple[Sequence[Contraction], Sequence[Contraction], Sequence[Contraction]],
    works: tuple[Sequence[Tally], Sequence[Tally], Sequence[Tally]],
) -> Sampled | None:
    """What the samples of two profiles did, as the sum of both profiles reads it.

    Args:
        first: Of the one, with all of its samples.
        second: Of the other, likewise; they follow.
        records: Contractions of the one, of the other, and of the sum.
        works: Their tallies.

    Returns:
        Those of both; None where the sum tells the timesteps of a site apart and one of the two
        did not.
    """
    one, other, total = records
    sites = []
    of_one, of_other = _by_key(first, one), _by_key(second, other)
    for record, whole in enumerate(total):
        for step in _steps_of(whole):
            target = whole if step is None else (whole.parts or ())[step]
            halves = []
            for known, size in ((of_one, len(first)), (of_other, len(second))):
                found = known.get((whole.key, step))
                if found is None and (whole.key, None) in known:
                    return None
                if found is None:
                    halves.append(np.zeros((size, len(SITE_FIGURES)), np.int64))
                    continue
                part, figures = found
                ids = np.tile(np.array([0, 1], np.int64), (size, 1))
                seen = np.concatenate([figures, ids], axis=1)
                halves.append(_in_steps_of(target, seen, [part.lhs.values, part.rhs.values]))
            sites.append((record, step, np.concatenate(halves)))
    tallies = []
    for record, tally in enumerate(works[2]):
        halves = []
        for sampled, own in ((first, works[0]), (second, works[1])):
            by_key = {own[line.record].key: line for line in sampled.tallies}
            line = by_key.get(tally.key)
            nothing = np.zeros((len(sampled), _TALLY), np.int64)
            halves.append(nothing if line is None else sampled.figures(line))
        tallies.append((record, np.concatenate(halves)))
    digest = hashlib.blake2b(f"{first.digest} {second.digest}".encode(), digest_size=16)
    return packed(range(len(first) + len(second)), digest.hexdigest(), sites, tallies)


def _by_key(
    sampled: Sampled, records: Sequence[Contraction]
) -> dict[tuple[SiteKey, int | None], tuple[Contraction, NDArray[np.int64]]]:
    found = {}
    for line in sampled.sites:
        whole = records[line.record]
        part = whole if line.step is None else (whole.parts or ())[line.step]
        found[whole.key, line.step] = part, sampled.figures(line)
    return found


def _steps_of(total: Contraction) -> tuple[int | None, ...]:
    """What of a site is kept: the whole, and its timesteps where they are read apart."""
    apart = total.classed is total.parts
    return (None, *range(len(total.parts or ()))) if apart else (None,)


def _figures(site: Contraction) -> tuple[int, ...]:
    """:data:`SITE_FIGURES` of what one sample did."""
    left = site.left_work
    of_weights = (0, 0, 0) if left is None else (left.dense_macs, left.events, left.levels)
    lhs, rhs = site.lhs, site.rhs
    return (
        site.calls, site.dense_macs, lhs.elements, lhs.nonzeros, lhs.events, lhs.levels,
        rhs.elements, rhs.nonzeros, rhs.events, rhs.levels, site.pair_events, site.pair_levels,
        site.outputs or 0, site.passes or 0, *of_weights,
    )  # fmt: skip


_OF_LHS = tuple(map(SITE_FIGURES.index, ("lhs_levels", "pair_levels", "left_levels")))
_OF_RHS = tuple(map(SITE_FIGURES.index, ("rhs_levels", "pair_levels")))


def _in_steps_of(
    total: Contraction, seen: NDArray[np.int64], values: Sequence[Values]
) -> NDArray[np.int64]:
    """Figures of samples with their levels in the step of the total.

    A sample may hold 0 and 2 where another holds 0, 1 and 2: then its level 1 is level 2 of both.

    Args:
        total: The sum over all samples.
        seen: Figures of samples, and the numbers of the values of both operands in ``values``.
        values: What samples held.
    """
    figures = seen[:, :-2].copy()
    for operand, at, levels in ((total.lhs, -2, _OF_LHS), (total.rhs, -1, _OF_RHS)):
        numbers, where = np.unique(seen[:, at], return_inverse=True)
        if operand.values.real:
            factors = np.zeros(len(numbers), np.int64)
        else:
            each = [operand.values.join(values[number])[2] for number in numbers]
            factors = np.array(each, np.int64)
        for level in levels:
            figures[:, level] *= factors[where.reshape(-1)]
    return figures
