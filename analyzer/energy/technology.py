"""Technologies: what one operation costs, each constant with its unit, source and range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from analyzer.energy.constants import available, read_toml
from analyzer.errors import AnalyzerError

__all__ = ["Figure", "Technology", "technologies", "technology"]

_SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "add_pj": "pJ an addition",
        "multiply_pj": "pJ a multiplication",
        "synop_pj": "pJ a synaptic operation",
        "operation_pj": "pJ an operation",
        "neuron_pj": "pJ a neuron update",
        "memory_pj": "pJ a 64-bit read",
        "memory_pj_per_bit": "pJ a bit",
    }
)
_TEXTS = ("name", "title", "source", "includes")
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Figure:
    """One constant of a technology or memory model.

    Attributes:
        section: What it is the energy of, such as ``add_pj``.
        key: Which one of these: a number format, or a memory.
        value: The constant, in its unit.
        unit: The unit in words.
        source: Where it was published.
        confidence: A where it was read in the source itself, B where copies agree, C where there
            is one copy only.
        low: Least value that a source gives.
        high: Largest value that a source gives.
        note: Why they differ.
    """

    section: str
    key: str
    value: float
    unit: str
    source: str
    confidence: str
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Technology:
    """Energy of single operations, in picojoules.

    A circuit has additions and multiplications by number format (``fp32``, ``int8``, ...), a
    neuromorphic chip one price of a synaptic operation and no multiply-accumulate, a processor one
    price of any operation.
    """

    name: str
    title: str
    source: str
    confidence: Literal["A", "B", "C"] = "A"
    includes: str = ""
    sections: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def add_pj(self) -> Mapping[str, float]:
        """Additions by number format."""
        return self.sections.get("add_pj", _NOTHING)

    @property
    def multiply_pj(self) -> Mapping[str, float]:
        """Multiplications by number format."""
        return self.sections.get("multiply_pj", _NOTHING)

    @property
    def multiplies(self) -> bool:
        """Whether it has a price of a multiply-accumulate."""
        return "synop_pj" not in self.sections

    @property
    def figures(self) -> Iterator[Figure]:
        """All constants, each with where it comes from and how far sources differ."""
        for section, unit in _SECTIONS.items():
            for key, value in self.sections.get(section, _NOTHING).items():
                doubt = self.ranges.get(section, {}).get(key, {})
                yield Figure(
                    section,
                    key,
                    value,
                    unit,
                    self.source,
                    self.confidence,
                    float(doubt.get("low", value)),
                    float(doubt.get("high", value)),
                    str(doubt.get("note", "")),
                )

    def ac_pj(self, precision: str = "fp32") -> float:
        """One accumulate: an addition, or a synaptic operation."""
        single = self._single()
        return self._figure("add_pj", "addition", precision) if single is None else single

    def mac_pj(self, precision: str = "fp32") -> float:
        """One multiply-accumulate: a multiplication and an addition; 0 where there is none."""
        if not self.multiplies:
            return 0.0
        single = self._single()
        if single is not None:
            return single
        return self._figure("multiply_pj", "multiplication", precision) + self.ac_pj(precision)

    def formats(self) -> list[str]:
        """Number formats that an accumulate and a multiply-accumulate have prices in."""
        if self._single() is not None:
            return ["any"]
        return [key for key in self.multiply_pj if key in self.add_pj]

    def _single(self) -> float | None:
        """The one price of a chip or a processor."""
        for section in ("synop_pj", "operation_pj"):
            for value in self.sections.get(section, _NOTHING).values():
                return value
        return None

    def _figure(self, section: str, operation: str, precision: str) -> float:
        table = self.sections.get(section, _NOTHING)
        if precision not in table:
            raise AnalyzerError(
                f"technology {self.name!r} has no {operation} in {precision!r}: "
                f"it knows {', '.join(table)}."
            )
        return table[precision]


def technology(name: str) -> Technology:
    """Reads a technology by name, or from a file of the user's that ends in ``.toml``."""
    data = read_toml("technologies", name, "technology")
    texts = {key: data.pop(key, "") for key in _TEXTS}
    confidence = data.pop("confidence", "A")
    ranges = data.pop("range", {})
    missing = [key for key in ("name", "title", "source") if not texts[key]]
    foreign = sorted(data.keys() - _SECTIONS.keys())
    if missing or foreign:
        what = f"lacks the key {missing[0]!r}" if missing else f"does not know {foreign[0]!r}"
        raise AnalyzerError(f"technology {name!r} {what}; its sections are {', '.join(_SECTIONS)}.")
    if confidence not in ("A", "B", "C"):
        raise AnalyzerError(f"technology {name!r} has confidence {confidence!r}: choose A, B or C.")
    if not data:
        raise AnalyzerError(f"technology {name!r} has no section of {', '.join(_SECTIONS)}.")
    for section, table in (*data.items(), ("range", ranges)):
        if not isinstance(table, dict) or (not table and section != "range"):
            raise AnalyzerError(f"technology {name!r} has no figures under [{section}].")
    if len(data.get("synop_pj", {})) > 1 or len(data.get("operation_pj", {})) > 1:
        raise AnalyzerError(f"technology {name!r} has several prices of one operation: keep one.")
    bounds = [
        (f"range.{section}.{key}", {k: v for k, v in doubt.items() if k in ("low", "high")})
        for section, doubts in ranges.items()
        for key, doubt in doubts.items()
    ]
    for section, table in (*data.items(), *bounds):
        for key, value in table.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise AnalyzerError(
                    f"technology {name!r} has {section}.{key} = {value!r}: it must be a number "
                    f"from 0, in {_SECTIONS.get(section, 'the unit of its figure')}."
                )
    return Technology(**texts, confidence=confidence, sections=data, ranges=ranges)


def technologies() -> dict[str, str]:
    """Names of all technologies that the package ships, each with where its constants come from.

    A technology says what one operation costs, in picojoules. Each name is what ``technology=``
    takes; a path of a ``.toml`` file of one's own does as well.

    Example:
        >>> import analyzer
        >>> analyzer.technologies()["45nm"]
        "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014"
    """
    return {name: technology(name).source for name in available("technologies")}
