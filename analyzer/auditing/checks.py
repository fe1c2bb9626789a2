"""What a published energy can be, held against a network's dense work, and against other lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from analyzer.auditing.networks import Network, dense_networks, networks
from analyzer.auditing.rows import Given, Row

__all__ = ["Finding", "Prices", "alone", "together"]

Verdict = Literal["impossible", "contradicted", "doubtful", "plausible", "unknown"]

_MJ = 1e-9
"""Millijoules in a picojoule."""

_NEAR = 0.02
"""Dense work is told apart by more than this: papers leave out small parts, or add them."""

_SAME = 0.005
"""Figures that agree so far are one."""

_TELLING = 3
"""Significant digits from which on two equal figures of networks of one size are no accident."""

_SIZE = re.compile(r"\b\d+-\d+\b|\b\d+(?:\.\d+)? ?m\b")
"""Depth and width, or millions of parameters, in a name."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Picojoules of an accumulate and of a multiply-accumulate."""

    ac_pj: float
    mac_pj: float

    def dense_mj(self, network: Network, timesteps: int) -> float:
        """The energy of all its work as multiply-accumulates."""
        return network.dense_macs(timesteps) * self.mac_pj * _MJ


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of a line."""

    verdict: Verdict
    because: str


def alone(row: Row, energy: Given, network: Network | None, prices: Prices) -> list[Finding]:
    """What a line says, by itself."""
    found = [*_per_operation(row, energy, network, prices)]
    if network is None:
        return found
    found += _parameters(row, network)
    if network.spiking:
        return [*found, *_spiking(row, energy, network, prices)]
    return [*found, _dense(energy, network, prices)]


def _per_operation(
    row: Row, energy: Given, network: Network | None, prices: Prices
) -> Iterator[Finding]:
    """An operation takes what an accumulate takes at least, and a multiply-accumulate at most."""
    operations = row.operations
    if operations is None:
        return
    each = energy.value / operations.value
    doubt = 1 + energy.fraction + operations.fraction
    said = f"{each:.3g} pJ for each of its {operations.text} G operations"
    if each * doubt < prices.ac_pj or each / doubt > prices.mac_pj:
        yield Finding(
            "impossible",
            f"{said}, outside of {prices.ac_pj:g} pJ an accumulate to {prices.mac_pj:g} pJ a "
            "multiply-accumulate",
        )
    elif each / doubt <= prices.ac_pj:
        yield Finding("plausible", f"{said}: all are accumulates, and nothing else is charged")
    elif each * doubt >= prices.mac_pj:
        yield Finding("plausible", f"{said}: all are multiply-accumulates")
    else:
        rest = energy.value - prices.ac_pj * operations.value
        yield _beside(row, network, rest, prices)


def _beside(row: Row, network: Network | None, rest: float, prices: Prices) -> Finding:
    """What an energy holds beside the accumulates of all operations: a first layer, if any."""
    macs = rest / prices.mac_pj / _MJ
    said = f"{rest:.3g} mJ beside {prices.ac_pj:g} pJ an operation"
    steps = row.timesteps or 1
    named = [
        other.name
        for other in networks().values()
        if other.spiking
        and other.resolution == row.side
        and abs(macs / (steps * other.first_macs) - 1) < _SAME
    ]
    if not named:
        return Finding("plausible", said)
    if network is not None and network.name not in named:
        return Finding("doubtful", f"{said} are the first layer of {named[0]}, not its own")
    return Finding("plausible", f"{said}: its first layer as MACs in {steps} timesteps")


def _parameters(row: Row, network: Network) -> Iterator[Finding]:
    given = row.parameters
    if given is None:
        return
    known = network.parameters / 1e6
    if abs(given.value - known) > max(_NEAR * known, given.rounding):
        said = f"{network.name} has {known:.2f} M parameters, not {given.text} M"
        yield Finding("doubtful", said)


def _dense(energy: Given, network: Network, prices: Prices) -> Finding:
    """A dense network takes what its multiply-accumulates take."""
    expected = prices.dense_mj(network, 1)
    said = f"{network.name} at {network.resolution} takes {expected:.2f} mJ"
    if abs(energy.value / expected - 1) <= max(_NEAR, energy.fraction):
        return Finding("plausible", f"{said} of dense work")
    others = [
        f"{other.name} at {other.resolution}"
        for other in dense_networks()
        if abs(energy.value / prices.dense_mj(other, 1) - 1) <= max(_SAME, energy.fraction)
    ]
    of = f", and {energy.text} is what {' or '.join(others)} takes" if others else ""
    return Finding("impossible", f"{said}{of}")


def _spiking(row: Row, energy: Given, network: Network, prices: Prices) -> Iterator[Finding]:
    """A spiking network takes less than if all its work were multiply-accumulates.

    Where its first layer is dense in each timestep, or once, and all else is accumulates, there is
    a mean firing rate that gives the energy.
    """
    if row.timesteps is None:
        yield Finding("unknown", f"T is not given, so the work of {network.name} is not known")
        return
    steps = row.timesteps
    most, dense = prices.dense_mj(network, steps), network.dense_macs(steps)
    if energy.value / (1 + energy.fraction) > most:
        said = f"more than {most:.3g} mJ, all work of {network.name} as MACs at T={steps}"
        yield Finding("impossible", said)
        return
    rates = []
    for name, first in (
        ("a first layer of MACs in each timestep", steps * network.first_macs),
        ("a first layer of MACs once", network.first_macs),
        ("accumulates alone", 0),
    ):
        left = energy.value - first * prices.mac_pj * _MJ
        rate = left / ((dense - (steps * network.first_macs if first else 0)) * prices.ac_pj * _MJ)
        if 0 < rate <= 1:
            rates.append(f"{100 * rate:.1f} % with {name}")
    if rates:
        yield Finding("plausible", f"a mean firing rate of {'; '.join(rates)}")
    else:
        yield Finding("plausible", "only if layers that read sums of spikes are MACs")


def together(rows: Sequence[tuple[Row, Network | None]]) -> dict[int, list[Finding]]:
    """What lines say of each other, by their number: contradictions and copies."""
    found: dict[int, list[Finding]] = {row.number: [] for row, _ in rows}
    for row, network in rows:
        for other, another in rows:
            if other is row:
                continue
            # Without timesteps only dense networks are known to be the same.
            told = row.timesteps is not None or (network is not None and not network.spiking)
            finding = _of_pair(row, other, told=told, alike=_alike(network, another))
            if finding is not None:
                found[row.number].append(finding)
    return found


def _of_pair(row: Row, other: Row, *, told: bool, alike: bool) -> Finding | None:
    mine, theirs = row.energy, other.energy
    if mine is None or theirs is None:
        return None
    if _identity(row) == _identity(other):
        if not told or abs(mine.value - theirs.value) <= mine.rounding + theirs.rounding:
            return None
        said = f"line {other.number} gives {theirs.text} mJ for the same network"
        return Finding("contradicted", said)
    if mine.text != theirs.text or alike or row.folded == other.folded:
        return None
    sizes = set(_SIZE.findall(row.folded)) & set(_SIZE.findall(other.folded))
    if mine.digits < (_TELLING if sizes else _TELLING + 1):
        return None
    return Finding("doubtful", f"the same figure as line {other.number}, {other.model}")


def _alike(one: Network | None, other: Network | None) -> bool:
    """Whether two networks have about the same work, and so may have the same energy."""
    if one is None or other is None:
        return False
    return abs(one.step_macs / other.step_macs - 1) <= _NEAR


def _identity(row: Row) -> tuple[str, int, int | None]:
    return row.folded, row.side, row.timesteps
