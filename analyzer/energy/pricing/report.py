"""What a profile is priced as: row by row, with what limits the figures, and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from analyzer.energy.declared.convention import SPECIAL_MULTIPLIES, Convention
from analyzer.energy.declared.memory import MemoryModel
from analyzer.energy.declared.technology import Technology
from analyzer.energy.pricing.precision import price_name
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.facts.sent import in_silence, listed
from analyzer.inert import in_markdown, printable
from analyzer.tabular import align_of, to_html, to_latex, to_markdown, to_rich
from analyzer.units import MJ_PER_PJ, format_energy_pj, format_si, with_margin

__all__ = ["NOTES", "EnergyReport"]

_WORDS = ("module", "op", "input")

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "unpriced": "{name}: {technology} has no multiply-accumulate, so {macs} of them are not "
        "priced and its energy is a lower bound.",
        "between": "{name}: prices in {precision} lie in straight lines between the integer widths "
        "of {technology}.",
        "unknown_neurons": "{name}: neurons of no known kind fire in {modules}, so their state and "
        "updates are not charged and the energy is a lower bound: teach their equations with "
        "analyzer.neuron.",
        "stateless": "{name}: no neuron of a known kind, so no state is charged.",
        "secondary": "{name}: its figures or rules were read in one secondary copy only.",
        "elementwise": "{name}: an exp, division or square root is priced as {each} "
        "multiplications; with the 4 to 8 that sources give, its energy is {low} to {high}.",
        "format": "{name}: priced as {precision}, measured in {measured}.",
    }
)
"""Sentences of :attr:`EnergyReport.notes` that depend on the prices."""


@dataclass(frozen=True, eq=False)
class EnergyReport:
    """Energy of one inference of a model, row by row: what :meth:`analyzer.Profile.energy` gives.

    It shows itself as a table in a notebook, and as text by ``to_markdown`` and ``to_latex``.

    Attributes:
        name: Name of the profile.
        samples: Samples that the figures are a mean over.
        table: One row per module, operation and input class with ``ac`` and ``mac`` and the
            picojoules ``ac_pj``, ``mac_pj`` and ``total_pj``, all per sample; and the ``reason``
            that the convention reads it so, with ``is_driven``. With a memory model also
            ``neurons_pj, weights_pj, activations_pj, state_pj`` and ``addressing_pj``, and with a
            convention that prices element-wise work ``elementwise_pj``, all part of
            the total, and a row for the neurons of each module.
        technology: The constants used.
        convention: The reading used.
        constants: The prices used, in picojoules.
        precision: Number format that was priced.
        measured: Number format that the model computed in, empty where it is not known.
        uncovered: Operations that no rule covers; with any, all figures are lower bounds.
        timesteps: Timesteps of one inference, None where they are not known.
        above_one: Modules whose published firing rate is above 1.
        samples_assumed: Whether nothing told how many samples a batch holds.
        untrained: Whether nobody trained the weights.
        memory: What moves beside the arithmetic, None where only arithmetic is priced.
        between: Whether prices lie between number formats that the technology has.
        stateless: Whether spikes drive it and no neuron was seen whose state would be priced.
        unknown_neurons: Modules that fire by a threshold and are neurons of no known kind, where
            state is priced: theirs is missing, so the energy is a lower bound.
        silent_layers: Spiking layers that never fired.
        intervals: Where the mean ``ac``, ``mac`` and ``energy_pj`` of a sample lie in 95 of 100
            data sets like this one; None where the profile does not know single samples.

    Example:
        >>> import analyzer
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> snn = analyzer.from_rates(
        ...     table | {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}, name="snn"
        ... )
        >>> report = snn.energy("45nm", "rate")
        >>> report.total_text
        '640 pJ'
        >>> print(report.table[["module", "ac", "mac", "total_pj"]])
          module     ac    mac  total_pj
        0   conv  200.0    0.0     180.0
        1   head    0.0  100.0     460.0
    """

    name: str
    samples: int
    table: pd.DataFrame
    technology: Technology
    convention: Convention
    constants: Mapping[str, float]
    precision: str = "fp32"
    measured: str = ""
    uncovered: tuple[str, ...] = ()
    timesteps: int | None = None
    above_one: tuple[str, ...] = ()
    untrained: bool = False
    samples_assumed: bool = False
    memory: MemoryModel | None = None
    stateless: bool = False
    between: bool = False
    unknown_neurons: tuple[str, ...] = ()
    silent_layers: tuple[str, ...] = ()
    special_pj: float = 0.0
    intervals: Mapping[str, tuple[float, float]] | None = None

    @property
    def interval_pj(self) -> tuple[float, float] | None:
        """The interval of the energy among ``intervals``, in picojoules."""
        return None if self.intervals is None else self.intervals["energy_pj"]

    @property
    def components(self) -> dict[str, float]:
        """Picojoules per sample by what takes them, such as ``ac_pj``; they add up to the total."""
        found = [c for c in ("ac_pj", "mac_pj", *COMPONENTS) if c in self.table]
        return {component: float(self.table[component].sum()) for component in found}

    @property
    def total_pj(self) -> float:
        """Energy per sample in picojoules."""
        return float(self.table["total_pj"].sum())

    @property
    def total_mj(self) -> float:
        """Energy per sample in millijoules."""
        return self.total_pj * MJ_PER_PJ

    @property
    def unpriced_macs(self) -> float:
        """Multiply-accumulates per sample that the technology has no price of."""
        priced = any(key.startswith("mac") for key in self.constants)
        return 0.0 if priced or self.technology.multiplies else float(self.table["mac"].sum())

    @property
    def spikes_per_synapse(self) -> float:
        """Accumulates per synapse and inference, over all layers with weights that spikes drive.

        Synapses are the dense connections of one timestep, a convolution's written out. Break-even
        with a dense network was put at 1.72 (Davidson & Furber 2021) and at 0.15 to 1.38
        (Dampfhoffer et al. 2023; both read in copies). NaN where nothing drives or T is unknown.
        """
        rows = self.table[self.table["is_driven"] & (self.table["weight_elements"] > 0)]
        synapses = float(rows["dense_macs"].sum()) / self.timesteps if self.timesteps else 0.0
        return float(rows["ac"].sum()) / synapses if synapses else float("nan")

    @property
    def is_lower_bound(self) -> bool:
        """Whether something that takes energy is not priced."""
        return bool(self.uncovered or self.unpriced_macs or self.unknown_neurons)

    @property
    def total_text(self) -> str:
        """Energy per sample in words, marked where it is a lower bound."""
        bound = "≥ " if self.is_lower_bound else ""
        return f"{bound}{format_energy_pj(self.total_pj)}"

    @property
    def notes(self) -> list[str]:
        """What limits the figures, one sentence each; every summary shows them."""
        return self.notes_without()

    @property
    def fixed_notes(self) -> list[str]:
        """Those of :attr:`notes` that hold whatever the profile is priced with."""
        return self.notes_without(*NOTES)

    def notes_without(self, *kinds: str) -> list[str]:
        """The notes but those of some kinds: keys of ``NOTES``, or ``silent``."""
        return [text for kind, text in self._notes() if kind not in kinds]

    def _notes(self) -> Iterator[tuple[str, str]]:
        """The notes, each with its kind; those of no kind never depend on prices."""
        name = self.name
        if self.untrained:
            yield "", f"{name}: its weights are untrained, so its activity means little."
        if self.samples_assumed:
            yield (
                "",
                f"{name}: nothing tells how many samples a batch holds, so they were taken to "
                "lie on the first axis of the input.",
            )
        if self.uncovered:
            ops = ", ".join(self.uncovered)
            yield "", f"{name}: no rule covers {ops}, so its figures are lower bounds."
        if self.unpriced_macs:
            macs = format_si(self.unpriced_macs)
            yield self._note("unpriced", technology=self.technology.title, macs=macs)
        if self.above_one:
            yield (
                "",
                f"{name}: {self.above_one[0] or '(model)'} has a firing rate above 1: is it in "
                "percent?",
            )
        if self.between:
            yield self._note("between", precision=self.precision, technology=self.technology.name)
        if self.unknown_neurons:
            yield self._note("unknown_neurons", modules=listed(self.unknown_neurons))
        if self.silent_layers:
            yield "silent", f"{name}: {in_silence(self.silent_layers)}."
        if self.stateless:
            yield self._note("stateless")
        if self.special_pj:
            each = self.convention.special_multiplies
            spread = [self.total_pj + self.special_pj * (n / each - 1) for n in SPECIAL_MULTIPLIES]
            low, high = map(format_energy_pj, spread)
            if low != high:
                yield self._note("elementwise", each=f"{each:g}", low=low, high=high)
        for what in (self.technology, self.convention, self.memory):
            if what is not None and what.confidence == "C":
                yield "secondary", NOTES["secondary"].format(name=what.name.partition("(")[0])
        circuit = bool(self.technology.add_pj)
        if circuit and self.measured and self.measured != self.precision.replace("fp", "float"):
            yield self._note("format", precision=self.precision, measured=self.measured)

    def _note(self, key: str, **filled: str) -> tuple[str, str]:
        return key, NOTES[key].format(name=self.name, **filled)

    def to_latex(self) -> str:
        """The table for a paper (booktabs)."""
        shown = self._shown()
        return to_latex(shown, caption=self._caption(), align=align_of(shown, _WORDS))

    def to_markdown(self) -> str:
        """The table for a README or an issue."""
        shown = self._shown()
        table = to_markdown(shown, align=align_of(shown, _WORDS))
        return f"{table}\n\n{in_markdown(self._caption())}\n"

    def _repr_html_(self) -> str:
        shown = self._shown()
        return to_html(shown, self._caption(), align=align_of(shown, _WORDS))

    def __rich__(self) -> Any:
        shown = self._shown()
        return to_rich(shown, align_of(shown, _WORDS), below=[self._caption()])

    def __repr__(self) -> str:
        return f"EnergyReport({printable(self._caption())})"

    @property
    def basis(self) -> str:
        """What the prices rest on, in words."""
        costs = ", ".join(f"{v:g} pJ/{price_name(k)}" for k, v in self.constants.items())
        moves = "" if self.memory is None else f", memory {self.memory.name}"
        if self.memory is not None and self.memory.settings:
            moves += f" ({self.memory.settings})"
        return (
            f"{self.technology.name} {self.precision} ({costs}), convention "
            f"{self.convention.name}{moves}"
        )

    def _caption(self) -> str:
        energy, sure = self.total_text, ""
        if self.interval_pj is not None and not math.isnan(self.interval_pj[0]):
            low, high = self.interval_pj
            energy = with_margin(energy, self.total_pj, (high - low) / 2)
            sure = " (± half of its 95 % interval)"
        mean = f"mean over {self.samples}{sure}"
        head = f"{self.name}: {energy} per sample, {mean}; {self.basis}."
        return " ".join([head, *self.notes])

    def _shown(self) -> pd.DataFrame:
        rows = self.table
        shown: dict[str, Any] = {
            "module": rows["module"].replace("", "(model)"),
            "op": rows["op"],
            "input": rows["input_class"],
            "AC": rows["ac"].map(format_si),
            "MAC": rows["mac"].map(format_si),
        }
        beside = [column for column in COMPONENTS if column in rows and rows[column].any()]
        if beside or self.memory is not None:
            compute = rows["ac_pj"] + rows["mac_pj"]
            shown["compute"] = compute.map(format_energy_pj)
        for column in beside:
            shown[COMPONENTS[column]] = rows[column].map(format_energy_pj)
        shown["energy"] = rows["total_pj"].map(format_energy_pj)
        return pd.DataFrame(shown)
