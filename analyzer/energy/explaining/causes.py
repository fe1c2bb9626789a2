"""Splits the difference of two priced profiles, layer by layer, into parts that add up to it.

The arithmetic of a layer is a product of factors: how often it runs, its dense work in a run, the
shares of that work that spikes drive or that multiplies, how much of each is done, and its price.
A part is what one factor moves, as the mean over all orders in which the factors may change from
those of the one side to those of the other (the Shapley value). So the parts add up, a factor that
did not change has none, and the other way round they are the same with the other sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyzer.energy.pricing.report import EnergyReport
from analyzer.facts.protocol import Facts

__all__ = [
    "FACTORS", "Floats", "Side", "by_layer", "charged_to", "fact_parts", "orders", "runs_of",
    "side_of",
]  # fmt: skip

FACTORS = ("timesteps", "dense_work", "classes", "activity", "price")
"""What the arithmetic of a layer is a product of; see :class:`Side`."""

_CHANNELS = ("driven", "added", "multiplied")
"""Work that spikes drive; that nothing drives and whose weights need no multiplier; all other."""

_ROUNDING = 1e-12
"""Factors are quotients, and two that differ by no more than this share are the same."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """The factors of all layers of one side, each an array with one entry a layer.

    Attributes:
        timesteps: Runs in an inference, 1 where they are not known.
        dense_work: Dense multiply-accumulates of a run.
        classes: Shares of the dense work in each channel, ``[layers, 3]``.
        activity: Operations for each unit of dense work in each channel, ``[layers, 3]``.
        price: Picojoules an operation in each channel, ``[layers, 3]``.
        elementwise: Picojoules of element-wise work.
        memory: Picojoules of what moves.
    """

    timesteps: Floats
    dense_work: Floats
    classes: Floats
    activity: Floats
    price: Floats
    elementwise: Floats
    memory: Floats


def side_of(report: EnergyReport, runs: Floats, keys: pd.MultiIndex) -> Side:
    """The factors of a priced profile.

    A factor that its facts do not tell is NaN, such as what spikes cause in a layer that none
    drives.

    Args:
        report: Its price.
        runs: How often an inference runs each layer, as :func:`runs_of` has it.
        keys: Module and operation of each layer; those that it lacks have NaN and no energy.
    """
    table = report.table
    dense = table["dense_macs"].astype("float64")
    work = table["ac"].astype("float64") + table["mac"].astype("float64")
    charged = charged_to(table)
    channel = np.select([table["is_driven"].astype(bool), table["mac"] == 0], _CHANNELS[:2],
                        _CHANNELS[2])  # fmt: skip
    figures = pd.DataFrame(
        {"dense": dense, "elementwise": charged["elementwise"], "memory": charged["memory"]}
        | {f"dense {name}": dense.where(channel == name, 0.0) for name in _CHANNELS}
        | {f"work {name}": work.where(channel == name, 0.0) for name in _CHANNELS}
        | {f"pj {name}": charged["price"].where(channel == name, 0.0) for name in _CHANNELS}
    )
    sums = figures.groupby([table["module"], table["op"]]).sum().reindex(keys)

    def of(what: str) -> Floats:
        return sums[[f"{what} {name}" for name in _CHANNELS]].to_numpy("float64")

    total = sums["dense"].to_numpy("float64")
    with np.errstate(divide="ignore", invalid="ignore"):
        return Side(
            runs,
            total / runs,
            of("dense") / total[:, None],
            of("work") / of("dense"),
            of("pj") / of("work"),
            sums["elementwise"].fillna(0.0).to_numpy("float64"),
            sums["memory"].fillna(0.0).to_numpy("float64"),
        )


def runs_of(profiles: Sequence[Facts], keys: pd.MultiIndex) -> list[Floats]:
    """How often an inference of each profile runs each layer; 1 where one of them does not tell."""
    found = []
    for profile in profiles:
        rows = profile.rows
        passes = rows["passes"].where(rows["contraction"]).astype("float64") / profile.samples
        runs = passes.groupby([rows["module"], rows["op"]]).sum(min_count=1).reindex(keys)
        found.append(runs.where(runs > 0).to_numpy("float64"))
    unknown = np.isnan(np.sum(found, axis=0))
    return [np.where(unknown, 1.0, runs) for runs in found]


def by_layer(report: EnergyReport) -> pd.DataFrame:
    """Work and energy of each module and operation, with the classes and reasons of its rows."""
    by = report.table.groupby(["module", "op"], sort=False)
    sums = by[["dense_macs", "ac", "mac", "total_pj"]].sum().astype("float64")

    def listed(texts: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(text for text in texts if text))

    return sums.join(by[["input_class", "reason"]].agg(listed))


def charged_to(table: pd.DataFrame) -> pd.DataFrame:
    """What each row takes, by the part that a change of its price belongs to."""
    arithmetic = table["ac_pj"] + table["mac_pj"]
    elementwise = table["elementwise_pj"] if "elementwise_pj" in table else arithmetic * 0
    moved = table["total_pj"] - arithmetic - elementwise
    return pd.DataFrame({"price": arithmetic, "elementwise": elementwise, "memory": moved})


def fact_parts(a: Side, b: Side, one: NDArray[np.bool_]) -> pd.DataFrame:
    """The parts of each layer's difference that its facts make, in picojoules.

    Returns:
        A row a layer: a column each of :data:`FACTORS`, ``elementwise`` and ``memory``, and
        ``presence``, which is all of a layer that one side lacks.
    """
    pairs = [_joined(getattr(a, name), getattr(b, name)) for name in FACTORS]
    energy = {
        chosen: _product([pair[which] for pair, which in zip(pairs, chosen, strict=True)])
        for chosen in product((0, 1), repeat=len(FACTORS))
    }
    parts = pd.DataFrame(index=range(len(one)))
    for at, name in enumerate(FACTORS):
        parts[name] = sum(
            weight * (energy[(*rest[:at], 1, *rest[at:])] - energy[(*rest[:at], 0, *rest[at:])])
            for rest, weight in orders(len(FACTORS) - 1)
        )
    parts["elementwise"] = b.elementwise - a.elementwise
    parts["memory"] = b.memory - a.memory
    parts[~one] = 0.0
    parts["presence"] = np.where(one, 0.0, _energy(b) - _energy(a))
    return parts


def orders(others: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Which of the others changed before one does, each with its share of all orders.

    Yields:
        For each of the others whether it changed before (1) or not (0), and the share.
    """
    for before in product((0, 1), repeat=others):
        changed = sum(before)
        yield before, factorial(changed) * factorial(others - changed) / factorial(others + 1)


def _joined(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Both sides, what one does not tell being as the other says it is: so it moves nothing."""
    first = np.nan_to_num(np.where(np.isnan(a), b, a), nan=0.0)
    second = np.nan_to_num(np.where(np.isnan(b), a, b), nan=0.0)
    rounding = np.abs(first - second) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))
    return first, np.where(rounding, first, second)


def _product(factors: Sequence[Floats]) -> Floats:
    times, work, classes, activity, price = factors
    return times * work * (classes * activity * price).sum(axis=1)  # type: ignore[no-any-return]


def _energy(side: Side) -> Floats:
    arithmetic = _product([np.nan_to_num(getattr(side, name), nan=0.0) for name in FACTORS])
    return arithmetic + side.elementwise + side.memory
