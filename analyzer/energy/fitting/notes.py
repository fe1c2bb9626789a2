"""What is said below the answer of whether a model fits: the mapping, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analyzer.energy.fitting.limits import Chip
from analyzer.facts.sent import listed, plural

__all__ = ["notes_on"]


def notes_on(
    known: Chip,
    rows: pd.DataFrame,
    weight_bits: int | None,
    beside: Sequence[str],
    mean_hops: float | None,
) -> Iterator[str]:
    """The sentences, the rule of the mapping first."""
    yield (
        "Mapping: layers in order of execution, each on cores of its own, one neuron an output; "
        "spikes come from all neurons of the product before alike, and each goes to every core of "
        f"the layer{'; cores are laid row by row on the mesh' if known.mesh else ''}."
    )
    yield from _on_hops(known, rows, mean_hops)
    yield from _on_weights(known, weight_bits)
    placed = rows["cores"].gt(0).fillna(False)
    if known.axons is not None and (rows["op"].str.startswith("conv") & placed).any():
        yield (
            "Inputs that neighbouring places of a convolution share count for each of them, so "
            "cores may be fewer."
        )
    many = rows["cores"].gt(known.destinations or 0).fillna(False)
    if known.destinations is not None and many.any():
        names = rows.loc[many.astype(bool), "module"].tolist()
        yield (
            f"A neuron of {known.title} sends to {plural(known.destinations, 'core')} at most: "
            f"what feeds {listed(names)} needs copies, in cores that are not counted."
        )
    others = [name for name in beside if name not in (known.operations or ())]
    if others:
        what = (
            f"its source lists {', '.join(known.operations)} alone"
            if known.operations is not None
            else "no source says whether it runs these"
        )
        yield f"Beside products and neurons the model runs {', '.join(others)}: {what}."
    if known.unchecked:
        yield f"Not checked of {known.title}: {known.unchecked}."
    yield f"Limits: {known.source}; confidence {known.confidence}, see `analyzer hardware`."


def _on_hops(known: Chip, rows: pd.DataFrame, mean_hops: float | None) -> Iterator[str]:
    if known.mesh is None:
        yield f"Hops are unknown: no source says how the cores of {known.title} lie."
        return
    if rows["leaving"].gt(0).any():
        yield (
            "Ways to another chip have no hops, as no source says how chips lie; their share is "
            "`leaving` in the frame."
        )
    if mean_hops is not None:
        yield (
            "To price them: a memory model that charges movement by hop, such as "
            f"yan(hops={mean_hops:.3g})."
        )


def _on_weights(known: Chip, weight_bits: int | None) -> Iterator[str]:
    if weight_bits is not None:
        yield (
            f"Weights have {plural(weight_bits, 'bit')}; biases, neuron state and tables of "
            "connections are not counted in the memory of weights."
        )
    elif known.weight_memory_bits is not None:
        yield (
            f"No source says how many bits a weight of {known.title} has: give weight_bits to "
            "have the memory of weights checked."
        )
    if known.shares_weights is None and known.weight_memory_bits is not None:
        yield (
            f"No source says whether a core of {known.title} keeps a weight once that several of "
            "its neurons use; each neuron has its own here, so cores may be fewer."
        )
