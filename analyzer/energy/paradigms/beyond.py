"""Whether spiking models take less than a dense one once memory is priced as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from analyzer.energy.answer import Answer, each_once
from analyzer.energy.paradigms.break_even import between
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.tabular import distinct
from analyzer.units import format_energy_pj, format_ratio, format_share

__all__ = ["ALONE", "VARIANTS", "Beyond", "beyond_arithmetic", "set_against"]

VARIANTS = (
    None,
    "state",
    "lemaire",
    "spikingjelly",
    "spikingjelly(weight_reads=inference)",
    "bit-serial",
    "spyx",
    "spyx(weight_reads=step)",
    "spyx(weight_reads=inference)",
    "yan",
    "yan(hops=4.75)",
)
"""The memory models that are tried, with weights reused as much and as little as can be where that
is least certain; None is arithmetic alone."""

ALONE = "arithmetic alone"
"""What a price of nothing that moves is called, among readings of memory."""


@dataclass(frozen=True, eq=False, repr=False)
class Beyond(Answer):
    """Spiking models against a dense one under several memory models.

    Attributes:
        reports: All that was priced.
        rows: One row a memory model and spiking model: ``memory``, ``model``, ``dense_pj`` and
            ``energy_pj`` per sample, their ``ratio``, the ``rate`` of dense work that spikes cause
            now, and the ``break_even_rate`` (NaN where even silence would take more).
        skipped: Which memory models could not be priced, and why.
    """

    stem = "memory"
    figure = "memory"
    words = frozenset({"Memory model", "Model"})
    against: ClassVar[str] = "the dense model"

    reports: tuple[EnergyReport, ...]
    rows: pd.DataFrame
    skipped: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What limits the figures, each once."""
        return each_once(self.skipped, *(report.notes for report in self.reports))

    @property
    def summary(self) -> str:
        """For whom the answer depends on the memory model, in one sentence each."""
        sentences = []
        for name, rows in self.rows.groupby("model", sort=False):
            cheaper = rows.loc[rows["ratio"] < 1, "memory"].tolist()
            verdict = f"less than {self.against} under {len(cheaper)} of {len(rows)}"
            if len(cheaper) in (0, len(rows)):
                verdict = f"{'less' if cheaper else 'more'} than {self.against} under all"
            low, high = rows["ratio"].min(), rows["ratio"].max()
            sentences.append(
                f"{name} takes {verdict}, {format_ratio(low)} to {format_ratio(high)} of it."
            )
        return " ".join(sentences)

    def shown(self) -> pd.DataFrame:
        """The rows as text."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Memory model": rows["memory"],
                "Model": rows["model"],
                "Dense": rows["dense_pj"].map(format_energy_pj),
                "Spiking": rows["energy_pj"].map(format_energy_pj),
                "Ratio": rows["ratio"].map(format_ratio),
                "Rate now": rows["rate"].map(format_share),
                "Break-even": [
                    "never" if pd.isna(x) else format_share(x) for x in rows["break_even_rate"]
                ],
            }
        )


def beyond_arithmetic(
    dense: Facts,
    spiking: Sequence[Facts],
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memories: Sequence[str | None] | None = None,
) -> Beyond:
    """Sets spiking models against a dense one under several memory models.

    Use it to see whether a saving of arithmetic remains once weights, activations and state move.

    Args:
        dense: What the others are set against.
        spiking: One or more.
        technology: Constants to price with.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memories: Memory models, None for arithmetic alone; by default a choice of them, without
            those that the technology has no memory for.

    Raises:
        AnalyzerError: Where there is no spiking profile, or one can not be priced.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> ann = analyzer.from_rates(
        ...     table | {"dense_macs": [250, 25], "firing_rate": [1, 1]}, name="ann"
        ... )
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> found = analyzer.beyond_arithmetic(ann, [snn], convention="rate", memories=[None])
        >>> print(found.rows[["memory", "model", "ratio", "break_even_rate"]].round(2))
                     memory model  ratio  break_even_rate
        0  arithmetic alone   snn   0.51             0.89
    """
    chosen = VARIANTS if memories is None else memories
    models = {memory or ALONE: memory for memory in chosen}
    prices = technology, convention, precision
    return Beyond(*set_against(dense, spiking, prices, models, strict=memories is not None))


def set_against(
    dense: Facts,
    spiking: Sequence[Facts],
    prices: tuple[str, str, str],
    memories: Mapping[str, str | None],
    *,
    strict: bool,
) -> tuple[tuple[EnergyReport, ...], pd.DataFrame, tuple[str, ...]]:
    """What a :class:`Beyond` holds: its reports, rows, and what was skipped.

    Args:
        dense: What the others are set against.
        spiking: One or more.
        prices: Technology, convention and precision.
        memories: Memory models by what rows call them, None for arithmetic alone.
        strict: Whether it is an error where a model can not be priced; arithmetic always is one.
    """
    if not spiking:
        raise AnalyzerError("give a dense profile and at least one spiking profile.")
    rows, reports, skipped = [], [], []
    names = distinct([profile.name for profile in spiking])
    for label, memory in memories.items():
        theirs = None
        for profile, name in zip(spiking, names, strict=True):
            try:
                theirs = theirs or price(dense, *prices, memory)
                ours = price(profile, *prices, memory)
                found = between(ours, price(profile, *prices, memory, activity=0), theirs)
            except AnalyzerError as error:
                if memory is None or strict:
                    raise
                skipped.append(f"{label} is left out: {error}")
                continue
            reports += [ours, theirs]
            rows.append(
                {
                    "memory": label,
                    "model": name,
                    "dense_pj": theirs.total_pj,
                    "energy_pj": ours.total_pj,
                    "ratio": ours.total_pj / (theirs.total_pj or float("nan")),
                    "rate": found.rate,
                    "break_even_rate": found.break_even_rate,
                }
            )
    table = pd.DataFrame(rows).astype({"break_even_rate": "float64"})
    return tuple(reports), table, tuple(dict.fromkeys(skipped))
