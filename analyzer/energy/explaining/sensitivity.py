"""How far an energy depends on each constant, within the range that sources give it."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from analyzer.energy.answer import Answer
from analyzer.energy.declared.memory import MemoryModel, memory_model
from analyzer.energy.declared.technology import Technology
from analyzer.energy.declared.technology import technology as read_technology
from analyzer.energy.pricing.price import price
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError
from analyzer.facts.protocol import Facts
from analyzer.units import format_energy_pj

__all__ = ["Sensitivity", "changed", "current", "ranges", "sensitivity", "varied"]

ACTIVITY = "activity"
"""A factor on the spikes of driven operations, which may be varied like a constant."""


class _Case(NamedTuple):
    """One constant at one value."""

    constant: str
    value: Any
    technology: Technology
    memory: MemoryModel | None
    activity: float = 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(Answer):
    """The energy of one profile while one constant at a time takes other values.

    Attributes:
        report: With all constants as they are.
        rows: One row a constant that makes a difference: ``constant``, ``value`` as it is, ``low``
            and ``high``, the values at which the energy is least and most, ``low_pj`` and
            ``high_pj``, the energies there, per sample; the largest span first.
    """

    stem = "sensitivity"
    figure = "tornado"
    words = frozenset({"Constant"})

    report: EnergyReport
    rows: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """What limits the figures."""
        return self.report.notes

    @property
    def summary(self) -> str:
        """What decides most, in one sentence."""
        text = f"{self.report.name} takes {self.report.total_text} per sample"
        if self.rows.empty:
            return f"{text}; no constant with a range makes a difference ({self.report.basis})."
        name, least, most, low, high = (
            self.rows[column].tolist()[0]
            for column in ("constant", "low", "high", "low_pj", "high_pj")
        )
        return (
            f"{text}; {name} alone moves it from {format_energy_pj(low)} ({least}) to "
            f"{format_energy_pj(high)} ({most}); {self.report.basis}."
        )

    def shown(self) -> pd.DataFrame:
        """The rows as text."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Constant": rows["constant"],
                "Value": rows["value"].map(str),
                "Least at": rows["low"].map(str),
                "Most at": rows["high"].map(str),
                "Least": rows["low_pj"].map(format_energy_pj),
                "Most": rows["high_pj"].map(format_energy_pj),
            }
        )


def sensitivity(
    profile: Facts,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
) -> Sensitivity:
    """Says how far each constant alone moves the energy of a profile.

    Use it to see which constants a conclusion rests on. The profile is priced anew with each
    constant at the ends of the range that its sources give, or that is asked for.

    Args:
        profile: The facts.
        technology: Constants, some with the range of their sources.
        convention: Reading of the facts.
        precision: Number format that is priced.
        memory: Memory model, some settings of which have values to choose of.
        vary: More values to try, in place of those: ``{"add_pj.fp32": (0.5, 0.9)}``, settings of
            the memory model, ``levels.NAME`` as factors, and ``activity``, a factor on spikes.

    Raises:
        AnalyzerError: Where there is no such constant, or a value is none for it.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> found = analyzer.sensitivity(snn, convention="rate", vary={"activity": (0.5, 2)})
        >>> print(found.rows[["constant", "low", "high", "low_pj", "high_pj"]])
           constant  low  high  low_pj  high_pj
        0  activity  0.5     2   550.0    820.0
    """
    tech, model = read_technology(technology), None if memory is None else memory_model(memory)
    base = price(profile, tech, convention, precision, model)
    tried: dict[str, list[tuple[Any, float]]] = {}
    now: dict[str, Any] = {}
    for case in _cases(tech, model, dict(vary or {})):
        now[case.constant] = current(case.constant, tech, model)
        energy = price(profile, case.technology, convention, precision, case.memory, case.activity)
        tried.setdefault(case.constant, []).append((case.value, energy.total_pj))
    rows: list[tuple[Any, ...]] = []
    for constant, others in tried.items():
        found = [*others, (now[constant], base.total_pj)]
        low, low_pj = min(found, key=lambda pair: pair[1])
        high, high_pj = max(found, key=lambda pair: pair[1])
        if high_pj > low_pj:
            rows.append((constant, now[constant], low, high, low_pj, high_pj))
    columns = ["constant", "value", "low", "high", "low_pj", "high_pj"]
    table = pd.DataFrame(rows, columns=columns)
    spans = (table["high_pj"] - table["low_pj"]).astype("float64")
    order = spans.sort_values(ascending=False, kind="stable").index
    return Sensitivity(base, table.loc[order].reset_index(drop=True))


def ranges(tech: Technology, model: MemoryModel | None) -> dict[str, Sequence[Any]]:
    """The values that sources give for each constant in doubt, and choices for each setting."""
    found: dict[str, Sequence[Any]] = {
        f"{figure.section}.{figure.key}": (figure.low, figure.high)
        for figure in tech.figures
        if figure.low != figure.high
    }
    for key, values in model.range.items() if model is not None else ():
        if key == "levels":
            found |= {f"levels.{name}": factors for name, factors in values.items()}
        else:
            found[key] = values
    return found


def changed(tech: Technology, key: str, value: float) -> Technology:
    """The technology with another value of a constant such as ``add_pj.fp32``."""
    return tech.with_constants({key: value}, tech.name)


def varied(texts: Sequence[str]) -> dict[str, list[Any]]:
    """``KEY=LOW,HIGH`` as given on a command line."""
    found = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not (equals and key and values):
            raise AnalyzerError(f"{text!r} is no range: write it like add_pj.fp32=0.5,0.9.")
        found[key.strip()] = [_plain(value.strip()) for value in values.split(",")]
    return found


def _plain(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _cases(
    tech: Technology, model: MemoryModel | None, vary: dict[str, Sequence[Any]]
) -> Iterator[_Case]:
    """All values of all constants: those of their sources, or those that were asked for."""
    for key, values in (ranges(tech, model) | vary).items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise AnalyzerError(f"{key} can not be varied over {values!r}: give a list of values.")
        for value in values:
            yield _case(key, value, tech, model)


def _case(key: str, value: Any, tech: Technology, model: MemoryModel | None) -> _Case:
    section, _, name = key.rpartition(".")
    is_number = type(value) in (int, float) and 0 <= value < math.inf
    if (key == ACTIVITY or section == "levels" or section in tech.sections) and not is_number:
        raise AnalyzerError(f"{key} can not be {value!r}: it is a number from 0 on.")
    if key == ACTIVITY:
        return _Case(key, value, tech, model, float(value))
    if name in tech.sections.get(section, {}):
        return _Case(key, value, changed(tech, key, value), model)
    if model is not None and section == "levels" and name in model.levels:
        levels = {**model.levels, name: model.levels[name].times(value)}
        return _Case(key, value, tech, replace(model, levels=levels))
    if model is not None and not section:
        return _Case(key, value, tech, model.with_settings({key: value}))
    known = [f"{f.section}.{f.key}" for f in tech.figures]
    if model is not None:
        known += [f"levels.{level}" for level in model.levels]
    raise AnalyzerError(
        f"there is no constant {key!r} to vary: choose of {', '.join([*known, ACTIVITY])}"
        + (", or a setting of the memory model." if model is not None else ".")
    )


def current(key: str, tech: Technology, model: MemoryModel | None) -> Any:
    """The value of a constant or setting as it is; 1 of a factor."""
    section, _, name = key.rpartition(".")
    if section in tech.sections:
        return tech.sections[section][name]
    return 1.0 if section == "levels" or key == ACTIVITY else getattr(model, key)
