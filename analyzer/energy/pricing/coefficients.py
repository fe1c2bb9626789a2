"""What prices are multiplied with: the counts behind each energy, for every reading of the facts.

Under one convention and one rule of what moves, an energy is a sum of counts times prices, and each
count is a constant plus a part that grows with the spikes. :func:`coefficients` computes both parts
of each count, so that whoever holds them needs to multiply and add alone to price a profile anew.
The counts come from the functions that :func:`analyzer.energy.pricing.price.price` calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyzer.energy.declared.convention import Convention, convention, is_layer, read
from analyzer.energy.declared.memory import CHOICES, MemoryModel
from analyzer.energy.pricing.elementwise import Elementwise, work_of
from analyzer.energy.pricing.rows import at_activity, knows_neurons, split, updates
from analyzer.energy.pricing.traffic import Moves, Work
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts

__all__ = ["RULES", "Coefficients", "Count", "Reading", "coefficients"]

RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        setting: tuple(rule for rule in rules if rule != "none")
        for setting, rules in CHOICES.items()
        if "none" in rules
    }
)
"""Settings of a memory model that choose a rule, and the rules of each that charge something."""


class Count(NamedTuple):
    """How often something happens in each row, over all samples, at any activity.

    At an activity of ``s`` it is ``still + s * spikes``; at 1 it is what was measured.

    Attributes:
        still: What does not depend on how often neurons fire.
        spikes: What grows with it.
    """

    still: NDArray[np.float64]
    spikes: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reading:
    """A profile read by one convention.

    Attributes:
        counts: By name: ``ac`` and ``mac``; and for each of :data:`RULES` what it counts, such as
            ``weight_reads.event``, ``input_reads.once.spikes`` and ``.others``,
            ``neurons.leak.adds``. Where the convention prices element-wise work, also
            ``elementwise.adds``, ``.multiplies`` and ``.specials``, without neurons with state, and
            ``elementwise.neurons.adds`` and so on of these alone. None where the profile does not
            say.
        reasons: Why each row is read as it is.
        driven: Whether spikes drive each row.
    """

    counts: Mapping[str, Count | None]
    reasons: tuple[str, ...]
    driven: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """All counts of a profile that a price may be multiplied with.

    Attributes:
        rows: The facts, over all samples: products, then neurons with state, then, where a
            convention prices it, other element-wise work.
        readings: By convention; where one can not read the profile, the sentence that says why.
        held: Items that the memory of each row holds, where prices depend on its size: ``weights``
            with no biases and with those of each rule (``weights.output``), ``activations`` and
            ``state``.
        knows_neurons: Whether all neurons are known, which rules of state and neurons need.
        charged: Rows that a price without element-wise work may charge: products and neurons with
            state. The others follow.
    """

    rows: pd.DataFrame
    readings: Mapping[str, Reading | str]
    held: Mapping[str, NDArray[np.float64]]
    knows_neurons: bool
    charged: int

    def pj_per_bit(self, model: MemoryModel, level: str, held: str, bits: int) -> Any:
        """Picojoules per bit of a level of a memory model whose price depends on its size.

        Args:
            model: The memory model.
            level: A level of it.
            held: A key of :attr:`held`, or ``queue``.
            bits: Width of an item.
        """
        queue = np.full(len(self.rows), float(model.queue_items))
        items = queue if held == "queue" else np.nan_to_num(self.held[held])
        return model.levels[level].price(items * bits / 8)


def coefficients(profiles: Sequence[Facts], conventions: Iterable[str]) -> tuple[Coefficients, ...]:
    """Counts the rows of profiles under several conventions and every rule of what moves.

    All profiles are read at once, which for many of them is many times as fast as one by one.

    Raises:
        AnalyzerError: Where a profile holds no sample.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> (found,) = coefficients([snn], ["rate"])
        >>> counts = found.readings["rate"].counts
        >>> counts["ac"].spikes.tolist(), counts["mac"].still.tolist()
        ([200.0, 0.0], [0.0, 100.0])
    """
    for profile in profiles:
        if not profile.samples:
            raise AnalyzerError(
                f"profile {profile.name!r} holds no sample: there is nothing to price."
            )
    parts = [split(profile.rows) for profile in profiles]
    products = [rows.assign(profile=at) for at, (rows, _) in enumerate(parts)]
    chosen = {name: convention(name) for name in conventions}
    priced = any(each.elementwise == "priced" for each in chosen.values())
    neurons = [
        updates(others, elementwise=priced).assign(profile=at)
        for at, (_, others) in enumerate(parts)
    ]
    readings: list[dict[str, Reading | str]] = [{} for _ in profiles]
    together = _joined(products)
    sizes, owners = _held(together, _joined(neurons))
    for name, reading in chosen.items():
        elementwise = reading.elementwise == "priced"
        for several, rows in _read(together, products, profiles, name, reading, readings):
            whole = _joined([rows, *(neurons[at] for at in several)])
            owner = whole["profile"].to_numpy()
            found = _counts(whole, at_activity(whole, 0), activations=not elementwise)
            if elementwise:
                found |= dict(_elementwise(whole))
            reasons, driven = whole["reason"].to_numpy(), whole["is_driven"].to_numpy(bool)
            for at in several:
                mine = owner == at
                counts = {key: _part(count, mine) for key, count in found.items()}
                readings[at][name] = Reading(
                    MappingProxyType(counts), tuple(reasons[mine]), driven[mine]
                )
    made = []
    for at, (profile, (_, others)) in enumerate(zip(profiles, parts, strict=True)):
        facts = _joined([products[at], neurons[at]]).drop(columns="profile")
        facts = facts.assign(is_layer=is_layer(facts))
        held = {key: items[owners == at] for key, items in sizes.items()}
        known = knows_neurons(profile, others)
        charged = len(products[at]) + int((others["state_elements"] > 0).sum())
        made.append(Coefficients(facts, readings[at], held, known, charged))
    return tuple(made)


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True)


def _read(
    together: pd.DataFrame,
    products: Sequence[pd.DataFrame],
    profiles: Sequence[Facts],
    name: str,
    reading: Convention,
    readings: list[dict[str, Reading | str]],
) -> Iterator[tuple[list[int], pd.DataFrame]]:
    """The profiles that a convention reads together, with their rows; notes why not the others."""
    try:
        yield list(range(len(profiles))), read(together, reading, "")
        return
    except AnalyzerError:  # of some profile: each alone
        pass
    for at, profile in enumerate(profiles):
        try:
            rows = read(products[at], reading, profile.name)
        except AnalyzerError as error:
            readings[at][name] = str(error)
            continue
        yield [at], rows


def _part(count: Count, mine: NDArray[np.bool_]) -> Count | None:
    """The rows of one profile; None where something in them is not known."""
    still, spikes = count.still[mine], count.spikes[mine]
    return None if np.isnan(still + spikes).any() else Count(still, spikes)


def _counts(rows: pd.DataFrame, silent: pd.DataFrame, *, activations: bool) -> dict[str, Count]:
    """Each count by name, from the rows as they are and as they would be without a spike."""
    found = {}
    for column in ("ac", "mac"):
        now, still = (r[column].to_numpy("float64", na_value=np.nan) for r in (rows, silent))
        found[column] = Count(still, now - still)
    here, there = (dict(_moved(Moves(each), activations)) for each in (rows, silent))
    return found | {name: Count(there[name], now - there[name]) for name, now in here.items()}


def _moved(moves: Moves, activations: bool) -> Iterator[tuple[str, Any]]:
    for rule in RULES["weight_reads"]:
        yield f"weight_reads.{rule}", moves.weights(rule)
    for rule in RULES["bias_reads"]:
        yield f"bias_reads.{rule}", moves.biases(rule)
    for setting, count in (("input_reads", moves.inputs), ("output_writes", moves.outputs)):
        for rule in RULES[setting]:
            spikes, others = count(rule)
            yield f"{setting}.{rule}.spikes", spikes
            yield f"{setting}.{rule}.others", others
    for rule in RULES["state"]:
        update, event = moves.states(rule)
        yield f"state.{rule}", update + event
    neurons = partial(moves.neurons, activations=activations)
    for setting, work in (("addressing", moves.addressing), ("neurons", neurons)):
        for rule in RULES[setting]:
            for part, count in zip(Work._fields, work(rule), strict=True):
                yield f"{setting}.{rule}.{part}", count


def _elementwise(rows: pd.DataFrame) -> Iterator[tuple[str, Count]]:
    others, all_ = work_of(rows, neurons=False), work_of(rows, neurons=True)
    for part, count, whole in zip(Elementwise._fields, others, all_, strict=True):
        yield f"elementwise.{part}", Count(count, 0 * count)
        yield f"elementwise.neurons.{part}", Count(whole - count, 0 * count)


def _held(
    products: pd.DataFrame, neurons: pd.DataFrame
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """What the memory of each row holds, and the position of the profile that the row is of.

    Memories are as large whichever convention reads the rows, so none does here: one that leaves a
    row out would take its biases away.
    """
    unread = products.assign(omitted=False, is_driven=False, spikes_each=1.0)
    rows = _joined([unread, neurons])
    moves = Moves(rows)
    weights = {f"weights.{rule}": moves.words(moves.biases(rule)) for rule in RULES["bias_reads"]}
    held = {
        "weights": moves.words(moves.biases("none")),
        **weights,
        "activations": moves.activations_held(),
        "state": moves.states_held(),
    }
    return held, rows["profile"].to_numpy()
