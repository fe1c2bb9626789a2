"""Where the prices of an energy come from: each constant that it uses, with range and source."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.cards.sections import Section
from analyzer.energy.declared.technology import Figure
from analyzer.energy.pricing.precision import price_name
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.specs import split

__all__ = ["confidence", "level_price", "memory_rules", "prices_used"]


def confidence(letter: str) -> str:
    """What a letter of confidence says of a source."""
    meaning = {
        "A": "read in the source itself",
        "B": "copies of the source agree",
        "C": "one copy of the source alone",
    }
    return f"{letter}: {meaning[letter]}"


def prices_used(priced: EnergyReport, spec: str) -> Section:
    """The constants behind an energy, those of a technology that it does not use left out."""
    technology = priced.technology
    used = list(_used(priced))
    above = ["", *(figure.source for figure in used)]
    rows = [
        (
            f"{figure.section.removesuffix('_pj')}, {figure.key}",
            f"{figure.value:g} {figure.unit}",
            "one value" if figure.low == figure.high else f"{figure.low:g} to {figure.high:g}",
            figure.confidence,
            "as above" if figure.source == before else figure.source,
        )
        for figure, before in zip(used, above, strict=False)
    ]
    costs = ", ".join(f"{price_name(k)} {v:.6g} pJ" for k, v in priced.constants.items())
    doubts = [
        f"Range of {figure.section.removesuffix('_pj')}, {figure.key}: {figure.note}."
        for figure in used
        if figure.note
    ]
    letters = sorted({row[3] for row in rows})
    notes = (
        f"From these, in {priced.precision}: {costs}.",
        *_by_hand(spec),
        *doubts,
        f"Confidence {'; '.join(map(confidence, letters))}." if letters else "",
    )
    return Section(
        f"Prices: {technology.title}",
        ("Constant", "Value", "Range", "Confidence", "Source"),
        tuple(rows),
        (0.16, 0.18, 0.12, 0.11, 0.36),
        "lllll",
        tuple(note for note in notes if note),
    )


def _by_hand(spec: str) -> list[str]:
    """That constants in brackets are of whoever priced, and not of the source that is named."""
    _, settings = split(spec)
    return [f"Set for this card, and not by the source: {settings}."] if settings else []


def _used(priced: EnergyReport) -> Iterator[Figure]:
    """The constants of the technology that the prices use, then those of the memory model."""
    memory = priced.memory
    known = {figure.key for figure in priced.technology.figures if figure.section == "add_pj"}
    # Levels of the model's own are among its figures.
    in_memory = memory.levels_in_use - memory.levels.keys() if memory is not None else frozenset()
    for figure in priced.technology.figures:
        section, key = figure.section, figure.key
        if section in ("add_pj", "multiply_pj"):
            # Widths of integers lie between those that are known, which all count then.
            used = key == priced.precision if priced.precision in known else key.startswith("int")
        elif section == "neuron_pj":
            used = memory is not None and memory.neurons == "dynamics"
        else:
            used = key in in_memory or section in ("synop_pj", "operation_pj")
        if used:
            yield figure
    if memory is not None:
        yield from memory.figures


def level_price(priced: EnergyReport, name: str) -> str:
    """What an access to a memory costs, in words; a dash where it is none that is known."""
    if priced.memory is None:
        return "–"
    try:
        level = priced.memory.level(name, priced.technology)
    except AnalyzerError:
        return "–"
    if level.pj_per_bit is not None:
        return f"{level.pj_per_bit:g} pJ a bit"
    low, high = min(level.word_pj), max(level.word_pj)
    return f"{low:g} to {high:g} pJ a {level.word_bits}-bit access, by size"


def memory_rules(priced: EnergyReport, spec: str) -> list[Section]:
    """The rules of the memory model; nothing where arithmetic alone is priced."""
    memory = priced.memory
    if memory is None:
        return []
    rows = (
        ("Name", f"{memory.name}: {memory.title}"),
        ("Settings", memory.settings or "none"),
        ("Rules", memory.summary),
        ("Source", memory.source),
        ("Confidence", confidence(memory.confidence)),
    )
    return [Section("Memory model: what moves", ("Memory model", "Text"), rows,
                    notes=tuple(_by_hand(spec)))]  # fmt: skip
