"""How many memory accesses each row makes under a memory model, and what energy they take."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analyzer.energy.declared.convention import is_layer
from analyzer.energy.declared.memory import MemoryModel
from analyzer.energy.declared.technology import Technology
from analyzer.energy.pricing.precision import Prices
from analyzer.errors import AnalyzerError
from analyzer.facts.table import SIDES

__all__ = ["COMPONENTS", "MOVES", "Moves", "Work", "priced_traffic"]

MOVES: Mapping[str, str] = MappingProxyType(
    {
        "neurons_pj": "neurons",
        "weights_pj": "weight moves",
        "activations_pj": "activation moves",
        "state_pj": "state moves",
        "addressing_pj": "addressing",
    }
)
"""Columns of energy that memory models add, and what tables call them."""

COMPONENTS: Mapping[str, str] = MappingProxyType({"elementwise_pj": "element-wise", **MOVES})
"""Columns of energy beside the arithmetic of layers, and what tables call them."""


def priced_traffic(
    rows: pd.DataFrame,
    model: MemoryModel,
    technology: Technology,
    cost: Prices,
    profile: str,
    *,
    knows_neurons: bool = True,
    activations: bool = True,
) -> pd.DataFrame:
    """Energy that a memory model adds: the columns :data:`MOVES`.

    A row that the convention leaves out moves nothing. Several layers in one row are priced as
    layers of their mean size. An attention map that a fused kernel never stores is charged as read,
    but not as written.

    Args:
        rows: Products as a convention reads them and updates of neurons, with the columns of
            ``analyzer.facts.table``, per sample but for those of weights.
        model: Says what moves, how often and how wide.
        technology: Its memories are used where the model has no level of that name.
        cost: Prices of arithmetic.
        profile: Name of the profile, for messages.
        knows_neurons: Whether the rows hold all neurons, with their state.
        activations: Whether compares that stand for activation functions are charged; not where
            element-wise work is.

    Raises:
        AnalyzerError: Where the model needs facts that the profile does not hold.
    """
    priced = _Priced(Moves(rows), model, technology, activations=activations)
    found = {
        "neurons_pj": priced.neurons(cost),
        "weights_pj": priced.weights(),
        "activations_pj": priced.activations(),
        "state_pj": priced.states(),
        "addressing_pj": priced.addressing(cost),
    }
    for setting in ("state", "neurons") if not knows_neurons else ():
        if getattr(model, setting) != "none":
            priced.lacking.setdefault({"state": "states"}.get(setting, setting), setting)
    if priced.lacking:
        name = model.name.partition("(")[0]
        off = ", ".join(f"{key}=none" for key in dict.fromkeys(priced.lacking.values()))
        raise AnalyzerError(
            f"{profile!r} holds no facts of {', '.join(priced.lacking)}, which memory model "
            f"{name!r} charges: measure it with this version, or leave that out with "
            f"'{name}({off})'."
        )
    return pd.DataFrame(found)


class Work(NamedTuple):
    """Arithmetic of each row that is not that of layers.

    Attributes:
        adds: Additions, compares and subtracts, each at the price of an accumulate.
        multiplies: Multiplications.
        multiply_adds: Multiplications with an addition each.
        updates: Updates of neurons, where the technology has one price of a whole update.
    """

    adds: Any
    multiplies: Any
    multiply_adds: Any
    updates: Any


class Moves:
    """What each row moves and computes under each rule that a memory model may have.

    Nothing here has a price. A row that the convention leaves out has zeros, and what the profile
    does not say is NaN.

    Args:
        rows: Products as a convention reads them and updates of neurons, with the columns of
            ``analyzer.facts.table``.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows
        self._columns: dict[str, Any] = {}
        self._kept = ~rows["omitted"].to_numpy(bool)
        self._driven = rows["is_driven"].to_numpy(bool)
        product = rows["contraction"].to_numpy(bool)
        self._neuron = ~product & (rows["state_elements"] > 0).to_numpy(bool)
        self._layer = is_layer(rows).to_numpy(bool) & product
        self._convolution = rows["op"].str.startswith("conv").to_numpy(bool)
        self._windows = self._column("windows") * self._column("spikes_each")

    def weights(self, rule: str) -> Any:
        """Weights read; ``rule`` as ``weight_reads`` of a memory model."""
        if rule == "none":
            return self._nothing
        work = self._column("ac") + self._column("mac")
        reads = {
            "event": lambda: work,
            "window": lambda: np.where(self._driven, self._windows, work),
            "step": lambda: self._column("stepped_weights"),
            "inference": lambda: self._column("once_weights"),
        }[rule]()
        return self._charged(np.where(self._layer, reads, 0))

    def biases(self, rule: str) -> Any:
        """Biases read; ``rule`` as ``bias_reads``."""
        if rule == "none":
            return self._nothing
        column = {"output": "outputs", "bias": "biased_outputs"}[rule]
        return self._charged(np.where(self._layer, self._column(column), 0))

    def words(self, biases: Any) -> Any:
        """Weights and biases that the memory of each layer holds."""
        held = self._a_pass("stepped_weights")
        return held + np.where(biases > 0, self._column("channels"), 0)

    def inputs(self, rule: str) -> tuple[Any, Any]:
        """Spikes read, and other activations; ``rule`` as ``input_reads``."""
        if rule == "none":
            return self._nothing, self._nothing
        spikes, others = self._operands("nonzeros", "elements")
        if rule == "window":
            again = self._layer & self._convolution & ~self._driven
            others = np.where(again, self._column("ac") + self._column("mac"), others)
        return self._charged(spikes), self._charged(others)

    def outputs(self, rule: str) -> tuple[Any, Any]:
        """Spikes written, and other activations; ``rule`` as ``output_writes``."""
        if rule == "none":
            return self._nothing, self._nothing
        spikes, others = self._operands("first_read_nonzeros", "first_read")
        return self._charged(spikes), self._charged(others)

    def activations_held(self) -> Any:
        """Activations that the memory of each row holds."""
        return self._a_pass("left_elements") + self._a_pass("right_elements")

    def states(self, rule: str) -> tuple[Any, Any]:
        """State read and written by updates, and by events; ``rule`` as ``state``."""
        if rule == "none":
            return self._nothing, self._nothing
        updates = np.where(self._neuron, 2 * self._column("state_elements"), 0)
        events = np.where(self._driven & self._layer, 2 * self._windows, 0.0)
        return self._charged(updates), self._charged(events) if rule == "event" else self._nothing

    def states_held(self) -> Any:
        """Elements of state that the memory of each row holds."""
        return np.where(self._neuron, self._column("state_size"), self._a_pass("outputs"))

    def addressing(self, rule: str) -> Work:
        """What computes positions; ``rule`` as ``addressing``."""
        none = self._nothing
        if rule == "none":
            return Work(none, none, none, none)
        dense = self._column("left_elements") + self._column("outputs")
        dense = dense + np.where(self._convolution, self._column("kernels"), 0)
        adds = np.where(self._driven, self._windows, dense)
        spikes, _ = self._operands("nonzeros", "elements")
        products = np.where(self._driven & self._convolution, 2 * spikes, 0.0)
        adds, products = (self._charged(np.where(self._layer, x, 0)) for x in (adds, products))
        return Work(adds, none, products, none)

    def neurons(self, rule: str, *, activations: bool = True) -> Work:
        """What neurons compute; ``rule`` as ``neurons``.

        Args:
            rule: The rule.
            activations: Whether ``compare`` also charges two compares an output where nothing
                drives, which stand for an activation function.
        """
        none = self._nothing
        if rule == "none":
            return Work(none, none, none, none)
        work = {
            c: np.where(self._neuron, self._column(c), 0)
            for c in ("adds", "multiplies", "compares", "output_elements")
        }
        if rule == "dynamics":
            adds = work["adds"] + work["compares"]
            return Work(adds, work["multiplies"], none, work["output_elements"])
        fired, _ = self._operands("first_read_nonzeros", "first_read")
        outputs, leaks = self._column("outputs"), none
        if rule == "leak":
            adds = np.where(self._layer, outputs, 0) + fired
            leaks = np.where(work["multiplies"] > 0, work["output_elements"], 0)
        else:
            quantised = np.where(self._layer & ~self._driven, 2 * outputs, 0)
            adds = work["compares"] + fired + (quantised if activations else 0)
        return Work(self._charged(adds), none, leaks, none)

    @property
    def _nothing(self) -> Any:
        return np.zeros(len(self._rows))

    def _operands(self, of_spikes: str, of_others: str) -> tuple[Any, Any]:
        """Sums over both operands: one column of those that drive, another of those that do not."""
        each = self._column("spikes_each")
        spikes, others = np.zeros(len(each)), np.zeros(len(each))
        for side in SIDES:
            driven = self._rows[f"{side}_driven"].to_numpy(bool)
            spikes = spikes + np.where(driven, self._column(f"{side}_{of_spikes}") * each, 0)
            others = others + np.where(driven, 0, self._column(f"{side}_{of_others}"))
        return spikes, others

    def _a_pass(self, column: str) -> Any:
        """A column divided by executions: for one timestep of one sample."""
        passes = self._column("passes")
        return self._column(column) / np.where(passes > 0, passes, 1)

    def _charged(self, counts: Any) -> Any:
        """The counts without those of rows that are left out."""
        return np.where(self._kept, counts, 0)

    def _column(self, name: str) -> Any:
        if name not in self._columns:
            self._columns[name] = self._rows[name].to_numpy("float64", na_value=np.nan)
        return self._columns[name]


class _Priced:
    """The energy of what moves under one memory model.

    Attributes:
        lacking: What facts are missing, and for each the setting of the model that needs them.
    """

    def __init__(
        self, moves: Moves, model: MemoryModel, technology: Technology, *, activations: bool
    ) -> None:
        self.lacking: dict[str, str] = {}
        self._activations = activations
        self._moves = moves
        self._model = model
        self._technology = technology

    def weights(self) -> Any:
        model = self._model
        reads = self._known(self._moves.weights(model.weight_reads), "weights", "weight_reads")
        biases = self._known(self._moves.biases(model.bias_reads), "biases", "bias_reads")
        words = self._moves.words(biases)
        return self._energy(reads + biases, model.weight_bits, model.weight_level, words)

    def activations(self) -> Any:
        model = self._model
        read = [
            self._known(x, "inputs", "input_reads") for x in self._moves.inputs(model.input_reads)
        ]
        written = [
            self._known(x, "outputs", "output_writes")
            for x in self._moves.outputs(model.output_writes)
        ]
        spikes, others = (a + b for a, b in zip(read, written, strict=True))
        queue = np.full(len(spikes), float(model.queue_items))
        level = model.activation_level
        held = self._moves.activations_held()
        return model.hops * (
            self._energy(spikes, model.spike_bits, model.spike_level or level, queue)
            + self._energy(others, model.activation_bits, level, held)
        )

    def states(self) -> Any:
        model = self._model
        updates, events = self._moves.states(model.state)
        accesses = self._known(updates, "states", "state") + self._known(events, "events", "state")
        return self._energy(
            accesses, model.state_bits, model.state_level, self._moves.states_held()
        )

    def addressing(self, cost: Prices) -> Any:
        work = self._moves.addressing(self._model.addressing)
        for counts in (work.adds, work.multiply_adds):
            self._known(counts, "addresses", "addressing")
        return self._arithmetic(work, cost, "addressing")

    def neurons(self, cost: Prices) -> Any:
        work = self._moves.neurons(self._model.neurons, activations=self._activations)
        update = self._technology.sections.get("neuron_pj")
        if update and self._model.neurons == "dynamics":
            return work.updates * next(iter(update.values()))
        self._known(work.adds, "neurons", "neurons")
        return self._arithmetic(work, cost, "neurons")

    def _arithmetic(self, work: Work, cost: Prices, setting: str) -> Any:
        add, multiply = cost.ac_pj, cost.multiply_pj
        if multiply is None:
            if work.multiplies.any() or work.multiply_adds.any():
                raise AnalyzerError(
                    f"technology {self._technology.name!r} has no multiplication, which memory "
                    f"model {self._model.name!r} charges: leave that out with {setting}=none, or "
                    "price a circuit."
                )
            multiply = 0.0
        both = add + multiply
        return work.adds * add + work.multiplies * multiply + work.multiply_adds * both

    def _known(self, accesses: Any, what: str, setting: str) -> Any:
        """The accesses; adds to ``lacking`` where they are NaN."""
        if np.isnan(accesses).any():
            self.lacking[what] = setting
        return accesses

    def _energy(self, accesses: Any, bits: int, level: str, items: Any) -> Any:
        """Energy of accesses to a memory that holds a number of items."""
        if not accesses.any():
            return accesses
        where = self._model.level(level, self._technology)
        return accesses * bits * where.price(np.nan_to_num(items) * bits / 8)
