"""Technologies: what one operation costs, each constant with its unit, source and range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from analyzer.energy.declared.constants import available, read_toml
from analyzer.energy.declared.keys import LARGEST, Number, Table, checked, table_of
from analyzer.errors import AnalyzerError
from analyzer.specs import split

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

    def with_constants(self, constants: Mapping[str, float], name: str) -> Technology:
        """The same with other constants.

        Args:
            constants: By section and key, such as ``add_pj.fp32``.
            name: What it is called.

        Raises:
            AnalyzerError: Where there is no such constant, or a value can be none.
        """
        sections = {section: dict(table) for section, table in self.sections.items()}
        for key, value in constants.items():
            section, _, figure = key.partition(".")
            if figure not in sections.get(section, {}):
                known = ", ".join(f"{f.section}.{f.key}" for f in self.figures)
                raise AnalyzerError(f"technology {self.name!r} has no {key!r}: choose of {known}.")
            if not 0 <= value <= LARGEST:
                raise AnalyzerError(
                    f"{key} can not be {value!r}: it is a number from 0 to {LARGEST:g}."
                )
            sections[section][figure] = value
        return replace(self, name=name, sections=sections)

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
    """Reads a technology by name, or from a file of the user's that ends in ``.toml``.

    Args:
        name: The name or file, perhaps with constants of one's own:
            ``45nm(add_pj.fp32=0.1, multiply_pj.fp32=2)``.

    Raises:
        AnalyzerError: Where there is none of that name, or it has no such constant.
    """
    bare, inside = split(name)
    known = _read(bare)
    return (
        known
        if bare == name
        else known.with_constants(_constants(name, inside), f"{known.name}({inside})")
    )


def _constants(name: str, text: str) -> dict[str, float]:
    """What stands in the brackets behind a name."""
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        found = {key.strip(): float(value) for key, value in pairs}
        if len(found) < len(pairs):
            raise ValueError
    except ValueError:
        raise AnalyzerError(
            f"the constants in {name!r} are not understood: write numbers, each once, such as "
            "45nm(add_pj.fp32=0.1, multiply_pj.fp32=2)."
        ) from None
    return found


def _read(name: str) -> Technology:
    of = f"technology {name!r}"
    found = checked(read_toml("technologies", name, "technology"), _KEYS, of)
    sections = {key: table for key, table in found.items() if key in _SECTIONS}
    ranges = found.get("range", {})
    if not sections:
        raise AnalyzerError(f"{of} has no section of {', '.join(_SECTIONS)}.")
    for section, table in sections.items():
        if not table:
            raise AnalyzerError(f"{of} has no figures under [{section}].")
        if len(table) > 1 and section in ("synop_pj", "operation_pj"):
            raise AnalyzerError(f"{of} has several prices of one operation: keep one.")
    for section, doubts in ranges.items():
        for key in doubts:
            if key not in sections.get(section, ()):
                raise AnalyzerError(f"{of} has a range of {section}.{key}, but no such figure.")
    texts = {key: found[key] for key in (*_TEXTS, "confidence") if key in found}
    return Technology(**texts, sections=sections, ranges=ranges)


_TEXTS = ("name", "title", "source", "includes")
_DOUBT = Table({"low": Number, "high": Number, "note": str})
_KEYS = Table(
    {
        **dict.fromkeys(_TEXTS, str),
        "confidence": Literal["A", "B", "C"],
        **dict.fromkeys(_SECTIONS, table_of(Number)),
        "range": Table(dict.fromkeys(_SECTIONS, table_of(_DOUBT))),
    },
    ("name", "title", "source"),
)


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
