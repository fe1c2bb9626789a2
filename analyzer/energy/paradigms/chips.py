"""The same models under every technology, each in its own cheapest number format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyzer.energy.answer import Answer, each_once
from analyzer.energy.declared.technology import Technology
from analyzer.energy.declared.technology import technologies as shipped
from analyzer.energy.declared.technology import technology as read_technology
from analyzer.energy.paradigms.break_even import rates
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.tabular import distinct
from analyzer.units import format_energy_pj, format_ratio, format_share

__all__ = ["Chips", "chips"]


@dataclass(frozen=True, eq=False, repr=False)
class Chips(Answer):
    """A dense model and spiking ones under technologies: what :func:`analyzer.chips` returns.

    Attributes:
        rows: One row a technology and spiking model: ``technology`` and its ``precision``,
            ``model``, ``energy_pj`` and ``dense_pj`` per sample (NaN where the technology has no
            multiply-accumulate and no other is named for the dense model), ``host_pj``, what a
            host takes of the energy, their ``ratio``, the ``rate`` of dense work that spikes cause
            now and the ``break_even_rate`` (minus infinity where even silence takes more),
            ``dominates``, what takes most, the ``unpriced_macs`` per sample, and whether the
            energy is a ``lower_bound``.
        reports: All that was priced.
        basis: What is said of hosts and of the dense model.
    """

    figure = "chips"
    words = frozenset({"Technology", "Format", "Model", "Dominates"})

    rows: pd.DataFrame
    reports: tuple[EnergyReport, ...]
    basis: str

    @property
    def notes(self) -> list[str]:
        """What limits the figures."""
        said = [self.basis] if self.basis else []
        lacking = self.rows.loc[self.rows["unpriced_macs"] > 0, "technology"].unique()
        if len(lacking):
            said.append(
                f"No multiply-accumulate: {', '.join(lacking)}. Those of the model are not priced "
                "there, so its energy is a lower bound (≥); name a host for them."
            )
        return each_once(said, *(each.notes_without("unpriced") for each in self.reports))

    @property
    def summary(self) -> str:
        """Where each spiking model takes less than the dense one, in words."""
        said = []
        for name, rows in self.rows.groupby("model", sort=False):
            known = rows[rows["ratio"].notna() & ~rows["lower_bound"]]
            if known.empty:
                said.append(f"{name} is set against a dense model under no technology.")
                continue
            if len(known) == 1:
                found = known.iloc[0]
                ratio = format_ratio(found["ratio"])
                said.append(f"{name} takes {ratio} of the dense model under {found['technology']}.")
                continue
            less = known[known["ratio"] < 1]
            said.append(
                f"{name} takes less than the dense model under {len(less)} of {len(known)} "
                f"technologies, {format_ratio(known['ratio'].min())} to "
                f"{format_ratio(known['ratio'].max())} of it."
            )
        return " ".join(said)

    def shown(self) -> pd.DataFrame:
        """The rows as text, the least energy first."""
        rows = self.rows
        bound = rows["lower_bound"].map({True: "≥ ", False: ""})
        return pd.DataFrame(
            {
                "Technology": rows["technology"],
                "Format": rows["precision"],
                "Model": rows["model"],
                "Energy": bound + rows["energy_pj"].map(format_energy_pj),
                "On the host": rows["host_pj"].map(format_energy_pj),
                "Dense": rows["dense_pj"].map(format_energy_pj),
                "Ratio": bound.where(rows["ratio"].notna(), "") + rows["ratio"].map(format_ratio),
                "Rate now": rows["rate"].map(format_share),
                "Break-even": [
                    "never" if math.isinf(rate) else format_share(rate)
                    for rate in rows["break_even_rate"]
                ],
                "Dominates": rows["dominates"],
            }
        )


def chips(
    dense: Facts,
    spiking: Sequence[Facts],
    convention: str = "exact",
    *,
    technologies: Sequence[str] | None = None,
    dense_technology: str | None = None,
    host: str | None = None,
) -> Chips:
    """Prices a dense model and spiking ones under every technology, each at its cheapest format.

    Use it to choose hardware: which technology takes least, what dominates there, and how far a
    conclusion depends on it. Arithmetic alone is priced; see
    :func:`analyzer.beyond_arithmetic` for memory.

    Args:
        dense: What the others are set against.
        spiking: One or more.
        convention: Reading of the facts of all.
        technologies: Names or files; all that the package ships by default.
        dense_technology: That of the dense model, for a comparison of two chips. By default it is
            priced under each technology that has a multiply-accumulate.
        host: A technology that does the multiply-accumulates which a chip has no price of, such as
            those of a first layer that reads images. Without one such energies are lower bounds.

    Raises:
        AnalyzerError: Where there is no spiking profile, a technology is not known, or one that is
            to multiply has no multiply-accumulate.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "fc"], "op": ["conv2d", "linear"]}
        >>> ann = analyzer.from_rates(
        ...     table | {"dense_macs": [250, 25], "firing_rate": [1, 1]}, name="ann"
        ... )
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> found = analyzer.chips(
        ...     ann, [snn], "rate", technologies=["45nm", "loihi"], host="45nm"
        ... )
        >>> found.shown()[["Technology", "Format", "Energy", "On the host"]].to_dict("records")[1]
        {'Technology': 'loihi', 'Format': 'any', 'Energy': '4.74 nJ', 'On the host': '23 pJ'}
    """
    if not spiking:
        raise AnalyzerError("give a dense profile and at least one spiking profile.")
    names = distinct([profile.name for profile in spiking])
    of_host, of_dense = (_multiplying(name) for name in (host, dense_technology))
    rows: list[dict[str, Any]] = []
    reports: list[EnergyReport] = []
    for known in map(read_technology, shipped() if technologies is None else technologies):
        theirs = None
        where = of_dense or (known if known.multiplies else None)
        if where is not None:
            theirs = price(dense, where, convention, _cheapest(where))
            reports.append(theirs)
        for profile, name in zip(spiking, names, strict=True):
            ours = price(profile, known, convention, _cheapest(known))
            silent = price(profile, known, convention, _cheapest(known), activity=0)
            reports.append(ours)
            rows.append({"model": name, **_row(known, ours, silent, theirs, of_host)})
    order = pd.DataFrame(rows).sort_values("energy_pj", kind="stable").reset_index(drop=True)
    return Chips(order, tuple(reports), " ".join(_said(of_host, of_dense)))


def _cheapest(known: Technology) -> str:
    """The number format in which a multiply-accumulate takes least."""
    return min(known.formats(), key=lambda name: (known.mac_pj(name), known.ac_pj(name)))


def _multiplying(name: str | None) -> Technology | None:
    if name is None:
        return None
    known = read_technology(name)
    if not known.multiplies:
        raise AnalyzerError(f"technology {name!r} has no multiply-accumulate: name another.")
    return known


def _row(
    known: Technology,
    ours: EnergyReport,
    silent: EnergyReport,
    theirs: EnergyReport | None,
    host: Technology | None,
) -> dict[str, Any]:
    macs = ours.unpriced_macs
    host_pj = macs * host.mac_pj(_cheapest(host)) if host is not None else 0.0
    energy = ours.total_pj + host_pj
    dense = math.nan if theirs is None or theirs.is_lower_bound else theirs.total_pj
    parts = {"AC": ours.components["ac_pj"], "MAC": ours.components["mac_pj"], "host": host_pj}
    rate, even = rates(ours, silent, dense, host_pj)
    lower_bound = ours.is_lower_bound and not (host and not ours.uncovered)
    return {
        "technology": known.name,
        "precision": ours.precision,
        "energy_pj": energy,
        "host_pj": host_pj,
        "dense_pj": dense,
        "ratio": energy / dense if dense else math.nan,
        "rate": rate,
        "break_even_rate": math.nan if lower_bound else even,
        "dominates": max(parts, key=lambda part: parts[part]),
        "unpriced_macs": 0.0 if host is not None else macs,
        "lower_bound": lower_bound,
    }


def _said(host: Technology | None, dense: Technology | None) -> Iterator[str]:
    if host is not None:
        yield (
            f"Multiply-accumulates that a chip lacks are done by {host.name} in "
            f"{_cheapest(host)}, {host.mac_pj(_cheapest(host)):g} pJ each."
        )
    if dense is not None:
        yield f"The dense model is priced under {dense.name} in {_cheapest(dense)}."
