"""Memory models as they are declared in ``memories/*.toml``: settings, levels and ranges.

``traffic.py`` computes from them how often weights, activations and neuron state move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from analyzer.energy.declared.constants import available, read_toml
from analyzer.energy.declared.keys import Bounds, Number, Table, Whole, checked, list_of, table_of
from analyzer.energy.declared.technology import Figure, Technology
from analyzer.errors import AnalyzerError
from analyzer.specs import named

__all__ = [
    "CHOICES", "OFTEN", "SETTINGS", "TEXTS", "Level", "MemoryModel", "memory_model",
    "memory_models",
]  # fmt: skip

OFTEN: Mapping[str, str] = MappingProxyType(
    {
        "event": "each event",
        "window": "each weight in reach of a spike",
        "step": "once a timestep",
        "inference": "once an inference",
    }
)

_LEVEL_BITS = 64
"""Bits of one read in the tables of technologies."""


@dataclass(frozen=True, slots=True)
class Level:
    """A memory, and what an access to it costs.

    Attributes:
        pj_per_bit: Picojoules a bit; None where they depend on the size of the memory.
        capacity_bytes: Sizes of the memory, rising from 0. Between two of them the price is
            interpolated linearly; above the last it stays.
        word_pj: Picojoules per access of one word, at each of these sizes.
        word_bits: Bits of such a word.
    """

    pj_per_bit: Number | None = None
    capacity_bytes: tuple[Number, ...] = ()
    word_pj: tuple[Number, ...] = ()
    word_bits: Whole = 32

    def price(self, capacity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picojoules per bit of memories of these sizes in bytes."""
        if self.pj_per_bit is not None:
            return np.full(np.shape(capacity), self.pj_per_bit)
        return np.interp(capacity, self.capacity_bytes, self.word_pj) / self.word_bits

    def times(self, factor: float) -> Level:
        """The same memory at prices that are so many times as high."""
        if self.pj_per_bit is not None:
            return replace(self, pj_per_bit=self.pj_per_bit * factor)
        return replace(self, word_pj=tuple(factor * price for price in self.word_pj))


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Rules for everything beside the arithmetic of layers: what moves, how often, how wide, where.

    Attributes:
        name: What ``memory=`` takes.
        title: One line for tables.
        source: Where its rules and constants come from.
        confidence: A where they were read in the source itself, B where copies agree, C where there
            is one copy only.
        summary: The rules in words.
        weight_bits: Width of a weight.
        activation_bits: Width of an activation that is no spike.
        spike_bits: Width of a spike, or of the message that carries it; 0 where it moves for free.
        state_bits: Width of one element of neuron state.
        weight_reads: A weight is read for each ``event`` (accumulate or multiply-accumulate); for
            each spike with its whole kernel, also what borders and strides leave out (``window``);
            once a timestep (``step``); once an inference (``inference``); or never charged.
        bias_reads: A bias is read for each ``output``, as if every layer had one, for batch norm
            folds into one; or of layers that hold a ``bias``; or not charged.
        input_reads: Each spike, or element where nothing drives, is read ``once``; or of dense
            convolutions again in each ``window``.
        output_writes: What a layer is the first to read was written ``once``.
        state: State is read and written at each ``update`` of a neuron; also at each ``event`` that
            reaches it; or not charged.
        addressing: ``address`` where positions are computed from events, after Lemaire et al.
        neurons: What neurons compute: ``leak`` (a bias an output, a reset a spike, a
            multiply-accumulate an update that leaks), ``compare`` (its compares, and a subtract a
            spike; two compares an output where nothing drives), their counted ``dynamics``, or
            not charged.
        multiplies: Whether dense work is multiply-accumulates, or ``bit-serial``: an accumulate for
            each set bit of an activation.
        bit_density: Share of bits that are set; with 1 every bit costs an accumulate.
        hops: Links of a network on chip that spikes and other activations pass on their way, in the
            mean; each costs as much as the first.
        queue_items: Messages that a queue of spikes holds, where prices depend on sizes.
        weight_level: Where weights and biases are kept: a level of the model's, or a memory of the
            technology.
        activation_level: The same of activations.
        spike_level: The same of spikes; empty where that is ``activation_level``.
        state_level: The same of state.
        levels: What is kept where, by name.
        range: Values that sources or sensible choices give for a setting, as lists; under
            ``levels`` the factors by which prices of a level may be lower or higher. These are
            what :func:`analyzer.sensitivity` tries.
    """

    name: str
    title: str
    source: str
    summary: str
    confidence: Literal["A", "B", "C"] = "A"
    weight_bits: Whole = 32
    activation_bits: Whole = 32
    spike_bits: Annotated[int, Bounds(0)] = 32
    state_bits: Whole = 32
    weight_reads: Literal["none", "event", "window", "step", "inference"] = "none"
    bias_reads: Literal["none", "output", "bias"] = "none"
    input_reads: Literal["none", "once", "window"] = "none"
    output_writes: Literal["none", "once"] = "none"
    state: Literal["none", "update", "event"] = "none"
    addressing: Literal["none", "address"] = "none"
    neurons: Literal["none", "leak", "compare", "dynamics"] = "none"
    multiplies: Literal["mac", "bit-serial"] = "mac"
    bit_density: Annotated[float, Bounds(0, 1)] = 1.0
    hops: Annotated[float, Bounds(0)] = 1.0
    queue_items: Whole = 1000
    weight_level: str = "dram"
    activation_level: str = "dram"
    spike_level: str = ""
    state_level: str = "dram"
    levels: Mapping[str, Level] = field(default_factory=dict)
    range: Mapping[str, Any] = field(default_factory=dict)

    def level(self, name: str, technology: Technology) -> Level:
        """A level of this model, or else a memory of the technology.

        Raises:
            AnalyzerError: Where neither has it; says what there is.
        """
        if name in self.levels:
            return self.levels[name]
        reads = technology.sections.get("memory_pj", {})
        by_bit = {key: price / _LEVEL_BITS for key, price in reads.items()}
        by_bit |= technology.sections.get("memory_pj_per_bit", {})
        if name in by_bit:
            return Level(pj_per_bit=by_bit[name])
        known = ", ".join((*self.levels, *by_bit)) or "none, for there is no memory in it"
        raise AnalyzerError(
            f"memory model {self.name!r} knows no level {name!r} with technology "
            f"{technology.name!r}: choose of {known}."
        )

    def with_settings(self, settings: Mapping[str, Any]) -> MemoryModel:
        """The same model with other settings.

        Raises:
            AnalyzerError: Where it takes no such setting, or not that value.
        """
        of = f"memory model {self.name!r}"
        fixed = [key for key in settings if key not in SETTINGS]
        if fixed:
            raise AnalyzerError(f"{of} takes no {fixed[0]!r}: it takes {', '.join(SETTINGS)}.")
        return replace(self, **checked(settings, _KEYS._replace(needed=()), of))

    @property
    def settings(self) -> str:
        """Its widths, reuse and levels in words, which decide the energy."""
        parts = []
        if self.weight_reads != "none":
            often = OFTEN[self.weight_reads]
            parts.append(f"{self.weight_bits}-bit weights from {self.weight_level} {often}")
        if self.input_reads != "none" or self.output_writes != "none":
            text = f"{self.activation_bits}-bit activations"
            if self.spike_bits:
                where = f" in {self.activation_level}" if self.spike_level else ""
                text += f"{where} and {self.spike_bits}-bit spikes"
            text += f" in {(self.spike_bits and self.spike_level) or self.activation_level}"
            parts.append(text + (f" over {self.hops:g} hops" if self.hops != 1 else ""))
        if self.state != "none":
            also = " and event" if self.state == "event" else ""
            parts.append(f"{self.state_bits}-bit state in {self.state_level} each update{also}")
        return ", ".join(parts)

    @property
    def moves(self) -> tuple[str, ...]:
        """What moves at a price, of ``weight``, ``activation`` and ``state``."""
        parts = {
            "weight": self.weight_reads != "none" or self.bias_reads != "none",
            "activation": self.input_reads != "none" or self.output_writes != "none",
            "state": self.state != "none",
        }
        return tuple(part for part, used in parts.items() if used)

    @property
    def levels_in_use(self) -> frozenset[str]:
        """The memories that something is charged in, of this model or of a technology."""
        used = {getattr(self, f"{part}_level") for part in self.moves}
        if "activation" in self.moves and self.spike_bits and self.spike_level:
            used.add(self.spike_level)
        return frozenset(used)

    @property
    def figures(self) -> Iterator[Figure]:
        """The constants that are in use, each with where it comes from."""
        spikes = ("spike",) if "activation" in self.moves else ()
        for part in (*self.moves, *spikes):
            yield self._figure("width", part, getattr(self, f"{part}_bits"), "bits")
        if self.multiplies == "bit-serial":
            yield self._figure("bit_density", "activation", self.bit_density, "share of bits set")
        if spikes and self.hops != 1:
            yield self._figure("hops", "activation", self.hops, "links in the mean")
        for name, level in self.levels.items():
            if name not in self.levels_in_use:
                continue
            if level.pj_per_bit is not None:
                yield self._figure("memory", name, level.pj_per_bit, "pJ a bit")
            else:
                unit = f"pJ a {level.word_bits}-bit access"
                for size, price in zip(level.capacity_bytes, level.word_pj, strict=True):
                    yield self._figure("memory", f"{name}, {size:g} B", price, unit)

    def _figure(self, section: str, key: str, value: float, unit: str) -> Figure:
        return Figure(section, key, value, unit, self.source, self.confidence, value, value)


def memory_models() -> dict[str, str]:
    """Names of all memory models that the package ships, each with where its rules come from.

    A memory model says how often weights, activations and neuron state move and what that costs.
    Each name is what ``memory=`` takes, perhaps with settings in brackets, such as
    ``"spyx(weight_bits=4)"``; a path of a ``.toml`` file of one's own does as well.

    Example:
        >>> import analyzer
        >>> sorted(analyzer.memory_models())
        ['bit-serial', 'lemaire', 'spikingjelly', 'spyx', 'state', 'yan']
    """
    return {name: memory_model(name).source for name in available("memories")}


def memory_model(spec: str) -> MemoryModel:
    """Reads a memory model by name, or from a file of the user's that ends in ``.toml``.

    Args:
        spec: The name, perhaps with settings of its own:
            ``spyx(weight_bits=4, weight_reads=inference)``.

    Raises:
        AnalyzerError: Where there is no such model or it takes no such setting.
    """
    name, settings = (spec, {}) if spec.endswith(".toml") else named(spec, words=True)
    of = f"memory model {name!r}"
    data = checked(read_toml("memories", name, "memory model"), _KEYS, of)
    levels = {
        key: _level(level, f"{of} has a level {key!r}")
        for key, level in data.get("levels", {}).items()
    }
    model = MemoryModel(**data | {"levels": levels})
    if not settings:
        return model
    shown = f"{model.name}({', '.join(f'{k}={v}' for k, v in settings.items())})"
    return replace(model.with_settings(settings), name=shown)


_HINTS: Mapping[str, Any] = MappingProxyType(get_type_hints(MemoryModel, include_extras=True))
TEXTS = ("name", "title", "source", "summary", "confidence")
SETTINGS = tuple(key for key in _HINTS if key not in (*TEXTS, "levels", "range"))
"""What may stand in brackets behind the name of a model."""

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {key: get_args(_HINTS[key]) for key in SETTINGS if get_origin(_HINTS[key]) is Literal}
)
"""The words that a setting chooses of, ``none`` among those that charge nothing."""
_TRIED = MappingProxyType({key: list_of(_HINTS[key]) for key in SETTINGS})
_KEYS = Table(
    {
        **_HINTS,
        "levels": table_of(Table(get_type_hints(Level, include_extras=True))),
        "range": Table({**_TRIED, "levels": table_of(list_of(Number))}),
    },
    [f.name for f in fields(MemoryModel) if f.default is MISSING and f.default_factory is MISSING],
)


def _level(given: dict[str, Any], where: str) -> Level:
    level = Level(**given)
    sizes = level.capacity_bytes
    rising = all(a < b for a, b in pairwise(sizes))
    if (level.pj_per_bit is None) != bool(sizes) or not rising or len(sizes) != len(level.word_pj):
        raise AnalyzerError(f"{where}: give pj_per_bit, or rising sizes with a price each.")
    return level
