"""Limits of neuromorphic chips: how many neurons, inputs and weights a core holds, with sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal

from analyzer.energy.declared.constants import available, read_toml
from analyzer.energy.declared.keys import Table, Whole, checked
from analyzer.errors import AnalyzerError

__all__ = ["Chip", "Limit", "chip", "hardware"]

_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "cores": "cores a chip",
        "neurons": "neurons a core",
        "axons": "inputs that the neurons of one core read together",
        "weight_memory_bits": "bits of weights a core",
        "weight_bits": "bits a weight, at most",
        "shares_weights": "whether a core keeps a weight once that several of its neurons use",
        "rounds_weights": "whether kernel positions and output channels count as powers of two",
        "rounds_neurons": "whether the sides of a map count as powers of two",
        "spikes": "classes of values that a spike carries",
        "operations": "operations that it runs",
        "destinations": "cores that one neuron sends to, at most",
        "each_core": "figures of cores that differ",
        "mesh": "tiles in a row, rows, and cores a tile",
    }
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One figure of a chip.

    Attributes:
        key: Which one, such as ``neurons``.
        value: A whole number, true or false, or a tuple; of ``mesh`` and ``each_core`` a table.
        unit: What it counts, in words.
        source: Where it was published.
        confidence: A where it was read in the source itself, B where copies agree, C where there
            is one copy only.
    """

    key: str
    value: Any
    unit: str
    source: str
    confidence: str

    @property
    def text(self) -> str:
        """The value in words."""
        value = self.value
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return f"{value:,}"
        if self.key == "mesh":
            return f"{value['columns']} × {value['rows']} tiles, {value['cores']} a tile"
        if self.key == "each_core":
            both = zip(value["neurons"], value["weight_memory_bits"], strict=True)
            runs = [(neurons, bits, len(list(same))) for (neurons, bits), same in groupby(both)]
            return "; ".join(
                f"{n} × {neurons:,} neurons, {bits:,} bits" for neurons, bits, n in runs
            )
        return ", ".join(value)


@dataclass(frozen=True)
class Chip:
    """What a chip has room for; a figure that no source gives is None.

    Attributes:
        name: What tables and messages call it.
        title: One line for captions.
        source: The publication that describes it.
        unchecked: What else limits it and is not checked, in words.
        limits: Its figures by key, each with its source.
        cores: Cores a chip.
        neurons: Neurons a core; None also where cores differ.
        axons: Inputs that the neurons of one core read together.
        weight_memory_bits: Bits of weights a core; None also where cores differ.
        weight_bits: The most bits that a weight may have.
        shares_weights: Whether a core keeps a weight once that several of its neurons use.
        rounds_weights: Whether kernel positions and output channels count as powers of two.
        rounds_neurons: Whether height and width of a map each count as a power of two.
        spikes: Classes of values that a spike carries.
        operations: All operations that it runs, where its source lists them.
        destinations: The most cores that one neuron sends to.
        each_core: Neurons and bits of weights of each core, where cores differ and a layer sits in
            one; else empty.
        mesh: Tiles in a row, rows, and cores a tile.
    """

    name: str
    title: str
    source: str
    unchecked: str
    limits: Mapping[str, Limit]
    cores: int | None = None
    neurons: int | None = None
    axons: int | None = None
    weight_memory_bits: int | None = None
    weight_bits: int | None = None
    shares_weights: bool | None = None
    rounds_weights: bool = False
    rounds_neurons: bool = False
    spikes: tuple[str, ...] | None = None
    operations: tuple[str, ...] | None = None
    destinations: int | None = None
    each_core: tuple[tuple[int, int], ...] = ()
    mesh: tuple[int, int, int] | None = None

    @property
    def confidence(self) -> str:
        """The least of its figures' letters."""
        return max(limit.confidence for limit in self.limits.values())


_ABOUT = MappingProxyType({"source": str, "confidence": Literal["A", "B", "C"]})
_NEEDED = ("source", "confidence")


def _figure(kind: Any) -> Table:
    return Table({"value": kind, **_ABOUT}, ("value", *_NEEDED))


_TABLES: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(
            ("cores", "neurons", "axons", "weight_memory_bits", "weight_bits", "destinations"),
            _figure(Whole),
        ),
        **dict.fromkeys(("shares_weights", "rounds_weights", "rounds_neurons"), _figure(bool)),
        "spikes": _figure(tuple[Literal["binary", "ternary", "graded", "real"], ...]),
        "operations": _figure(tuple[str, ...]),
        "each_core": Table(
            {
                "neurons": tuple[Whole, ...],
                "weight_memory_bits": tuple[Whole, ...],
                **_ABOUT,
            },
            ("neurons", "weight_memory_bits", *_NEEDED),
        ),
        "mesh": Table(
            {**dict.fromkeys(("columns", "rows", "cores"), Whole), **_ABOUT},
            ("columns", "rows", "cores", *_NEEDED),
        ),
    }
)
_TEXTS = ("name", "title", "source", "unchecked")
_KEYS = Table({**dict.fromkeys(_TEXTS, str), **_TABLES}, ("name", "title", "source", "cores"))


def chip(name: str) -> Chip:
    """Reads the limits of a chip by name, or from a file of the user's that ends in ``.toml``.

    Raises:
        AnalyzerError: Where there is none of that name, or the file says what can not be.
    """
    of = f"chip {name!r}"
    found = checked(read_toml("hardware", name, "chip"), _KEYS, of)
    limits = {
        key: Limit(
            key, table.get("value", table), _UNITS[key], table["source"], table["confidence"]
        )
        for key, table in found.items()
        if key in _TABLES
    }
    figures = {key: limit.value for key, limit in limits.items()}
    _refuse_contradictions(figures, of)
    if "mesh" in figures:
        figures["mesh"] = tuple(figures["mesh"][key] for key in ("columns", "rows", "cores"))
    if "each_core" in figures:
        each = figures["each_core"]
        figures["each_core"] = tuple(zip(each["neurons"], each["weight_memory_bits"], strict=True))
    texts = (found["name"], found["title"], found["source"], found.get("unchecked", ""))
    return Chip(*texts, limits, **figures)


def _refuse_contradictions(figures: Mapping[str, Any], of: str) -> None:
    """Figures that can not all be true."""
    cores = figures["cores"]
    if "mesh" in figures:
        columns, rows, each = (figures["mesh"][key] for key in ("columns", "rows", "cores"))
        if columns * rows * each != cores:
            raise AnalyzerError(
                f"{of} has {cores} cores, but a mesh of {columns} × {rows} tiles with {each} a "
                f"tile, which are {columns * rows * each}."
            )
    for key in ("neurons", "weight_memory_bits") if "each_core" in figures else ():
        given = len(figures["each_core"][key])
        if given != cores:
            raise AnalyzerError(
                f"{of} has {cores} cores, but {given} figures in each_core.{key}: give one a core."
            )
        if key in figures:
            raise AnalyzerError(f"{of} has both [{key}] and [each_core]: keep one.")


def hardware() -> dict[str, str]:
    """Names of all chips whose limits the package ships, each with where it is described.

    Each name is what ``chip=`` of :func:`analyzer.fit` takes; a path of a ``.toml`` file of one's
    own does as well. A chip is here where its figures have a source, and a figure that has none is
    left out.

    Example:
        >>> import analyzer
        >>> list(analyzer.hardware())
        ['loihi', 'loihi2', 'speck', 'tianjic', 'truenorth']
    """
    return {name: chip(name).source for name in available("hardware")}
