"""Why two conventions differ on the same facts: row by row, and summed up in steps."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analyzer.energy.answer import Answer, each_once, largest_first
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.facts.protocol import Facts
from analyzer.facts.table import KEYS
from analyzer.units import format_energy_pj, signed

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Answer):
    """Two readings of one profile.

    Attributes:
        first: Priced by the one convention.
        second: Priced by the other.
        rows: A row an operation: ``module, op, input_class``; of both ``ac``, ``mac``, ``pj`` and
            ``reason``, with ``_first`` and ``_second`` behind; and the ``difference_pj``, all a
            sample. Operations that both price alike, for whatever reason, have a difference of 0.
        steps: The differences summed by what each convention says of the row: ``from_reason``,
            ``to_reason``, ``operations``, ``difference_pj``; largest first. They add up to the
            difference of the totals.
    """

    stem = "explanation"
    figure = "waterfall"
    words = frozenset({"Step"})

    first: EnergyReport
    second: EnergyReport
    rows: pd.DataFrame
    steps: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """What limits the figures, each once."""
        return each_once(self.first.notes, self.second.notes)

    @property
    def summary(self) -> str:
        """The totals in one sentence."""
        a, b = self.first, self.second
        ratio = f" ({b.total_pj / a.total_pj:.3g} times)" if a.total_pj else ""
        return (
            f"{a.name}: {a.total_text} by {a.convention.name}, {b.total_text} by "
            f"{b.convention.name}{ratio}, {a.technology.name} {a.precision}"
            f"{f', memory {a.memory.name}' if a.memory else ''}."
        )

    def shown(self) -> pd.DataFrame:
        """The steps as text, between the totals of the one convention and of the other."""
        a, b = self.first, self.second
        level = a.total_pj
        lines = [[a.convention.name, "", "", format_energy_pj(level)]]
        for reason, other, number, difference in self.steps.itertuples(index=False):
            level += difference
            lines.append(
                [f"{reason} → {other}", str(number), signed(difference), format_energy_pj(level)]
            )
        lines.append([b.convention.name, "", "", format_energy_pj(b.total_pj)])
        return pd.DataFrame(lines, columns=["Step", "Rows", "Difference", "Energy"])


def explain(
    profile: Facts,
    first: str,
    second: str,
    technology: str = "45nm",
    precision: str = "fp32",
    memory: str | None = None,
) -> Explanation:
    """Says row by row where two conventions differ on one profile, and why.

    Use it where two papers report different energies of the same network.

    Args:
        profile: The facts.
        first: Name or file of a convention; see :func:`analyzer.conventions`.
        second: Another.
        technology: Constants to price with.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.

    Raises:
        AnalyzerError: Where one of the conventions can not read the profile.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> found = analyzer.explain(snn, "rate", "dense")
        >>> print(found.summary)
        snn: 640 pJ by rate, 5.06 nJ by dense (7.91 times), 45nm fp32.
        >>> found.steps["from_reason"].tolist()
        ['spikes drive it: firing rate × dense work']
    """
    reports = [price(profile, technology, name, precision, memory) for name in (first, second)]
    columns = ["ac", "mac", "pj", "reason"]
    sides = [
        report.table.rename(columns={"total_pj": "pj"})[[*KEYS, *columns]].add_suffix(f"_{side}")
        for side, report in zip(("first", "second"), reports, strict=True)
    ]
    ends = ("first", "second")
    # One may charge rows that follow those of the other, such as element-wise work.
    whole = max((0, 1), key=lambda at: len(sides[at]))
    keys = sides[whole][[f"{key}_{ends[whole]}" for key in KEYS]].set_axis(list(KEYS), axis=1)
    parts = [side.drop(columns=[f"{key}_{end}" for key in KEYS])
             for side, end in zip(sides, ends, strict=True)]  # fmt: skip
    rows = pd.concat([keys, *parts], axis=1)
    for end in ends:
        blank = dict.fromkeys((f"ac_{end}", f"mac_{end}", f"pj_{end}"), 0)
        rows = rows.fillna(blank | {f"reason_{end}": "not charged"})
    rows["difference_pj"] = rows["pj_second"] - rows["pj_first"]
    return Explanation(reports[0], reports[1], rows, _steps(rows))


def _steps(rows: pd.DataFrame) -> pd.DataFrame:
    differ = rows[rows["difference_pj"] != 0]
    grouped = differ.groupby(["reason_first", "reason_second"], sort=False)["difference_pj"]
    steps = grouped.agg(["size", "sum"]).reset_index()
    steps.columns = pd.Index(["from_reason", "to_reason", "operations", "difference_pj"])
    return largest_first(steps, "difference_pj")
