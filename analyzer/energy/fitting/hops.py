"""Hops of spikes between the cores of a mesh, summed exactly.

Cores are numbered chip by chip. On a chip they are laid row by row: tile after tile, and in each
tile as many as it holds. A spike goes from tile to tile along rows and columns, so the hops between
two cores are the Manhattan distance of their tiles. A way from one chip to another is not counted,
as no rule says how chips lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["Way", "mean_hops", "way", "way_to"]


@dataclass(frozen=True, slots=True)
class Way:
    """The way of spikes from the cores of one layer to all cores of another.

    Attributes:
        neurons: Neurons that send.
        pairs: The same, each times the cores that it sends to.
        on_chip: Those of the pairs that are on one chip.
        hops: Hops of the latter, summed.
    """

    neurons: int
    pairs: int
    on_chip: int
    hops: int

    @property
    def mean(self) -> Fraction | None:
        """Hops of a spike on its way to a core of the same chip; None where there is no such."""
        return Fraction(self.hops, self.on_chip) if self.on_chip else None

    @property
    def leaving(self) -> Fraction:
        """Share of the ways that lead to another chip."""
        return 1 - Fraction(self.on_chip, self.pairs)


def way(
    loads: NDArray[np.int64], source: int, target: int, cores: int, mesh: tuple[int, int, int]
) -> Way:
    """Sums the way of one spike of each neuron to each core of another layer.

    Args:
        loads: Neurons in each core of the layer that sends.
        source: Number of the first of these cores.
        target: Number of the first core of the layer that reads.
        cores: How many cores that has.
        mesh: Tiles in a row, rows, and cores a tile.

    Example:
        >>> way(np.array([1]), 0, 1, 2, (3, 1, 1))  # from tile 0 to tiles 1 and 2
        Way(neurons=1, pairs=2, on_chip=2, hops=3)
    """
    columns, rows, each = mesh
    chip = columns * rows * each
    senders = np.arange(source, source + len(loads))
    readers = np.arange(target, target + cores)
    on_chip = hops = 0
    first = max(source, target) // chip
    last = min(source + len(loads) - 1, target + cores - 1) // chip
    for number in range(first, last + 1):
        mine, theirs = senders // chip == number, readers // chip == number
        weights = loads[mine]
        tiles = [cores_of % chip // each for cores_of in (senders[mine], readers[theirs])]
        on_chip += int(weights.sum()) * int(theirs.sum())
        for extent, places in (
            (columns, [tile % columns for tile in tiles]),
            (rows, [tile // columns for tile in tiles]),
        ):
            sent = np.zeros(extent, np.int64)
            np.add.at(sent, places[0], weights)
            read = np.bincount(places[1], minlength=extent)
            apart = np.abs(np.subtract.outer(np.arange(extent), np.arange(extent)))
            hops += int(sent @ apart @ read)
    sending = int(loads.sum())
    return Way(sending, sending * cores, on_chip, hops)


def way_to(
    at: int,
    source: int | None,
    taken: Sequence[tuple[int, NDArray[np.int64]] | None],
    mesh: tuple[int, int, int] | None,
) -> Way | None:
    """The way of spikes to a layer; None where they come from a host, or there is no mesh."""
    theirs = None if source is None else taken[source]
    mine = taken[at]
    if mine is None or theirs is None or mesh is None:
        return None
    return way(theirs[1], theirs[0], mine[0], len(mine[1]), mesh)


def mean_hops(ways: Sequence[tuple[float | None, Way]]) -> float | None:
    """The mean over all ways on a chip, each layer by the spikes that it reads."""
    hops = messages = Fraction(0)
    for spikes, gone in ways:
        if spikes is None:
            return None
        a_neuron = Fraction(spikes) / gone.neurons
        hops += a_neuron * gone.hops
        messages += a_neuron * gone.on_chip
    return float(hops / messages) if messages else None
