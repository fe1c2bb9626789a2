"""The boundary of an energy: what is charged, with its figure, and what is not, with the reason.

Both lists are read from the convention, the technology and the memory model that priced the
profile, so they hold for those of a user's own as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analyzer.cards.prices import level_price
from analyzer.cards.sections import Section
from analyzer.energy.declared.memory import OFTEN, MemoryModel
from analyzer.energy.pricing.precision import price_name
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.pricing.rows import split
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.entries import Entry
from analyzer.facts.sent import listed
from analyzer.facts.table import ELEMENTWISE
from analyzer.profiles import Profile
from analyzer.units import exactly, format_energy_pj, format_share, format_si, of_counts

__all__ = ["charged", "uncharged"]


def charged(priced: EnergyReport) -> Section:
    """All parts of an energy: how each is counted, how often, its price, its energy and share."""
    total = priced.total_pj
    found = priced.components
    rows = [
        (part, rule, count, price, f"{format_energy_pj(pj)} ({exactly(pj)} pJ)",
         format_share(pj / total if total else None))
        for part, rule, count, price, pj in _parts(priced, found)
    ]  # fmt: skip
    whole = f"{priced.total_text} ({exactly(total)} pJ)"
    rows.append(("Total", "", "", "", whole, format_share(1.0 if total else None)))
    technology = priced.technology
    note = (
        f"What a price holds, as {technology.name} says: {technology.includes}."
        if technology.includes
        else f"{technology.name} does not say what its prices hold."
    )
    return Section(
        "What is charged",
        ("Part", "Rule", "Count", "Price", "Energy", "Share"),
        tuple(rows),
        (0.13, 0.27, 0.16, 0.14, 0.16, 0.08),
        "lllllr",
        notes=(note,),
    )


def _parts(
    priced: EnergyReport, found: dict[str, float]
) -> Iterator[tuple[str, str, str, str, float]]:
    """Name, rule, count, price and picojoules of what is charged."""
    table, memory, convention = priced.table, priced.memory, priced.convention
    yield (
        "AC",
        f"accumulates, as {convention.name} counts them",
        of_counts(float(table["ac"].sum())),
        f"{priced.constants['ac_pj']:.6g} pJ",
        found["ac_pj"],
    )
    if not priced.unpriced_macs and (priced.technology.multiplies or table["mac"].any()):
        prices = [
            f"{v:.6g} pJ" if k == "mac_pj" else f"{price_name(k)} {v:.6g} pJ"
            for k, v in priced.constants.items()
            if k != "ac_pj"
        ]
        rule = f"multiply-accumulates, as {convention.name} counts them"
        if memory is not None and memory.multiplies == "bit-serial":
            rule += "; each is an accumulate for every set bit of an activation"
        count = of_counts(float(table["mac"].sum()))
        yield "MAC", rule, count, ", ".join(prices) or "–", found["mac_pj"]
    if "elementwise_pj" in found:
        special = f"{convention.special_multiplies:g} multiplications a special function"
        beside = "" if memory is None or memory.neurons == "none" else ", but for neurons"
        rule = (
            f"additions, compares and multiplications of all that is no product{beside}; {special}"
        )
        yield "Element-wise", rule, "–", "that of AC and MAC", found["elementwise_pj"]
    if memory is None:
        return
    for column, (rule, price) in _moves(priced, memory).items():
        name = COMPONENTS[column]
        yield name[0].upper() + name[1:], rule, "–", price, found[column]


def _moves(priced: EnergyReport, memory: MemoryModel) -> dict[str, tuple[str, str]]:
    """Rule and price of each part that a memory model charges, by its column."""
    arithmetic = "that of AC and MAC"
    found: dict[str, tuple[str, str]] = {}
    if memory.neurons != "none":
        rule = {
            "leak": "a bias for each output, a reset for each spike, a leak for each update",
            "compare": "the compares of each update, and a subtract for each spike",
            "dynamics": "all additions, multiplications and compares of each update",
        }[memory.neurons]
        update = priced.technology.sections.get("neuron_pj")
        whole = update and memory.neurons == "dynamics"
        price = f"{next(iter(update.values())):g} pJ an update" if update and whole else arithmetic
        found["neurons_pj"] = ("each update of a neuron" if whole else rule, price)
    if memory.weight_reads != "none" or memory.bias_reads != "none":
        parts = []
        if memory.weight_reads != "none":
            parts.append(f"{memory.weight_bits}-bit weights, {OFTEN[memory.weight_reads]}")
        if memory.bias_reads != "none":
            of = "each output" if memory.bias_reads == "output" else "each output with a bias"
            parts.append(f"a bias for {of}")
        found["weights_pj"] = _at(priced, parts, memory.weight_level)
    if memory.input_reads != "none" or memory.output_writes != "none":
        spikes = f" and {memory.spike_bits}-bit spikes" if memory.spike_bits else ""
        if spikes and memory.spike_level:
            spikes += f" ({memory.spike_level}: {level_price(priced, memory.spike_level)})"
        parts = [f"{memory.activation_bits}-bit activations{spikes}"]
        if memory.hops != 1:
            parts.append(f"over {memory.hops:g} hops")
        if memory.input_reads != "none":
            again = ", of dense convolutions in each window" * (memory.input_reads == "window")
            parts.append(f"read once{again}")
        if memory.output_writes != "none":
            parts.append("written once")
        found["activations_pj"] = _at(priced, parts, memory.activation_level)
    if memory.state != "none":
        also = " and at each event that reaches it" * (memory.state == "event")
        rule = f"{memory.state_bits}-bit state read and written at each update{also}"
        found["state_pj"] = _at(priced, [rule], memory.state_level)
    if memory.addressing != "none":
        found["addressing_pj"] = ("positions computed from events", arithmetic)
    return {column: found[column] for column in COMPONENTS if column in found}


def _at(priced: EnergyReport, parts: list[str], level: str) -> tuple[str, str]:
    return f"{', '.join(parts)}, in {level}", level_price(priced, level)


def uncharged(entry: Entry) -> Section:
    """What takes energy in a machine and is no part of the figure, each with the reason."""
    priced, profile = entry.priced, entry.profile
    rows = (
        *_left_out(priced),
        *_beyond_rules(priced),
        *_unmoved(priced, profile),
        *_elementwise(priced, profile),
        *_beyond_operations(priced),
    )
    return Section("What is not charged", ("Part", "Why"), rows)


def _left_out(priced: EnergyReport) -> Iterator[tuple[str, str]]:
    """Products that were counted and cost nothing."""
    table, convention = priced.table, priced.convention
    if priced.unpriced_macs:
        yield (
            "Multiply-accumulates",
            f"{of_counts(priced.unpriced_macs)} of them: {priced.technology.name} has no price of "
            "one, so the energy is a lower bound.",
        )
    omitted = table[table["reason"].str.contains("left out", regex=False)]
    for reason, rows in omitted.groupby("reason", sort=True):
        what = str(reason).partition(":")[0]
        dense = format_si(float(rows["dense_macs"].sum()))
        yield (
            what[0].upper() + what[1:],
            f"Convention {convention.name} leaves it out: {dense} products if nothing is skipped.",
        )
    if convention.skip_zero_weights:
        yield "Products with a zero weight", f"Convention {convention.name} skips them."


def _beyond_rules(priced: EnergyReport) -> Iterator[tuple[str, str]]:
    if priced.uncovered:
        yield (
            "Operations without a rule",
            f"{listed(priced.uncovered)}: what they compute is not known, so the energy is a lower "
            "bound.",
        )
    if priced.unknown_neurons:
        yield (
            "Neurons of no known kind",
            f"Those in {listed(priced.unknown_neurons)}: their state and updates are not known, so "
            "the energy is a lower bound.",
        )


def _unmoved(priced: EnergyReport, profile: Profile) -> Iterator[tuple[str, str]]:
    """What memory models may charge and this one does not."""
    memory = priced.memory
    neurons = _work(_others(profile, neurons=True), profile)
    priced_here = priced.convention.elementwise == "priced"
    if memory is None:
        why = "No memory model was given, so arithmetic alone is priced."
        yield "Moves of weights, biases, activations, spikes and neuron state; addressing", why
        if not priced_here:
            yield "Updates of neurons", f"{why}{neurons}"
        return
    parts = {
        "weight_reads": "Reads of weights",
        "bias_reads": "Reads of biases",
        "input_reads": "Reads of activations and spikes",
        "output_writes": "Writes of activations and spikes",
        "state": "Moves of neuron state",
        "addressing": "Addressing: positions from events",
        "neurons": "Updates of neurons",
    }
    for setting, part in parts.items():
        if setting == "neurons" and priced_here:
            continue
        if getattr(memory, setting) == "none":
            why = f"Memory model {memory.name} has {setting}=none."
            yield part, why + neurons * (setting == "neurons")
    if not memory.spike_bits and "activation" in memory.moves:
        yield "Moves of spikes", f"Memory model {memory.name} has spike_bits=0: they move for free."
    if memory.levels_in_use:
        yield (
            "Moves between memories",
            f"Accesses to {', '.join(sorted(memory.levels_in_use))} are charged, and no filling of "
            "one memory from another.",
        )


def _elementwise(priced: EnergyReport, profile: Profile) -> Iterator[tuple[str, str]]:
    """Batch norm, residual sums, pooling, softmax and the like."""
    if profile.shapes:
        yield "Element-wise work", "Not known: the profile holds products alone."
        return
    rows = _others(profile, neurons=False)
    worked = rows[
        rows[list(ELEMENTWISE)].drop(columns="output_elements", errors="ignore").any(axis=1)
    ]
    if len(worked) and priced.convention.elementwise == "none":
        ops = worked.groupby("op", sort=True)["output_elements"].sum()
        named = ops.sort_values(ascending=False, kind="stable").index.tolist()
        yield (
            "Element-wise work",
            f"Counted and not priced, such as {listed(named)}.{_work(rows, profile)}",
        )
    if profile.folds_batch_norm and any(t.folds and t.output_elements for t in profile.tallies):
        yield (
            "Batch norm behind a layer with weights",
            "It folds into the weights, so it takes nothing.",
        )


def _others(profile: Profile, *, neurons: bool) -> pd.DataFrame:
    """The rows that are no products: those of neurons with a known state, or all others."""
    _, others = split(profile.rows)
    with_state = others["state_elements"].fillna(0) > 0
    return others[with_state if neurons else ~with_state]


def _work(rows: pd.DataFrame, profile: Profile) -> str:
    """The element-wise work of some rows per inference, as a sentence; empty without any."""
    words = {
        "adds": "additions",
        "multiplies": "multiplications",
        "compares": "compares",
        "specials": "others, such as exp and div",
    }
    sums = {word: float(rows[column].sum()) / profile.samples for column, word in words.items()}
    parts = [f"{format_si(number)} {word}" for word, number in sums.items() if number]
    return f" Per inference it is {', '.join(parts)}." if parts else ""


def _beyond_operations(priced: EnergyReport) -> Iterator[tuple[str, str]]:
    """What an energy made of operations times prices can't hold."""
    technology, memory = priced.technology, priced.memory
    one = (
        "an addition or a multiplication"
        if technology.add_pj
        else "an operation"
        if technology.multiplies
        else "a synaptic operation"
    )
    beyond = f"beyond what {technology.name} includes in the price of {one}"
    yield "Static power", f"No term grows with time: no leakage and no idle time {beyond}."
    hops = memory is not None and (memory.hops != 1 or bool(memory.spike_level))
    network = "" if hops else " or network on chip"
    yield "Control", f"No instructions, clocks, schedules{network} {beyond}."
    yield "Host", "Loading and preparing data, coding them outside of the model, reading results."
    reads = memory is not None and memory.input_reads != "none"
    yield (
        "Input from off chip",
        f"The first layer reads its input from {memory.activation_level}, as all layers do; "
        "bringing it there is not charged."
        if memory is not None and reads
        else "Bringing the input to where the first layer reads it is not charged.",
    )
    yield "Training", "The figure is of one inference."
