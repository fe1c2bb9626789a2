"""A change of some facts of a profile, and how records look after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from analyzer.facts.records import Contraction, LeftWork, Operand, SiteKey, Tally
from analyzer.facts.values import Values
from analyzer.profiles import Profile

__all__ = ["Change", "as_spikes", "fewer", "followed", "narrower", "once"]


@dataclass(frozen=True)
class Change:
    """One piece of advice, before it is priced.

    Attributes:
        kind: ``sums as spikes``, ``membrane shortcut``, ``cache``, ``silent channels``, ``silent
            neurons`` or ``norm``.
        module: The layer that it is about.
        op: Its operation.
        advice: What to do and why, in words.
        assumption: What is taken for granted; empty where all follows from the facts.
        sites: From call sites to what they would be, or None where they would not run.
        tallies: From records of other work to what they would be.
    """

    kind: str
    module: str
    op: str
    advice: str
    assumption: str
    sites: Mapping[SiteKey, Contraction | None]
    tallies: Mapping[SiteKey, Tally] = field(default_factory=dict)


def followed(profile: Profile, changes: Iterable[Change]) -> Profile:
    """The profile after some changes; of two changes of one call site the later counts."""
    new: dict[SiteKey, Contraction | None] = {}
    others: dict[SiteKey, Tally] = {}
    for change in changes:
        new.update(change.sites)
        others.update(change.tallies)
    sites = (new.get(site.key, site) for site in profile.contractions)
    return replace(
        profile,
        contractions=tuple(site for site in sites if site is not None),
        tallies=tuple(others.get(tally.key, tally) for tally in profile.tallies),
    )


def as_spikes(site: Contraction, *, nonzeros: int, events: int, left: int | None) -> Contraction:
    """A layer as if its activation were spikes of one size, in {0, 1} or {-1, 0, 1}.

    Args:
        site: The layer.
        nonzeros: How many spikes it would read.
        events: Products that they would take part in.
        left: Those whose weight is not zero, None where that is not known.
    """
    (read,) = site.activations
    values = read.values
    step = values.step or 1.0
    signs = (min(max(values.low, -1), 0), 1 if values.real else max(min(values.high, 1), 0))
    spikes = Operand(
        False,
        Values(step, *signs, epsilon=values.epsilon),
        read.elements,
        nonzeros,
        events,
        events,
    )
    lhs, rhs = (spikes if side is read else side for side in (site.lhs, site.rhs))
    rest = None
    if site.left is not None and left is not None:
        rest = LeftWork(site.left.dense_macs, left, left)
    return replace(
        site, lhs=lhs, rhs=rhs, pair_events=events, pair_levels=events, left=rest, parts=None,
        step_nonzeros=None, step_elements=None,
    )  # fmt: skip


def once(site: Contraction) -> Contraction | None:
    """A call site that does the same in each timestep, if it did it only once.

    Returns:
        The record of one timestep; None where the call is one that repeats an earlier call.
    """
    steps = site.steps
    if steps <= 1:
        return None
    if site.parts is not None:
        return replace(site.parts[0], step=None, parts=None)
    sides = [
        side
        if side.parameter
        else replace(side, elements=side.elements // steps, nonzeros=side.nonzeros // steps)
        for side in (site.lhs, site.rhs)
    ]
    lhs, rhs = (replace(s, events=s.events // steps, levels=s.levels // steps) for s in sides)
    left = site.left
    if left is not None:
        left = LeftWork(left.dense_macs // steps, left.events // steps, left.levels // steps)
    return replace(
        site,
        dense_macs=site.dense_macs // steps,
        lhs=lhs,
        rhs=rhs,
        pair_events=site.pair_events // steps,
        pair_levels=site.pair_levels // steps,
        step_elements=None,
        step_nonzeros=None,
        repeats=False,
        outputs=None if site.outputs is None else site.outputs // steps,
        passes=None if site.passes is None else site.passes // steps,
        left=left,
    )


def narrower(site: Contraction, dropped: int) -> Contraction | None:
    """A layer without some of its output channels; None where none is left.

    Each non-zero that it reads meets as many weights of one output channel as of another.
    """
    assert site.layer is not None
    before = site.layer.channels
    after = before - dropped
    if not after:
        return None

    def of(figure: int) -> int:
        return figure * after // before

    def side(operand: Operand) -> Operand:
        fewer = replace(operand, events=of(operand.events), levels=of(operand.levels))
        if not operand.parameter:
            return fewer
        return replace(fewer, elements=of(operand.elements), nonzeros=of(operand.nonzeros))

    left = site.left
    if left is not None:
        left = LeftWork(of(left.dense_macs), of(left.events), of(left.levels))
    return replace(
        site,
        dense_macs=of(site.dense_macs),
        lhs=side(site.lhs),
        rhs=side(site.rhs),
        pair_events=of(site.pair_events),
        pair_levels=of(site.pair_levels),
        outputs=None if site.outputs is None else of(site.outputs),
        layer=replace(site.layer, channels=after, fan_out=of(site.layer.fan_out)),
        left=left,
        parts=site.parts and _all_of(narrower(part, dropped) for part in site.parts),
    )


def _all_of(parts: Iterable[Contraction | None]) -> tuple[Contraction, ...]:
    return tuple(part for part in parts if part is not None)


def fewer(tally: Tally, dropped: int, neurons: int) -> Tally:
    """The updates of a layer without some of its neurons, which all take the same."""

    def of(figure: int) -> int:
        return figure * (neurons - dropped) // neurons

    return replace(
        tally,
        output_elements=of(tally.output_elements),
        adds=of(tally.adds),
        multiplies=of(tally.multiplies),
        compares=of(tally.compares),
        specials=of(tally.specials),
        state_elements=None if tally.state_elements is None else of(tally.state_elements),
        state_size=None if tally.state_size is None else of(tally.state_size),
    )
