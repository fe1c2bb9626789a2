"""The networks whose work is known, and which of them a line of a table means."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from analyzer.auditing.rows import Row

__all__ = ["Network", "dense_networks", "network_of", "networks"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Network:
    """A network at one resolution, counted by ``analyzer.count``.

    Attributes:
        name: A name of ``analyzer models``, or of a larger size of one.
        resolution: Side of the image in pixels.
        parameters: How many it has.
        step_macs: Dense multiply-accumulates of one timestep.
        once_macs: Those that do not grow with T.
        first_macs: Those of the first layer in one timestep.
        spiking: Whether it is run over timesteps.
    """

    name: str
    resolution: int
    parameters: int
    step_macs: int
    once_macs: int
    first_macs: int
    spiking: bool

    def dense_macs(self, timesteps: int) -> int:
        """Dense multiply-accumulates of one inference."""
        return timesteps * self.step_macs + self.once_macs


@cache
def networks() -> dict[tuple[str, int], Network]:
    """All networks by name and resolution."""
    with (_HERE / "networks.csv").open(encoding="utf-8") as file:
        found = [
            Network(
                name=row["network"],
                resolution=int(row["resolution"]),
                parameters=int(row["parameters"]),
                step_macs=int(row["step_macs"]),
                once_macs=int(row["once_macs"]),
                first_macs=int(row["first_macs"]),
                spiking=row["spiking"] == "yes",
            )
            for row in csv.DictReader(file)
        ]
    return {(network.name, network.resolution): network for network in found}


def dense_networks() -> Iterator[Network]:
    """Those that are no spiking networks."""
    return (network for network in networks().values() if not network.spiking)


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    with (_HERE / "names.csv").open(encoding="utf-8") as file:
        return [(re.compile(row["pattern"]), row["network"]) for row in csv.DictReader(file)]


def network_of(row: Row) -> Network | None:
    """The network that a line means, None where it is none of these."""
    for pattern, name in _patterns():
        found = pattern.search(row.folded)
        if found:
            return networks().get((found.expand(name), row.side))
    return None
