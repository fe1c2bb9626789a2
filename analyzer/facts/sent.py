"""What spiking layers send: one record a layer, added up over batches, and the table made of them.

A layer is a module whose neurons are known or were taught. Which of its neurons never fired is
kept neuron by neuron: numbers of silent neurons do not add up over data, sets of them do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyzer.facts.packing import from_text, to_text
from analyzer.facts.values import Values

__all__ = [
    "SEVERAL_SIZES",
    "NeuronSet",
    "Sent",
    "in_silence",
    "in_words",
    "listed",
    "never_fired",
    "plural",
    "table_of",
]  # fmt: skip

SEVERAL_SIZES = "it runs on inputs of several sizes"
"""Why the neurons of a layer are not known that has other neurons in other batches."""

MOST_NEURONS = 2**28
"""Neurons that a file may name at most: a small one may otherwise fill the memory."""


class NeuronSet:
    """Some of the neurons of a layer, a bit each."""

    __slots__ = ("_bits", "size")

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.size = len(mask)
        self._bits = np.packbits(mask)

    def __len__(self) -> int:
        return int(np.unpackbits(self._bits).sum())

    def __and__(self, other: NeuronSet) -> NeuronSet:
        return NeuronSet(self.mask & other.mask)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        return self.size == other.size and bool((self._bits == other._bits).all())

    def __hash__(self) -> int:
        return hash((self.size, self._bits.tobytes()))

    def __repr__(self) -> str:
        return f"NeuronSet({len(self)} of {self.size})"

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Whether each neuron is one of them."""
        return np.unpackbits(self._bits, count=self.size).astype(bool)

    @property
    def text(self) -> str:
        """As a file has it: how many neurons there are, then their bits, compressed."""
        return f"{self.size} {to_text(self._bits.tobytes())}"

    @classmethod
    def of_text(cls, text: str) -> NeuronSet:
        """What :attr:`text` gave.

        Raises:
            ValueError: Where it is none.
        """
        size = cls.size_of(text)
        length = (size + 7) // 8
        bits = from_text(text.partition(" ")[2], length, "neurons")
        if len(bits) != length:
            raise ValueError(f"{len(bits)} bytes are no set of {size} neurons")
        return cls(np.unpackbits(np.frombuffer(bits, np.uint8), count=size).astype(bool))

    @staticmethod
    def size_of(text: str) -> int:
        """How many neurons there are by :attr:`text`, of which nothing is decompressed.

        Raises:
            ValueError: Where there is no such number, or it is above :data:`MOST_NEURONS`.
        """
        number = text.partition(" ")[0]
        if not (number.isascii() and number.isdecimal()) or len(number) > len(str(MOST_NEURONS)):
            raise ValueError(f"{number[:20]!r} is no number of neurons")
        if int(number) > MOST_NEURONS:
            raise ValueError(f"{number} neurons are more than the {MOST_NEURONS:,} that are read")
        return int(number)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the neurons of one module sent.

    Attributes:
        module: Dotted path of the module.
        neuron: Kind of its neurons, such as ``LIFNode``.
        values: The class of all values that they sent.
        outputs: How many values they sent: one for each neuron, timestep and sample.
        nonzeros: How many of these were not zero.
        neurons: Neurons of one sample; None where that differed, or is not known.
        steps: Values that each neuron sent for one sample; None likewise.
        silent: The neurons that never sent anything but zero; None where that is not known.
        unknown: Why something is not known; empty if all is.
    """

    module: str
    neuron: str
    values: Values
    outputs: int
    nonzeros: int
    neurons: int | None
    steps: int | None
    silent: NeuronSet | None
    unknown: str = ""

    @property
    def key(self) -> tuple[str | int | bool, ...]:
        """What identifies the record."""
        return self.module, self.neuron

    @property
    def spikes(self) -> int | None:
        """Values that are not zero; None where the layer sends reals."""
        return None if self.values.real else self.nonzeros

    def __add__(self, other: Sent) -> Sent:
        same = self.neurons == other.neurons
        unknown = self.unknown or other.unknown
        if not (same or unknown):
            unknown = SEVERAL_SIZES
        both = None
        if (
            self.silent is not None
            and other.silent is not None
            and same
            and self.silent.size == other.silent.size
        ):
            both = self.silent & other.silent
        values, _, _ = self.values.join(other.values)
        return Sent(
            self.module,
            self.neuron,
            values,
            self.outputs + other.outputs,
            self.nonzeros + other.nonzeros,
            self.neurons if same else None,
            self.steps if same and self.steps == other.steps else None,
            None if values.real else both,
            unknown,
        )


def table_of(
    sent: Iterable[Sent], timesteps: int | None, unknown: Iterable[str] = ()
) -> pd.DataFrame:
    """One row per layer, in order of execution.

    Args:
        sent: The records.
        timesteps: Timesteps of one inference, None where they are not known: then a neuron that
            sent one value may have been run over time from outside of the model.
        unknown: Modules that spike and are neurons of no known kind; they come last.
    """
    rows = [
        (
            s.module,
            s.neuron,
            s.values.kind,
            s.neurons,
            None if timesteps is None and s.steps == 1 else s.steps,
            s.spikes,
            np.nan if s.spikes is None or not s.outputs else s.spikes / s.outputs,
            None if s.silent is None else len(s.silent),
            s.unknown or ("sends reals, not spikes" if s.values.real else ""),
        )
        for s in sent
    ]
    rows += [(module, "", "", None, None, None, np.nan, None, _UNTAUGHT) for module in unknown]
    columns = ["module", "neuron", "values", "neurons", "timesteps", "spikes", "firing_rate"]
    frame = pd.DataFrame(rows, columns=[*columns, "silent", "note"], dtype=object)
    whole = dict.fromkeys(("neurons", "timesteps", "spikes", "silent"), "Int64")
    text = dict.fromkeys(("module", "neuron", "values", "note"), "str")
    return frame.astype(whole | text | {"firing_rate": "float64"})


_UNTAUGHT = "of no known kind, so what it sends was not read: teach it with analyzer.neuron"


def never_fired(sent: Iterable[Sent]) -> tuple[str, ...]:
    """The layers that sent nothing but zeros."""
    return tuple(s.module for s in sent if s.outputs and not s.nonzeros and not s.values.real)


def in_words(sent: Sequence[Sent]) -> str:
    """How much all layers fired, and which never did; empty without any that spikes."""
    spiking = [s for s in sent if s.outputs and not s.values.real]
    if not spiking:
        return ""
    outputs, spikes = sum(s.outputs for s in spiking), sum(s.nonzeros for s in spiking)
    text = plural(len(spiking), "spiking layer")
    counted = [s for s in spiking if s.silent is not None]
    if all(s.neurons is not None for s in spiking):
        text += f", {plural(sum(s.neurons or 0 for s in spiking), 'neuron')}"
    text += f", firing rate {100 * spikes / outputs:.3g} %"
    neurons = sum(s.neurons or 0 for s in counted)
    if neurons:
        silent = sum(len(s.silent) for s in counted if s.silent is not None)
        of = "" if len(counted) == len(spiking) else f" of {plural(len(counted), 'layer')}"
        text += f", {100 * silent / neurons:.3g} % of the neurons{of} silent"
    found = never_fired(spiking)
    return f"{text}; {in_silence(found)}" if found else text


def in_silence(modules: Sequence[str]) -> str:
    """Which layers never fired, in words."""
    return f"{plural(len(modules), 'spiking layer')} never fired ({listed(modules)})"


def listed(modules: Sequence[str], most: int = 4) -> str:
    """Some modules in words, the first few by name."""
    names = [module or "(model)" for module in modules]
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def plural(number: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1024, "core"), plural(1, "chip")
        ('1,024 cores', '1 chip')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
