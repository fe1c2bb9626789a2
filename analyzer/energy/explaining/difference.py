"""What changed between two profiles, layer by layer, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyzer.energy.answer import Told, each_once, largest_first
from analyzer.energy.explaining.causes import (
    Floats,
    by_layer,
    charged_to,
    fact_parts,
    orders,
    runs_of,
    side_of,
)
from analyzer.energy.explaining.provenance import differences, doubts, refuse_other_data, worded
from analyzer.energy.explaining.reasons import reason_of
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_energy_pj, format_ratio, format_share, signed

__all__ = ["PARTS", "Difference", "diff"]

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "presence": "layers of one alone",
        "timesteps": "runs an inference",
        "dense_work": "dense work",
        "classes": "class of values",
        "activity": "activity",
        "convention": "convention",
        "price": "price",
        "elementwise": "element-wise work",
        "memory": "memory",
    }
)
"""The parts of a difference, each with how a sentence calls it."""

_Price = tuple[str, str, str | None]
_Held = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class Difference(Told):
    """Two priced profiles, layer by layer: what :func:`analyzer.diff` returns.

    Attributes:
        first: The one, priced.
        second: The other, priced.
        rows: A row a module and operation, the largest difference first: ``module``, ``op``; of
            both, with ``_a`` and ``_b`` behind, ``input_class``, ``dense_macs``, ``ac``, ``mac``
            and ``energy_pj``, all a sample; ``difference_pj``; a column a part, such as
            ``activity_pj``, which add up to it; and the ``reason`` in words.
        parts: The same parts summed over all layers: ``part`` and ``difference_pj``. They add up
            to the difference of the totals.
        provenance: What else tells the runs apart: ``key``, ``first`` and ``second``.
        accuracy: That of both, None where it was not measured.
        doubts: What makes the comparison doubtful, a sentence each.
    """

    stem = "diff"
    words = frozenset({"Module", "Operation", "Reason"})

    first: EnergyReport
    second: EnergyReport
    rows: pd.DataFrame
    parts: pd.DataFrame
    provenance: pd.DataFrame
    accuracy: tuple[float | None, float | None]
    doubts: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Both totals, and what made them differ, in words."""
        a, b = self.first, self.second
        ratio = f" ({format_ratio(b.total_pj / a.total_pj)})" if a.total_pj else ""
        text = f"{a.name} → {b.name}: {a.total_text} → {b.total_text} a sample{ratio}"
        if any(share is not None for share in self.accuracy):
            text += f", accuracy {' → '.join(map(format_share, self.accuracy))}"
        moved = self.parts[self.parts["difference_pj"] != 0]
        said = [f"{PARTS[p]} {signed(pj)}" for p, pj in moved.itertuples(index=False)]
        return f"{text}. By {', '.join(said)}." if said else f"{text}. Nothing differs."

    @property
    def notes(self) -> list[str]:
        """What limits the comparison, what else differs, and what the figures rest on."""
        same = int((self.rows["difference_pj"] == 0).sum())
        said = [*self.doubts]
        if same:
            takes = "takes" if same == 1 else "take"
            said.append(f"{same} of {len(self.rows)} layers {takes} the same in both.")
        said.append(worded(self.provenance) or "The runs say the same of themselves.")
        bases = dict.fromkeys((self.first.basis, self.second.basis))
        said.append(f"Priced with {'; then with '.join(bases)}.")
        return [*said, *each_once(self.first.notes, self.second.notes)]

    def shown(self) -> pd.DataFrame:
        """The layers that differ as text, the largest difference first."""
        rows = self.rows[self.rows["difference_pj"] != 0]
        alone = rows["reason"].str.removeprefix("only in the ")
        return pd.DataFrame(
            {
                "Module": rows["module"].replace("", "(model)"),
                "Operation": rows["op"],
                "First": rows["energy_pj_a"].map(format_energy_pj).mask(alone == "second", "–"),
                "Second": rows["energy_pj_b"].map(format_energy_pj).mask(alone == "first", "–"),
                "Difference": rows["difference_pj"].map(signed),
                "Reason": rows["reason"],
            }
        )


def diff(
    a: Facts,
    b: Facts,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    *,
    technology_b: str | None = None,
    convention_b: str | None = None,
    precision_b: str | None = None,
    memory_b: str | None = None,
    anyway: bool = False,
) -> Difference:
    """Says what changed between two profiles: per layer, ranked by energy, with a reason.

    Use it on two checkpoints, two versions or two machines. Layers are matched by module and
    operation; where a module runs an operation several times, these are summed. The difference of a
    layer is split into parts that add up to it: how often it runs, its dense work, the class of
    what it reads (which decides between AC and MAC), its activity, the convention, the price,
    element-wise work and memory. Each part is the mean over all orders in which these may change
    one after the other, so none depends on an order, and ``diff(b, a)`` has the same parts with
    the other sign.

    Args:
        a: The one.
        b: The other.
        technology: Name or file of the constants.
        convention: Name or file of the reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.
        technology_b: Another technology for ``b``.
        convention_b: Another convention for it.
        precision_b: Another number format for it.
        memory_b: Another memory model for it; ``"none"`` for arithmetic alone.
        anyway: Compares also what was not measured on the same data, and says so.

    Raises:
        AnalyzerError: Where the two are of different data, have no layer in common, or one of them
            can not be priced so.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> before, after = (
        ...     analyzer.from_rates(
        ...         table | {"dense_macs": [1000, 100], "firing_rate": [rate, 1]}, name=name
        ...     )
        ...     for name, rate in (("before", 0.5), ("after", 0.2))
        ... )
        >>> found = analyzer.diff(before, after, convention="rate")
        >>> print(found.summary)
        before → after: 910 pJ → 640 pJ a sample (0.703×). By activity −270 pJ.
        >>> found.rows.iloc[0]["reason"]
        'spikes cause 20.0 % instead of 50.0 % of the same dense work'
    """
    if not anyway:
        refuse_other_data(a, b)
    conventions = convention, convention_b or convention
    prices: tuple[_Price, _Price] = (
        (technology, precision, memory),
        (
            technology_b or technology,
            precision_b or precision,
            memory if memory_b is None else None if memory_b == "none" else memory_b,
        ),
    )
    reports = _priced((a, b), conventions, prices)
    first, second = reports[0, 0, 0], reports[1, 1, 1]
    keys = _keys(reports)
    held = [_held(profile, keys) for profile in (a, b)]
    if not (held[0] & held[1]).any():
        raise AnalyzerError(
            f"{a.name!r} and {b.name!r} have no layer in common (module and operation), so nothing "
            "can be matched: compare them with analyzer.compare."
        )
    runs = runs_of((a, b), keys)
    parts = _parts(runs, reports, keys, held[0] & held[1])
    rows = _rows((first, second), runs, keys, held).join(parts)
    found = rows.join(pd.Series([reason_of(row) for _, row in rows.iterrows()], name="reason"))
    shown = largest_first(found, "difference_pj").drop(columns=_hidden(found))
    summed = pd.DataFrame(
        {"part": list(PARTS), "difference_pj": [float(shown[f"{p}_pj"].sum()) for p in PARTS]}
    )
    return Difference(
        first,
        second,
        shown,
        largest_first(summed, "difference_pj"),
        differences(a, b),
        (a.accuracy, b.accuracy),
        tuple(doubts(a, b)),
    )


_Reports = Mapping[tuple[int, int, int], EnergyReport]
"""By facts, convention and price: 0 those of the first, 1 those of the second."""


def _priced(
    profiles: tuple[Facts, Facts], conventions: tuple[str, str], prices: tuple[_Price, _Price]
) -> _Reports:
    """All combinations; where two are the same by their names, it is priced once."""
    known: dict[Any, EnergyReport] = {}
    found = {}
    for facts, reading, cost in product((0, 1), repeat=3):
        of = (facts, conventions[reading], prices[cost])
        if of not in known:
            technology, precision, memory = prices[cost]
            known[of] = price(profiles[facts], technology, conventions[reading], precision, memory)
        found[facts, reading, cost] = known[of]
    return found


def _keys(reports: _Reports) -> pd.MultiIndex:
    """Module and operation of all rows, those of the first in the order of its pass."""
    tables = [report.table[["module", "op"]] for report in reports.values()]
    return pd.MultiIndex.from_frame(pd.concat(tables).drop_duplicates())


def _held(profile: Facts, keys: pd.MultiIndex) -> _Held:
    """Which layers a profile has, whether they are charged or not."""
    mine = pd.MultiIndex.from_frame(profile.rows[["module", "op"]])
    return np.asarray(keys.isin(mine), dtype=bool)


def _parts(
    runs: Sequence[Floats],
    reports: _Reports,
    keys: pd.MultiIndex,
    both: _Held,
) -> pd.DataFrame:
    """The parts of all layers: of the facts, the convention and the price, over all orders."""
    distinct = {id(report): (report, runs[of[0]]) for of, report in reports.items()}
    sides = {key: side_of(*each, keys) for key, each in distinct.items()}
    energies = {key: _energies(report, keys) for key, (report, _) in distinct.items()}
    totals = {of: energies[id(report)] for of, report in reports.items()}
    facts: Any = 0.0
    read: Any = 0.0
    cost: Any = 0.0
    alike: dict[tuple[int, int], pd.DataFrame] = {}
    for (one, two), weight in orders(2):
        ends = [reports[side, one, two] for side in (0, 1)]
        pair = id(ends[0]), id(ends[1])
        if pair not in alike:
            alike[pair] = fact_parts(sides[pair[0]], sides[pair[1]], both)
        facts = facts + weight * alike[pair]
        read = read + weight * (totals[one, 1, two] - totals[one, 0, two])
        cost = cost + weight * (totals[one, two, 1] - totals[one, two, 0])
    facts[list(cost)] += cost
    facts["convention"] = read.sum(axis=1)
    found: pd.DataFrame = facts[list(PARTS)].add_suffix("_pj")
    return found


def _energies(report: EnergyReport, keys: pd.MultiIndex) -> pd.DataFrame:
    """What each layer takes, by the part that a change of its price belongs to."""
    table = report.table
    sums = charged_to(table).groupby([table["module"], table["op"]]).sum().reindex(keys)
    return sums.fillna(0.0).reset_index(drop=True)


def _hidden(rows: pd.DataFrame) -> list[str]:
    """Columns that reasons read and users are not shown."""
    start = ("in_", "read_", "arithmetic_", "runs_")
    return [str(c) for c in rows if str(c).startswith(start)]


def _rows(
    reports: tuple[EnergyReport, EnergyReport],
    runs: Sequence[Floats],
    keys: pd.MultiIndex,
    held: Sequence[_Held],
) -> pd.DataFrame:
    """A row a layer, with the figures of both."""
    rows = keys.to_frame(index=False)
    for at, end in enumerate(("a", "b")):
        layers = by_layer(reports[at]).reindex(keys)
        rows[f"in_{end}"] = held[at]
        rows[f"input_class_{end}"] = layers["input_class"].fillna("").tolist()
        for column in ("dense_macs", "ac", "mac"):
            rows[f"{column}_{end}"] = layers[column].fillna(0.0).to_numpy()
        rows[f"arithmetic_{end}"] = _energies(reports[at], keys)["price"]
        rows[f"runs_{end}"] = runs[at]
        rows[f"energy_pj_{end}"] = layers["total_pj"].fillna(0.0).to_numpy()
        rows[f"read_{end}"] = layers["reason"].fillna("not charged").tolist()
    return rows.assign(difference_pj=rows["energy_pj_b"] - rows["energy_pj_a"])
