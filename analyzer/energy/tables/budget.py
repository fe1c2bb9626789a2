"""A budget of a model: limits in a file, and whether a profile keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import pandas as pd

from analyzer.energy.answer import Told
from analyzer.energy.declared.constants import read_toml
from analyzer.energy.declared.keys import Bounds, Number, Table, checked, table_of
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.energy.tables.summary import summary_of
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.facts.sent import listed
from analyzer.specs import PRICED
from analyzer.units import MJ_PER_PJ, format_energy_pj, format_share, format_si

__all__ = ["KEYS", "Budget", "Checked", "budget", "check"]

_Share = Annotated[float, Bounds(0, 1)]

_AT_MOST: Mapping[str, Any] = MappingProxyType(
    {
        "energy_mj": Number,
        "ac": Number,
        "mac": Number,
        "parameters": Number,
        "firing_rate": _Share,
    }
)
KEYS = Table(
    {
        **_AT_MOST,
        "accuracy": _Share,
        "layers": table_of(Table(dict(_AT_MOST))),
        "price": Table(dict.fromkeys(PRICED, str)),
    }
)


@dataclass(frozen=True)
class Budget:
    """What a model may take: what a budget file says.

    Attributes:
        name: The file.
        limits: Of the whole model, by key; ``accuracy`` is a least figure, all others are most.
        layers: By pattern of module paths, the limits of each module that it matches, with all
            below it.
        price: What energies are priced with, where the file says so.
    """

    name: str
    limits: Mapping[str, float]
    layers: Mapping[str, Mapping[str, float]]
    price: Mapping[str, str]


def budget(path: str | Path) -> Budget:
    """Reads a budget file.

    Args:
        path: A TOML file; `docs/reference/toml.md` lists its keys.

    Raises:
        AnalyzerError: Where it can't be read, has an unknown key or a value that can not be, or
            limits nothing.
    """
    name = str(path)
    of = f"budget {name!r}"
    if not name.endswith(".toml"):
        raise AnalyzerError(f"{of} is no TOML file: give one that ends in .toml.")
    found = checked(read_toml("", name, "budget"), KEYS, of)
    layers, prices = found.pop("layers", {}), found.pop("price", {})
    empty = next((pattern for pattern, limits in layers.items() if not limits), None)
    if empty is not None:
        raise AnalyzerError(f"{of} limits nothing of layers {empty!r}: give {_choice(_AT_MOST)}.")
    if not (found or layers):
        raise AnalyzerError(f"{of} limits nothing: give {_choice((*_AT_MOST, 'accuracy'))}.")
    return Budget(name, found, layers, prices)


def _choice(keys: Any) -> str:
    *most, last = keys
    return f"{', '.join(most)} or {last}"


@dataclass(frozen=True, eq=False, repr=False)
class Checked(Told):
    """A profile against a budget: what :func:`analyzer.check` returns.

    Attributes:
        report: The profile, priced.
        budget: The limits.
        rows: A row a limit: ``layer``, the pattern, empty for the whole model; ``key``; ``module``,
            the matching module that comes closest to the limit or exceeds it most; the ``limit``
            and the ``value``, per sample in the unit of the key, NaN where it is not known; the
            ``margin`` that is left, negative where it is exceeded; the ``verdict``, ``ok``,
            ``over``, ``under`` or ``unknown``; and ``why`` it is unknown.
    """

    words = frozenset({"Layer", "Limit of", "Verdict"})

    report: EnergyReport
    budget: Budget
    rows: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether every limit is known to be kept."""
        return bool((self.rows["verdict"] == "ok").all())

    @property
    def summary(self) -> str:
        """Whether the profile is within its budget, in words."""
        number, bad = len(self.rows), self.rows[self.rows["verdict"] != "ok"]
        limits = f"{number} limit{'s' if number > 1 else ''}"
        if bad.empty:
            return f"{self.report.name} is within its budget: {limits} of {self.budget.name} kept."
        first = bad.iloc[0]
        return (
            f"{self.report.name} is not within its budget: {len(bad)} of {limits} of "
            f"{self.budget.name} not kept, first {_named(first['key'], first['layer'])} "
            f"({first['verdict']})."
        )

    @property
    def notes(self) -> list[str]:
        """Why figures are unknown, and what limits them."""
        why = [w for w in dict.fromkeys(self.rows["why"]) if w]
        return [*why, f"Priced with {self.report.basis}.", *self.report.notes]

    def shown(self) -> pd.DataFrame:
        """The limits as text."""
        rows = self.rows
        most = rows["key"].map(lambda key: "≥ " if key == "accuracy" else "≤ ")

        def texts(column: str) -> list[str]:
            return [_text(k, v) for k, v in zip(rows["key"], rows[column], strict=True)]

        return pd.DataFrame(
            {
                "Layer": [
                    _layer(layer, module)
                    for layer, module in zip(rows["layer"], rows["module"], strict=True)
                ],
                "Limit of": rows["key"],
                "Limit": most + pd.Series(texts("limit"), rows.index),
                "Value": texts("value"),
                "Margin": texts("margin"),
                "Verdict": rows["verdict"],
            }
        )


def check(
    profile: Facts,
    limits: Budget | str | Path,
    technology: str | None = None,
    convention: str | None = None,
    precision: str | None = None,
    memory: str | None = None,
) -> Checked:
    """Says whether a profile keeps a budget, for a test or for CI.

    A figure that is not known is no pass: one that was not measured, one of a pattern that matches
    no module, and one that is only a lower bound, as where no rule covers an operation.

    Args:
        profile: The facts.
        limits: A budget, or its file.
        technology: Name or file of the constants; by default what the budget says, or ``45nm``.
        convention: Reading of the facts; likewise, or ``exact``.
        precision: Number format that is priced; likewise, or ``fp32``.
        memory: Memory model; likewise, or ``none``, which prices arithmetic alone.

    Raises:
        AnalyzerError: Where the budget is not right, or the profile can not be priced so.

    Example:
        >>> import analyzer
        >>> from analyzer.energy.tables.budget import Budget
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> limits = Budget("mine", {"ac": 250}, {"head": {"mac": 50}}, {"convention": "rate"})
        >>> found = analyzer.check(snn, limits)
        >>> found.ok
        False
        >>> print(found.rows[["layer", "key", "value", "margin", "verdict"]])
          layer  key  value  margin verdict
        0         ac  200.0    50.0      ok
        1  head  mac  100.0   -50.0    over
    """
    held = limits if isinstance(limits, Budget) else budget(limits)
    for known, keys in [((*_AT_MOST, "accuracy"), held.limits)] + [
        (tuple(_AT_MOST), each) for each in held.layers.values()
    ]:
        foreign = next((key for key in keys if key not in known), None)
        if foreign is not None:
            raise AnalyzerError(f"{held.name} limits {foreign!r}: choose {_choice(known)}.")
    said = {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": None}
    given = {"technology": technology, "convention": convention, "precision": precision,
             "memory": memory}  # fmt: skip
    chosen: dict[str, Any] = {
        key: given[key] or held.price.get(key) or default for key, default in said.items()
    }
    if chosen["memory"] == "none":
        chosen["memory"] = None
    report = price(profile, **chosen)
    frame = summary_of(profile, None, report).frame
    modules = frame[frame["op"] == ""].set_index("module")
    rows = [
        _row(key, limit, "", [""], modules, profile, report) for key, limit in held.limits.items()
    ]
    for pattern, each in held.layers.items():
        matching = [m for m in modules.index if m and fnmatchcase(m, pattern)]
        rows += [
            _row(key, limit, pattern, matching, modules, profile, report)
            for key, limit in each.items()
        ]
    columns = ["layer", "key", "module", "limit", "value", "margin", "verdict", "why"]
    return Checked(report, held, pd.DataFrame(rows, columns=columns))


def _row(
    key: str,
    limit: float,
    pattern: str,
    matching: list[str],
    modules: pd.DataFrame,
    profile: Facts,
    report: EnergyReport,
) -> tuple[Any, ...]:
    values = {module: _value(key, module, modules, profile) for module in matching}
    unknown = [module for module, value in values.items() if math.isnan(value)]
    if key == "firing_rate" and pattern and len(unknown) < len(values):
        # Of modules that hold no neurons nothing is sent, which is no missing figure.
        values = {module: v for module, v in values.items() if not math.isnan(v)}
        unknown = []
    if not values:
        why = f"No module matches {pattern!r}, so its limits are not kept: mend the pattern."
        return pattern, key, "", limit, math.nan, math.nan, "unknown", why
    hidden = _hidden(matching, profile) if key == "firing_rate" else []
    if hidden:
        why = (
            f"{report.name} has neurons of no known kind in {listed(hidden)}, so its "
            f"{_named(key, pattern)} is not known and the limit is not kept: teach them with "
            "analyzer.neuron."
        )
        return pattern, key, hidden[0], limit, math.nan, math.nan, "unknown", why
    if unknown:
        why = f"{report.name} does not tell its {_named(key, pattern)}, so the limit is not kept."
        return pattern, key, unknown[0], limit, math.nan, math.nan, "unknown", why
    least = key == "accuracy"
    worst = max(values, key=lambda module: -values[module] if least else values[module])
    value = values[worst]
    margin = value - limit if least else limit - value
    verdict, why = "ok", ""
    if margin < 0:
        verdict = "under" if least else "over"
    elif (key == "energy_mj" and report.is_lower_bound) or (
        key in ("ac", "mac") and report.uncovered
    ):
        verdict = "unknown"
        why = (
            f"{report.name}: {_named(key, pattern)} is a lower bound, so whether it is within its "
            "limit is not known."
        )
    return pattern, key, worst, limit, value, margin, verdict, why


def _hidden(matching: list[str], profile: Facts) -> list[str]:
    """Modules whose neurons are of no known kind, at or below those that match."""
    return [
        unknown
        for unknown in profile.metadata.get("unknown_neurons") or ()
        if any(not m or unknown == m or unknown.startswith(f"{m}.") for m in matching)
    ]


def _value(key: str, module: str, modules: pd.DataFrame, profile: Facts) -> float:
    """A figure of a module with all below it, NaN where it is not known."""
    found: Any = modules.loc[module, key] if module or key in modules else None
    if not module and key in ("accuracy", "parameters"):
        found = profile.accuracy if key == "accuracy" else profile.parameters
    return math.nan if found is None or pd.isna(found) else float(found)


def _named(key: str, pattern: str) -> str:
    name = {"energy_mj": "energy", "ac": "AC", "mac": "MAC"}.get(key, key.replace("_", " "))
    return f"{name} of {pattern!r}" if pattern else name


def _layer(pattern: str, module: str) -> str:
    if not pattern:
        return "(model)"
    return pattern if module in ("", pattern) else f"{pattern}: {module}"


def _text(key: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    sign = "−" if value < 0 else ""
    if key == "energy_mj":
        return sign + format_energy_pj(abs(value) / MJ_PER_PJ)
    return sign + (format_share if key in ("firing_rate", "accuracy") else format_si)(abs(value))
