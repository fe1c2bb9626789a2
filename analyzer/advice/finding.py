"""Finds in a profile what could save work: one generator of changes for each kind of advice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from analyzer.advice.changes import Change, as_spikes, fewer, narrower, once
from analyzer.facts.layers import Layer
from analyzer.facts.records import Contraction, SiteKey
from analyzer.facts.sent import Sent
from analyzer.profiles import Profile
from analyzer.units import format_share

__all__ = ["changes_of", "norm_before", "sites_by_layer"]

_TAKEN_FOR_SUMS = 32
"""The largest integer that is taken for a sum of spikes where not all that spikes is known.

A Spikformer of 8 blocks sums 18 spikes: 2 of its stem and 2 of each block. Images have 255 levels.
"""

_RATE_KEPT = (
    "neurons are taken to fire as often as what the layer reads is not zero now; the network must "
    "be trained again, and what follows the layer will read other spikes"
)


def changes_of(profile: Profile) -> Iterator[Change]:
    """All changes that the facts of a profile suggest, whether they save or not."""
    layers = sites_by_layer(profile)
    yield from _sums(profile, layers)
    yield from _repeated(layers)
    yield from _silent(profile, layers)
    yield from _silent_neurons(profile)
    yield from _behind_norm(profile, layers)


def sites_by_layer(profile: Profile) -> dict[tuple[str, str], list[Contraction]]:
    """The call sites of each module and operation."""
    found: dict[tuple[str, str], list[Contraction]] = {}
    for site in profile.contractions:
        found.setdefault((site.module, site.op), []).append(site)
    return found


def _sums(profile: Profile, layers: dict[tuple[str, str], list[Contraction]]) -> Iterator[Change]:
    """Layers that read small integers, as sums of spikes are."""
    most = _largest_sum(profile)
    weighted = [key for key, sites in layers.items() if sites[0].weight is not None]
    for key in weighted[1:]:  # the first reads the input of the model
        graded = [s for s in layers[key] if s.input_class == "graded"]
        values = [s.activations[0].values for s in graded]
        if not graded or any(max(v.high, -v.low) > most for v in values):
            continue
        low, high = min(v.low for v in values), max(v.high for v in values)
        reads = f"reads integers from {low} to {high}, as sums of spikes are"
        apart: dict[SiteKey, Contraction | None] = {}
        fired: dict[SiteKey, Contraction | None] = {}
        for site in graded:
            (read,) = site.activations
            left = site.left
            spikes = round(read.nonzeros * read.levels / read.events) if read.events else 0
            apart[site.key] = as_spikes(
                site,
                nonzeros=spikes,
                events=read.levels,
                left=None if left is None else left.levels,
            )
            fired[site.key] = as_spikes(
                site,
                nonzeros=read.nonzeros,
                events=read.events,
                left=None if left is None else left.events,
            )
        yield Change("sums as spikes", *key, f"{reads}: send n spikes for a value of n", "", apart)
        yield Change(
            "membrane shortcut",
            *key,
            f"{reads}: put neurons in front, as membrane shortcuts do",
            _RATE_KEPT,
            fired,
        )


def _largest_sum(profile: Profile) -> int:
    """The largest level that a sum of one spike of each layer can have."""
    spiking = [s.values for s in profile.sent or () if not s.values.real]
    most = sum(max(values.high, -values.low) for values in spiking)
    all_known = spiking and not profile.metadata.get("unknown_neurons")
    return most if all_known else max(most, _TAKEN_FOR_SUMS)


def _repeated(layers: dict[tuple[str, str], list[Contraction]]) -> Iterator[Change]:
    """Layers that read the same in all timesteps."""
    for key, sites in layers.items():
        same = [s for s in sites if s.repeats]
        if not same:
            continue
        advice = "does the same in each timestep: compute it once and keep the result"
        yield Change("cache", *key, advice, "", {s.key: once(s) for s in same})


def _silent(profile: Profile, layers: dict[tuple[str, str], list[Contraction]]) -> Iterator[Change]:
    """Layers all or some of whose output channels lead to neurons that never fired."""
    tree = {layer.module: layer for layer in profile.layers or ()}
    for sent in profile.sent or ():
        if sent.silent is None or not len(sent.silent):
            continue
        found = _layer_before(profile, sent, layers)
        if found is None:
            continue
        sites = layers[found]
        shape = sites[0].layer
        if shape is None or any(s.layer != shape for s in sites):
            continue
        conv = found[1].startswith("conv")
        silent = _silent_channels(sent, tree.get(sent.module), shape.channels, conv=conv)
        if not silent or (shape.groups > 1 and silent < shape.channels):
            continue
        which = "all" if silent == shape.channels else f"{silent} of"
        channels = "output channel" + ("s" if shape.channels > 1 else "")
        yield Change(
            "silent channels",
            *found,
            f"{which} {shape.channels} {channels} lead to neurons of {sent.module} that never "
            "fired: leave them out",
            f"the neurons are taken to stay silent on other data than these {profile.samples:,} "
            "samples, and to be all that reads the layer, as the order of the modules suggests",
            {s.key: narrower(s, silent) for s in sites},
        )


def _silent_neurons(profile: Profile) -> Iterator[Change]:
    """Neurons that never fired, whose updates memory models and element-wise prices charge."""
    updates = {tally.module: tally for tally in profile.tallies if tally.state_elements}
    for sent in profile.sent or ():
        tally = updates.get(sent.module)
        if tally is None or sent.silent is None or not len(sent.silent):
            continue
        silent, neurons = len(sent.silent), sent.silent.size
        yield Change(
            "silent neurons",
            tally.module,
            tally.op,
            f"{silent:,} of {neurons:,} neurons never fired: leave them out",
            f"the neurons are taken to stay silent on other data than these {profile.samples:,} "
            "samples",
            {},
            {tally.key: fewer(tally, silent, neurons)},
        )


def _layer_before(
    profile: Profile, sent: Sent, layers: dict[tuple[str, str], list[Contraction]]
) -> tuple[str, str] | None:
    """The layer with weights right before a module of neurons, past norms, among its siblings.

    None where there is none, or where the layer reads what these neurons send.
    """
    order = [layer.module for layer in profile.layers or ()]
    if not order:  # not known: take the modules that facts name
        order = list(dict.fromkeys(s.module for s in profile.contractions))
        order = [*order, sent.module]
    spiking = {s.module for s in profile.sent or ()}
    weighted = {key[0]: key for key, sites in layers.items() if sites[0].weight is not None}
    item = sent.module
    while item:
        parent = item.rpartition(".")[0]
        siblings = [m for m in order if m and m.rpartition(".")[0] == parent]
        before = siblings[: siblings.index(item)] if item in siblings else []
        for module in reversed(before):
            if module in weighted:
                sites = layers[weighted[module]]
                read = [o for s in sites for o in s.activations]
                sums = sum(o.elements for o in read), sum(o.nonzeros for o in read)
                return None if sums == (sent.outputs, sent.nonzeros) else weighted[module]
            inside = any(m.startswith(f"{module}.") for m in (*weighted, *spiking))
            if module in spiking or inside:
                return None
        if before:
            return None
        item = parent
    return None


def _silent_channels(sent: Sent, layer: Layer | None, channels: int, *, conv: bool) -> int:
    """How many channels of a layer's neurons never fired; 0 where that can not be told."""
    assert sent.silent is not None
    mask = sent.silent.mask
    if mask.all():
        return channels
    if layer is None or layer.output is None:  # as convolutions lie, channels first
        whole = conv and not len(mask) % channels
        return int(mask.reshape(channels, -1).all(axis=1).sum()) if whole else 0
    shape = layer.output
    size = 1
    axes: list[int] = []
    for length in reversed(shape):
        if size == len(mask):
            break
        size *= length
        axes.insert(0, length)
    if size != len(mask) or axes.count(channels) != 1:
        return 0
    at = axes.index(channels)
    others = tuple(axis for axis in range(len(axes)) if axis != at)
    return int(np.asarray(mask.reshape(axes).all(axis=others)).sum())


def _behind_norm(
    profile: Profile, layers: dict[tuple[str, str], list[Contraction]]
) -> Iterator[Change]:
    """Layers of a spiking model that read reals behind a normalisation."""
    driven = [
        o
        for s in profile.contractions
        for o in s.activations
        if s.weight is not None and o.values.kind in ("binary", "ternary")
    ]
    elements = sum(o.elements for o in driven)
    if not elements:
        return
    rate = sum(o.nonzeros for o in driven) / elements
    for key, sites in layers.items():
        real = [s for s in sites if s.weight is not None and s.input_class == "real"]
        norm = norm_before(profile, key[0]) if real else None
        if norm is None:
            continue
        yield Change(
            "norm",
            *key,
            f"reads reals behind {norm.module} ({norm.kind}), which keeps it MAC: put neurons "
            "between the two",
            f"neurons are taken to fire at {format_share(rate)}, as often as all spikes that "
            "layers of this model read; the network must be trained again; that the norm is right "
            "in front is taken from the order of the modules",
            {
                s.key: as_spikes(
                    s,
                    nonzeros=round(rate * s.activations[0].elements),
                    events=round(rate * s.dense_macs),
                    left=None if s.left is None else round(rate * s.left.dense_macs),
                )
                for s in real
            },
        )


def norm_before(profile: Profile, module: str) -> Layer | None:
    """The normalisation right in front of a module in the tree, with as many values; or None."""
    listed = [
        layer
        for layer in profile.layers or ()
        if not module.startswith(f"{layer.module}.") and layer.module
    ]
    for before, layer in pairwise(listed):
        if layer.module == module:
            fits = before.output is not None and before.output == layer.input
            return before if "norm" in before.kind.lower() and fits else None
    return None
