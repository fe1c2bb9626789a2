"""Writes the sentences of a report page: its summary, and its warnings about the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from analyzer.energy.pricing.precision import price_name
from analyzer.entries import Entry, clean, shown
from analyzer.facts.sent import listed, plural
from analyzer.plot.canvas import missing_glyphs
from analyzer.units import format_ratio, format_share

__all__ = ["SENTENCES", "fixed", "shared", "summary", "warnings"]


SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "alone": "One inference of {best} takes {energy}.",
        "same": "All {number} models take the same energy, {energy} a sample.",
        "cheapest": "Of {number} models {best} is the cheapest with {energy} per sample",
        "second": "; {second} takes {factor} times as much",
        "dearest": ", {worst}, the most expensive, {factor} times",
        "uncharged": "No operation of {best} was charged.",
        "share": "Multiply-accumulates make up {share} of the energy of {best}",
        "other_share": " and {share} of that of {worst}",
        "priced": "Priced in {precision} for {technology} ({prices}) under the convention "
        "“{convention}”; {moves}.",
        "price": "{value} pJ per {operation}",
        "still": "memory accesses are not part of it",
        "moved": "what moves is priced by “{memory}” ({settings})",
    }
)
"""Parts of the summary, which the page fills anew when prices change."""


def summary(entries: Sequence[Entry]) -> str:
    """The first paragraph of a page: which model is cheapest, by what factor, and the prices."""
    order = sorted(entries, key=lambda entry: entry.priced.total_pj)
    best, worst = order[0], order[-1]
    priced, number, energy = best.priced, len(order), best.priced.total_text
    if number == 1:
        text = _say("alone", best=best.name, energy=energy)
    elif priced.total_pj == worst.priced.total_pj:
        text = _say("same", number=number, energy=energy)
    else:
        text = _say("cheapest", number=number, best=best.name, energy=energy)
        text += (_factors(order) if priced.total_pj else "") + "."
    if best.mac_share is None:
        text += " " + _say("uncharged", best=best.name)
    else:
        text += " " + _say("share", share=format_share(best.mac_share), best=best.name)
        if worst is not best and worst.mac_share is not None:
            share = format_share(worst.mac_share)
            text += _say("other_share", share=share, worst=worst.name)
        text += "."
    prices = ", ".join(
        _say("price", value=f"{v:g}", operation=price_name(k)) for k, v in priced.constants.items()
    )
    moves = _say("still")
    if priced.memory is not None:
        moves = _say("moved", memory=priced.memory.name, settings=priced.memory.settings)
    basis = _say(
        "priced",
        precision=priced.precision,
        technology=priced.technology.title,
        prices=prices,
        convention=priced.convention.name,
        moves=moves,
    )
    return f"{text} {basis}"


def _say(key: str, **filled: object) -> str:
    return SENTENCES[key].format(**filled)


def warnings(entries: Sequence[Entry]) -> list[str]:
    """What limits the figures, one sentence each; empty if nothing does."""
    found = [sentence for entry in entries for sentence in (*entry.notes, *fixed(entry))]
    return [*dict.fromkeys(found), *shared(entries)]


def shared(entries: Sequence[Entry]) -> list[str]:
    """What limits the figures of all models together."""
    data = {
        shown(entry.profile.metadata.get("data")).replace("–", "not recorded") for entry in entries
    }
    if len(data) <= 1:
        return []
    return [f"The models were measured on different data ({'; '.join(sorted(data))})."]


def fixed(entry: Entry) -> list[str]:
    """What limits the figures of a model whatever they are priced with, beside its notes."""
    profile, name = entry.profile, entry.name
    found = []
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
        modules = listed([clean(module) for module in silent])
        verb = "reads" if len(silent) == 1 else "read"
        found.append(
            f"{name}: {plural(len(silent), 'layer')} {verb} nothing but zeros ({modules})."
        )
    if missing_glyphs(name):
        found.append(
            f"{name}: the PDF and PNG figures have no letters for {missing_glyphs(name)}; this "
            "page and the SVG figures show them."
        )
    return found


def _factors(order: Sequence[Entry]) -> str:
    best, second, worst = order[0], order[1], order[-1]
    text = _say("second", second=second.name, factor=_against(second, best))
    if worst is not second:
        text += _say("dearest", worst=worst.name, factor=_against(worst, best))
    return text


def _against(entry: Entry, other: Entry) -> str:
    return format_ratio(entry.priced.total_pj / other.priced.total_pj).removesuffix("×")
