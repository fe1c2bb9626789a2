"""What a card says, as sections of rows, before it is Markdown, LaTeX or HTML."""

from __future__ import annotations

import gzip
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from analyzer.cards.boundary import charged, uncharged
from analyzer.cards.interval import accuracy_interval, energy_interval
from analyzer.cards.prices import confidence, memory_rules, prices_used
from analyzer.cards.sections import Card, Section
from analyzer.entries import Entry, clean, shown
from analyzer.facts.sent import listed
from analyzer.profiles import Profile
from analyzer.report.folder import argument, options_of, stem_in
from analyzer.units import exactly, format_share, format_si, of_counts

__all__ = ["card_of"]

_DATA = (
    ("Data", "data"),
    ("Part of the data", "split"),
    ("Shape of one input", "input_shape"),
    ("Timesteps", "timesteps"),
    ("Number format of the run", "dtype"),
    ("Device", "device"),
    ("Seed", "seed"),
)
"""Rows of the data: label and key of the metadata."""


def card_of(
    entry: Entry, path: str, asked: Mapping[str, Any], own: Mapping[str, bytes], version: str
) -> Card:
    """The card of a priced profile."""
    priced = entry.priced
    samples = f"{priced.samples} sample{'s' * (priced.samples != 1)}"
    lead = (
        f"One inference of {entry.name} takes {priced.total_text}, mean over {samples}: "
        f"{priced.basis}."
    )
    sections = (
        _result(entry),
        charged(priced),
        uncharged(entry),
        _convention(entry),
        prices_used(priced, str(asked["technology"])),
        *memory_rules(priced, str(asked["memory"])),
        _data(entry.profile),
        _coverage(entry),
        _identity(entry.profile, path, own, version),
        _again(entry.profile, path, asked),
    )
    cleaned = tuple(section.cleaned() for section in sections)
    return Card(entry.name, stem_in(path), clean(lead), cleaned)


def _result(entry: Entry) -> Section:
    priced, profile = entry.priced, entry.profile
    dense = float(priced.table["dense_macs"].sum())
    ratio = priced.spikes_per_synapse
    rows = [
        ("Energy of one inference", f"{priced.total_text} ({exactly(priced.total_pj)} pJ)"),
        ("95 % interval of the energy", energy_interval(profile, priced)),
        ("Accumulates (AC)", of_counts(float(priced.table["ac"].sum()))),
        ("Multiply-accumulates (MAC)", of_counts(float(priced.table["mac"].sum()))),
        ("Products if nothing is skipped", of_counts(dense)),
        ("Spikes per synapse", _spikes_per_synapse(ratio)),
        ("Accuracy", _accuracy(profile)),
        ("95 % interval of the accuracy", accuracy_interval(profile)),
        ("Parameters", "not known" if profile.parameters is None else f"{profile.parameters:,}"),
    ]
    measured = profile.metadata.get("measured_energy")
    if measured:
        rows.append(("Read from a meter, of another machine than is priced", shown(measured)))
    return Section("Result", ("Per inference", "Figure"), tuple(rows), notes=tuple(entry.notes))


def _spikes_per_synapse(ratio: float) -> str:
    if math.isnan(ratio):
        return "not known: no layer with weights is driven by spikes, or T is not known"
    return (
        f"{ratio:.3g} accumulates for each connection of a layer that spikes drive; break-even "
        "with a dense network was put at 1.72 (Davidson and Furber 2021) and at 0.15 to 1.38 "
        "(Dampfhoffer et al. 2023), both read in copies"
    )


def _accuracy(profile: Profile) -> str:
    if profile.accuracy is None:
        return (
            f"not measured: {shown(profile.metadata.get('accuracy') or 'the data had no labels')}"
        )
    return f"{100 * profile.accuracy:.2f} % ({profile.correct} of {profile.samples})"


def _convention(entry: Entry) -> Section:
    chosen = entry.priced.convention
    rows = (
        ("Name", f"{chosen.name}: {chosen.title}"),
        ("Rules", chosen.summary),
        ("Source", chosen.source),
        ("Confidence", confidence(chosen.confidence)),
    )
    return Section("Convention: what counts as AC and MAC", ("Convention", "Text"), rows)


def _data(profile: Profile) -> Section:
    about = profile.metadata
    rows = [("Samples", f"{profile.samples:,}")]
    rows += [
        (label, "not recorded" if about.get(key) is None else _value(about[key]))
        for label, key in _DATA
    ]
    rows.append(("Firing rates", _origin(profile)))
    frame = about.get("frame")
    if isinstance(frame, Mapping):
        rows.append(("What a sample was told by", shown(frame.get("samples"))))
        rows.append(("What the timesteps were told by", shown(frame.get("timesteps"))))
        rows.append(("Reset between samples", shown(frame.get("reset"))))
    return Section("Data", ("Data", "As the profile says"), tuple(rows))


def _value(value: Any) -> str:
    """A value of the metadata; of profiles that were added up, all that differ."""
    if isinstance(value, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in value):
        return "; ".join(shown(v) for v in value)
    return shown(value)


def _origin(profile: Profile) -> str:
    if not profile.shapes:
        return "counted: every value that an operation read was looked at"
    if profile.metadata.get("counted") == "twin":
        levels = profile.metadata.get("levels")
        return (
            f"none: the quantised twin of a spiking profile, of {levels} levels above the lowest, "
            "which multiplies all of its work"
        )
    if all(shape.rate is not None for shape in profile.shapes):
        return "given with the profile, as published ones are: nothing was run to count them"
    return "not known: operations were counted by their shapes alone"


def _coverage(entry: Entry) -> Section:
    profile, table = entry.profile, entry.priced.table
    sites = len(profile.contractions) + len(profile.shapes)
    modules = {c.module for c in profile.contractions} | {s.module for s in profile.shapes}
    dense = float(table["dense_macs"].sum())
    driven = float(table.loc[table["is_driven"], "dense_macs"].sum())
    rows = [
        ("Products counted", f"{sites:,} call sites in {len(modules):,} modules"),
        ("Without a rule", _uncovered(profile)),
        ("Products that spikes drive", format_share(driven / dense if dense else None)),
        ("Spiking layers", entry.spikes or "none, or not recorded"),
    ]
    unknown = profile.metadata.get("unknown_neurons") or ()
    if unknown:
        rows.append(("Neurons of no known kind", f"in {listed([str(u) for u in unknown])}"))
    if profile.metadata.get("passes"):
        rows.append(("Passes of the model", _value(profile.metadata["passes"])))
    return Section("Coverage", ("Coverage", "Found"), tuple(rows))


def _uncovered(profile: Profile) -> str:
    if not profile.uncounted:
        return "none: a rule covers all arithmetic that ran" if not profile.shapes else "none"
    sums: dict[str, int] = {}
    for tally in profile.uncounted:
        sums[tally.op] = sums.get(tally.op, 0) + tally.output_elements
    found = [
        f"{op} ({format_si(elements / profile.samples)} results per inference)"
        for op, elements in sorted(sums.items())
    ]
    return f"{listed(found)}, so the energy is a lower bound"


def _identity(profile: Profile, path: str, own: Mapping[str, bytes], version: str) -> Section:
    about = profile.metadata
    digest = about.get("weights_digest")
    rows = [
        ("Model", shown(about.get("model"))),
        ("Weights", shown(about.get("weights")) if about.get("weights") else "not recorded"),
        (
            "Digest of the weights",
            f"{shown(digest)}: the first 16 digits of the SHA-256 of names, shapes and about 64 "
            "values of each parameter"
            if digest
            else "not recorded",
        ),
        ("Profile", path),
        ("SHA-256 of the profile, unpacked", hashlib.sha256(_unpacked(profile)).hexdigest()),
        ("Versions that measured", _value(about.get("versions")) if about.get("versions")
         else "not recorded"),
        ("Version that priced", f"analyzer {version}"),
    ]  # fmt: skip
    rows += [
        (f"SHA-256 of {name}", hashlib.sha256(content).hexdigest()) for name, content in own.items()
    ]
    return Section("Hashes and versions", ("Part", "Value"), tuple(rows))


def _unpacked(profile: Profile) -> bytes:
    """The JSON of a profile: unlike the packed file it is the same whatever zlib packs it."""
    return gzip.decompress(profile.to_bytes())


def _again(profile: Profile, path: str, asked: Mapping[str, Any]) -> Section:
    options = options_of(asked)
    command = profile.metadata.get("command")
    notes: Sequence[str]
    if isinstance(command, str) and command:
        notes, measured = ["The first command measured the profile."], [command]
    else:
        measured = []
        notes = [
            "The profile does not keep the command that measured it: run the model again on the "
            "data and with the weights that are named above, with analyzer profile or "
            "analyzer.profile, and compare the digest of the weights and the counts."
        ]
    commands = (
        *measured,
        f"analyzer card {argument(path)}{options} -o again",
        f"analyzer summary {argument(path)}{options}",
        "analyzer card --check .",
    )
    below = (
        "In the folder of the archive, these make the card again, show the energy of each layer, "
    )
    below += "and make everything again and say what differs."
    return Section(
        "How to reproduce it", notes=(*notes, below), commands=commands, widths=(), align=""
    )
