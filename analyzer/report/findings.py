"""Writes the sentences of a report page: its summary, and its warnings about the figures."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.energy.precision import price_name
from analyzer.entries import Entry, clean, shown
from analyzer.plot.canvas import missing_glyphs
from analyzer.units import format_ratio, format_share

__all__ = ["summary", "warnings"]


def summary(entries: Sequence[Entry]) -> str:
    """The first paragraph of a page: which model is cheapest, by what factor, and the prices."""
    order = sorted(entries, key=lambda entry: entry.priced.total_pj)
    best, worst = order[0], order[-1]
    priced = best.priced
    sentences = []
    if len(order) == 1:
        sentences.append(f"One inference of {best.name} takes {_energy(best)}.")
    elif best.priced.total_pj == worst.priced.total_pj:
        sentences.append(f"All {len(order)} models take the same energy, {_energy(best)} a sample.")
    else:
        sentences.append(
            f"Of {len(order)} models {best.name} is the cheapest with {_energy(best)} per sample"
            + (f"; {_factors(order)}." if best.priced.total_pj else ".")
        )
    if best.mac_share is None:
        sentences.append(f"No operation of {best.name} was charged.")
    else:
        share = format_share(best.mac_share)
        text = f"Multiply-accumulates make up {share} of the energy of {best.name}"
        if worst is not best and worst.mac_share is not None:
            text += f" and {format_share(worst.mac_share)} of that of {worst.name}"
        sentences.append(f"{text}.")
    prices = ", ".join(f"{v:g} pJ per {price_name(k)}" for k, v in priced.constants.items())
    memory = priced.memory
    moves = "memory accesses are not part of it"
    if memory is not None:
        moves = f"what moves is priced by “{memory.name}” ({memory.settings})"
    sentences.append(
        f"Priced in {priced.precision} for {priced.technology.title} ({prices}) under the "
        f"convention “{priced.convention.name}”; {moves}."
    )
    return " ".join(sentences)


def warnings(entries: Sequence[Entry]) -> list[str]:
    """What limits the figures, one sentence each; empty if nothing does."""
    found = [sentence for entry in entries for sentence in _warnings_of(entry)]
    data = {
        shown(entry.profile.metadata.get("data")).replace("–", "not recorded") for entry in entries
    }
    if len(data) > 1:
        found.append(f"The models were measured on different data ({'; '.join(sorted(data))}).")
    return found


def _warnings_of(entry: Entry) -> list[str]:
    profile, name = entry.profile, entry.name
    found = entry.notes
    data = profile.metadata.get("data")
    if data == "random" or (isinstance(data, (list, tuple)) and "random" in data):
        found.append(
            f"{name}: measured on random data, so its activity says nothing about real inputs."
        )
    if profile.samples == 1:
        found.append(f"{name}: measured on one sample only, so its activity may be far off.")
    activity = profile.sparsity("module")
    silent = activity[(activity["elements"] > 0) & (activity["nonzeros"] == 0)]["module"]
    if len(silent):
        modules = _listed([clean(module) or "(model)" for module in silent])
        verb = "reads" if len(silent) == 1 else "read"
        found.append(
            f"{name}: {_plural(len(silent), 'layer')} {verb} nothing but zeros ({modules})."
        )
    if missing_glyphs(name):
        found.append(
            f"{name}: the PDF and PNG figures have no letters for {missing_glyphs(name)}; this "
            "page and the SVG figures show them."
        )
    return found


def _factors(order: Sequence[Entry]) -> str:
    best, second, worst = order[0], order[1], order[-1]
    text = f"{second.name} takes {_against(second, best)} as much"
    if worst is not second:
        text += f", {worst.name}, the most expensive, {_against(worst, best)}"
    return text


def _against(entry: Entry, other: Entry) -> str:
    ratio = format_ratio(entry.priced.total_pj / other.priced.total_pj)
    return f"{ratio.removesuffix('×')} times"


def _energy(entry: Entry) -> str:
    return entry.priced.total_text


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(items: Sequence[str], most: int = 4) -> str:
    text = ", ".join(items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"
