"""Which layers cost most and why, and what each change that the facts suggest would save."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from analyzer.advice.changes import Change, followed
from analyzer.advice.finding import changes_of, norm_before, sites_by_layer
from analyzer.energy.answer import Told
from analyzer.energy.explaining.causes import by_layer
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, Tally
from analyzer.facts.values import DRIVING
from analyzer.profiles import Profile
from analyzer.units import format_energy_pj, format_share, format_si

__all__ = ["Advice", "advise"]

_MOVES = "what moves is taken to follow the counts"
_KEPT = "what it takes to keep the result is not counted"


@dataclass(frozen=True, eq=False, repr=False)
class Advice(Told):
    """What a profile could save: what :func:`analyzer.advise` returns.

    Attributes:
        report: The profile as it is, priced.
        rows: A row a piece of advice, the one that saves most first: its ``kind``, the ``module``
            and ``op`` that it is about, ``energy_pj`` of that layer now, ``saving_pj`` of the whole
            model, ``certainty``, the ``advice`` in words, ``how`` the saving follows, and the
            ``assumption`` that it rests on. The certainty is ``exact`` where the saving follows
            from the counted facts alone, ``estimate`` where it needs the assumption. All a sample.
        costs: A row a layer that takes energy, the largest first: ``module``, ``op``,
            ``energy_pj``, ``share`` and ``why`` in words.
        together: What all pieces of one kind save together: ``kind``, ``layers``, ``saving_pj``
            and ``certainty``.
        profile: The profile.
        changes: What each row changes.
    """

    stem = "advice"
    words = frozenset({"Module", "Operation", "Certainty", "Advice", "How"})

    report: EnergyReport
    rows: pd.DataFrame
    costs: pd.DataFrame
    together: pd.DataFrame
    profile: Profile
    changes: tuple[Change, ...]

    def followed(self, *which: int) -> Profile:
        """The facts as they would be if some pieces of advice were followed.

        Args:
            which: Numbers of rows; the first by default. Of two that change one layer, the later
                counts.

        Raises:
            AnalyzerError: Where there is no such row.
        """
        chosen = which or (0,)
        wrong = [n for n in chosen if not 0 <= n < len(self.changes)]
        if wrong:
            raise AnalyzerError(
                f"there is no advice {wrong[0]}: {len(self.changes)} rows are numbered from 0."
            )
        return followed(self.profile, [self.changes[n] for n in chosen])

    @property
    def summary(self) -> str:
        """The first piece of advice, in words."""
        total = self.report.total_pj
        text = f"{self.report.name}: {self.report.total_text} a sample"
        if self.rows.empty:
            return f"{text}; the facts suggest nothing that would save."
        first = self.rows.iloc[0]
        return (
            f"{text}. First: {first['module'] or '(model)'} {first['advice']}, which saves "
            f"{format_energy_pj(first['saving_pj'])} ({format_share(first['saving_pj'] / total)}, "
            f"{first['certainty']})."
        )

    @property
    def notes(self) -> list[str]:
        """What all pieces of a kind save together, what they rest on, and what limits them."""
        said = [
            f"All {row['layers']} of {row['kind']} together: "
            f"{format_energy_pj(row['saving_pj'])} ({row['certainty']})."
            for _, row in self.together.iterrows()
            if row["layers"] > 1
        ]
        if len(self.rows) > 1:
            said.append("Pieces of advice overlap: savings of several do not add up.")
        for kind, text in dict(
            zip(self.rows["kind"], self.rows["assumption"], strict=True)
        ).items():
            if text:
                said.append(f"{kind.capitalize()}: {text}.")
        said.append(f"Priced with {self.report.basis}.")
        return [*said, *self.report.notes]

    def shown(self) -> pd.DataFrame:
        """The advice as text, the largest saving first."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Module": rows["module"].replace("", "(model)"),
                "Operation": rows["op"],
                "Now": rows["energy_pj"].map(format_energy_pj),
                "Saves": rows["saving_pj"].map(format_energy_pj),
                "Certainty": rows["certainty"],
                "Advice": rows["advice"],
                "How": rows["how"],
            }
        )

    def shown_costs(self, most: int = 10) -> pd.DataFrame:
        """The layers that cost most as text.

        Args:
            most: How many.
        """
        rows = self.costs.head(most)
        return pd.DataFrame(
            {
                "Module": rows["module"].replace("", "(model)"),
                "Operation": rows["op"],
                "Energy": rows["energy_pj"].map(format_energy_pj),
                "Share": rows["share"].map(format_share),
                "Why": rows["why"],
            }
        )


def advise(
    profile: Profile,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
) -> Advice:
    """Says which layers cost most and why, and what changing them would save.

    Each piece of advice is a change of the counted facts, and its saving is the price of the
    profile before minus its price after. Nothing is run. The kinds are

    - ``sums as spikes``: a layer that reads sums of spikes multiplies; sent as n spikes, a value of
      n costs n accumulates. The result is the same, so nothing is trained again.
    - ``membrane shortcut``: neurons in front of such a layer, which sums then reach as potentials.
    - ``cache``: a layer that reads the same in each timestep is computed once.
    - ``silent channels``: output channels that lead only to neurons that never fired are left out.
    - ``silent neurons``: neurons that never fired are left out, where their updates are charged: by
      a memory model, or by a convention with ``elementwise=priced``.
    - ``norm``: a layer of a spiking model that reads the output of a norm gets neurons in between.

    Args:
        profile: A measured profile.
        technology: Name or file of the constants.
        convention: Name or file of the reading of the facts. One that counts sums of spikes as
            accumulates leaves nothing to save there.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone. With one, every saving is an estimate, for
            nobody measured what would move.

    Raises:
        AnalyzerError: Where the profile was not measured, or can not be priced so.

    Example:
        >>> import torch
        >>> import analyzer
        >>> sums = torch.tensor([[0.0, 1.0, 2.0, 0.0]])
        >>> class Model(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.second = (torch.nn.Linear(4, 4, bias=False) for _ in range(2))
        ...     def forward(self, x):
        ...         spikes = (self.first(x) > 9).float()
        ...         return self.second(spikes + sums)
        >>> profile = analyzer.profile(Model().eval(), torch.eye(4)[:1], name="net")
        >>> found = analyzer.advise(profile)
        >>> found.rows[["kind", "module", "saving_pj"]].iloc[0].to_dict()
        {'kind': 'membrane shortcut', 'module': 'second', 'saving_pj': 66.4}
        >>> found.rows["certainty"].tolist()
        ['estimate', 'exact']
    """
    if not profile.contractions:
        raise AnalyzerError(
            f"profile {profile.name!r} was not measured, so nothing tells what its layers read: "
            "make one with analyzer.profile."
        )

    def priced(changed: Profile) -> EnergyReport:
        return price(changed, technology, convention, precision, memory)

    report = priced(profile)
    layers = by_layer(report).reset_index()
    known = {(row["module"], row["op"]): row for _, row in layers.iterrows()}
    found = []
    for change in changes_of(profile):
        after = priced(followed(profile, [change]))
        saving = report.total_pj - after.total_pj
        if saving > 1e-9 * report.total_pj:
            found.append((saving, change, _how(change, report, after, profile.tallies)))
    found.sort(key=lambda each: -each[0])
    changes = tuple(
        replace(change, assumption=_assumption(change, memory)) for _, change, _ in found
    )
    rows = pd.DataFrame(
        [
            (
                change.kind,
                change.module,
                change.op,
                float(known[change.module, change.op]["total_pj"]),
                saving,
                _certainty(change, memory),
                change.advice,
                how,
                change.assumption,
            )
            for change, (saving, _, how) in zip(changes, found, strict=True)
        ],
        columns=[
            "kind", "module", "op", "energy_pj", "saving_pj", "certainty", "advice", "how",
            "assumption",
        ],
    )  # fmt: skip
    together = []
    for kind in dict.fromkeys(change.kind for change in changes):
        alike = [change for change in changes if change.kind == kind]
        after = priced(followed(profile, alike))
        certainty = _certainty(alike[0], memory)
        together.append((kind, len(alike), report.total_pj - after.total_pj, certainty))
    return Advice(
        report,
        rows,
        _costs(layers, report, profile),
        pd.DataFrame(together, columns=["kind", "layers", "saving_pj", "certainty"]),
        profile,
        changes,
    )


def _certainty(change: Change, memory: str | None) -> str:
    exact = change.kind in ("sums as spikes", "cache") and memory is None
    return "exact" if exact else "estimate"


def _assumption(change: Change, memory: str | None) -> str:
    said = [change.assumption, _KEPT if change.kind == "cache" else "", _MOVES if memory else ""]
    return "; ".join(text for text in said if text)


def _how(
    change: Change, before: EnergyReport, after: EnergyReport, tallies: Iterable[Tally]
) -> str:
    """The operations of the layer before and after, which the saving is the price of."""
    if change.tallies:
        ((key, new),) = change.tallies.items()
        (old,) = (tally for tally in tallies if tally.key == key)
        return f"{format_si(old.state_elements)} → {format_si(new.state_elements)} state elements"
    was, now = (_work(report, change) for report in (before, after))
    return f"{was} → {now}"


def _work(report: EnergyReport, change: Change) -> str:
    table = report.table
    rows = table[(table["module"] == change.module) & (table["op"] == change.op)]
    said = [
        f"{format_si(float(rows[c].sum()))} {c.upper()}" for c in ("ac", "mac") if rows[c].sum()
    ]
    return " + ".join(said) or "nothing"


def _costs(rows: pd.DataFrame, report: EnergyReport, profile: Profile) -> pd.DataFrame:
    rows = rows[rows["total_pj"] > 0].sort_values("total_pj", ascending=False, kind="stable")
    sites = sites_by_layer(profile)
    why = [
        _why(row, report, profile, _levels(sites.get((row["module"], row["op"]), ())))
        for _, row in rows.iterrows()
    ]
    return pd.DataFrame(
        {
            "module": rows["module"].tolist(),
            "op": rows["op"].tolist(),
            "energy_pj": rows["total_pj"].tolist(),
            "share": (rows["total_pj"] / report.total_pj).tolist(),
            "why": why,
        }
    )


def _levels(sites: Iterable[Contraction]) -> str:
    values = [o.values for s in sites for o in s.activations]
    graded = [v for v in values if v.kind == "graded"]
    if not graded:
        return ""
    return f" ({min(v.low for v in graded)} to {max(v.high for v in graded)})"


_WITHOUT_PRODUCTS = MappingProxyType(
    {"neurons": "its updates", "element-wise": "element-wise work"}
)


def _why(row: pd.Series[Any], report: EnergyReport, profile: Profile, levels: str) -> str:
    """Why a layer takes what it takes."""
    module, reads, ac, mac = (row[key] for key in ("module", "input_class", "ac", "mac"))
    if not ac and not mac:
        moves = "what moves" if report.memory else ""
        charged = (_WITHOUT_PRODUCTS.get(row["reason"], ""), moves)
        return " and ".join(text for text in charged if text)
    levels = levels if "graded" in reads else ""
    if mac > ac:
        kinds = reads.split(", ")
        if reads and all(DRIVING & set(kind.split("*")) for kind in kinds):
            return (
                f"reads {reads}{levels}, and convention {report.convention.name} has spikes drive "
                f"nothing of it: {format_si(mac)} MAC"
            )
        norm = norm_before(profile, module) if "real" in reads else None
        behind = f" behind {norm.module} ({norm.kind})" if norm is not None else ""
        return f"reads {reads or 'nothing known'}{levels}{behind}, so {format_si(mac)} MAC"
    dense = row["dense_macs"]
    share = format_share(ac / dense) if dense else "0 %"
    return (
        f"reads {reads or 'spikes'}{levels}, which cause {share} of {format_si(dense)} dense: "
        f"{format_si(ac)} AC"
    )
