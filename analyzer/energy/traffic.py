"""How many memory accesses each row makes under a memory model, and what energy they take."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.convention import is_layer
from analyzer.energy.memory import MemoryModel
from analyzer.energy.precision import Prices
from analyzer.energy.technology import Technology
from analyzer.errors import AnalyzerError
from analyzer.facts.table import SIDES

__all__ = ["COMPONENTS", "priced_traffic"]

COMPONENTS: Mapping[str, str] = MappingProxyType(
    {
        "neurons_pj": "neurons",
        "weights_pj": "weight moves",
        "activations_pj": "activation moves",
        "state_pj": "state moves",
        "addressing_pj": "addressing",
    }
)
"""Columns of energy beside the arithmetic of layers, and what tables call them."""


def priced_traffic(
    rows: pd.DataFrame,
    model: MemoryModel,
    technology: Technology,
    cost: Prices,
    profile: str,
    *,
    knows_neurons: bool = True,
) -> pd.DataFrame:
    """Energy of everything that is no arithmetic of layers: the columns :data:`COMPONENTS`.

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

    Raises:
        AnalyzerError: Where the model needs facts that the profile does not hold.
    """
    moves = _Moves(rows, model)
    found = {
        "neurons_pj": moves.neurons(technology, cost),
        "weights_pj": moves.weights(technology),
        "activations_pj": moves.activations(technology),
        "state_pj": moves.states(technology),
        "addressing_pj": moves.addressing(technology, cost),
    }
    for setting in ("state", "neurons") if not knows_neurons else ():
        if getattr(model, setting) != "none":
            moves.lacking.setdefault({"state": "states"}.get(setting, setting), setting)
    if moves.lacking:
        name = model.name.partition("(")[0]
        off = ", ".join(f"{key}=none" for key in dict.fromkeys(moves.lacking.values()))
        raise AnalyzerError(
            f"{profile!r} holds no facts of {', '.join(moves.lacking)}, which memory model "
            f"{name!r} charges: measure it with this version, or leave that out with "
            f"'{name}({off})'."
        )
    return pd.DataFrame(found)


class _Moves:
    """Computes the accesses of each row, and their energy.

    Attributes:
        lacking: What facts are missing, and for each the setting of the model that needs them.
    """

    def __init__(self, rows: pd.DataFrame, model: MemoryModel) -> None:
        self.lacking: dict[str, str] = {}
        self._rows = rows
        self._model = model
        self._kept = ~rows["omitted"].to_numpy(bool)
        self._driven = rows["is_driven"].to_numpy(bool)
        self._neuron = ~rows["contraction"].to_numpy(bool)
        self._layer = is_layer(rows).to_numpy(bool) & ~self._neuron
        self._convolution = rows["op"].str.startswith("conv").to_numpy(bool)
        self._windows = self._column("windows") * self._column("spikes_each")

    def weights(self, technology: Technology) -> Any:
        model = self._model
        work = self._column("ac") + self._column("mac")
        reads = {
            "none": np.zeros(len(work)),
            "event": work,
            "window": np.where(self._driven, self._windows, work),
            "step": self._column("stepped_weights"),
            "inference": self._column("once_weights"),
        }[model.weight_reads]
        biases = {
            "none": np.zeros(len(work)),
            "output": self._column("outputs"),
            "bias": self._column("biased_outputs"),
        }[model.bias_reads]
        reads = self._known(np.where(self._layer, reads, 0), "weights", "weight_reads")
        biases = self._known(np.where(self._layer, biases, 0), "biases", "bias_reads")
        words = self._a_pass("stepped_weights")
        words = words + np.where(biases > 0, self._column("channels"), 0)
        level = model.weight_level
        return self._energy(reads + biases, model.weight_bits, level, words, technology)

    def activations(self, technology: Technology) -> Any:
        model = self._model
        spikes, others = self._operands("nonzeros", "elements")
        if model.input_reads == "window":
            again = self._layer & self._convolution & ~self._driven
            others = np.where(again, self._column("ac") + self._column("mac"), others)
        if model.input_reads == "none":
            spikes, others = np.zeros_like(spikes), np.zeros_like(others)
        spikes, others = (self._known(x, "inputs", "input_reads") for x in (spikes, others))
        if model.output_writes == "once":
            written = self._operands("first_read_nonzeros", "first_read")
            first, rest = (self._known(x, "outputs", "output_writes") for x in written)
            spikes, others = spikes + first, others + rest
        queue = np.full(len(spikes), float(model.queue_items))
        whole = self._a_pass("left_elements") + self._a_pass("right_elements")
        level = model.activation_level
        return self._energy(spikes, model.spike_bits, level, queue, technology) + self._energy(
            others, model.activation_bits, level, whole, technology
        )

    def states(self, technology: Technology) -> Any:
        model = self._model
        accesses = np.zeros(len(self._rows))
        if model.state != "none":
            moved = np.where(self._neuron, 2 * self._column("state_elements"), 0)
            accesses = self._known(moved, "states", "state")
        if model.state == "event":
            reached = np.where(self._driven & self._layer, 2 * self._windows, 0.0)
            accesses = accesses + self._known(reached, "events", "state")
        held = np.where(self._neuron, self._column("state_size"), self._a_pass("outputs"))
        return self._energy(accesses, model.state_bits, model.state_level, held, technology)

    def addressing(self, technology: Technology, cost: Prices) -> Any:
        if self._model.addressing == "none":
            return np.zeros(len(self._rows))
        dense = self._column("left_elements") + self._column("outputs")
        dense = dense + np.where(self._convolution, self._column("kernels"), 0)
        adds = np.where(self._driven, self._windows, dense)
        spikes, _ = self._operands("nonzeros", "elements")
        products = np.where(self._driven & self._convolution, 2 * spikes, 0.0)
        adds, products = (
            self._known(np.where(self._layer, x, 0), "addresses", "addressing")
            for x in (adds, products)
        )
        each = cost.ac_pj + self._multiply(technology, cost, products, "addressing")
        return adds * cost.ac_pj + products * each

    def neurons(self, technology: Technology, cost: Prices) -> Any:
        rule = self._model.neurons
        if rule == "none":
            return np.zeros(len(self._rows))
        add = cost.ac_pj
        work = {
            c: np.where(self._neuron, self._column(c), 0)
            for c in ("adds", "multiplies", "compares", "output_elements")
        }
        if rule == "dynamics":
            update = technology.sections.get("neuron_pj")
            if update:
                return work["output_elements"] * next(iter(update.values()))
            each = self._multiply(technology, cost, work["multiplies"], "neurons")
            return (work["adds"] + work["compares"]) * add + work["multiplies"] * each
        fired, _ = self._operands("first_read_nonzeros", "first_read")
        outputs = self._column("outputs")
        leaks = np.zeros(len(self._rows))
        if rule == "leak":
            adds = np.where(self._layer, outputs, 0) + fired
            leaks = np.where(work["multiplies"] > 0, work["output_elements"], 0)
        else:
            quantised = np.where(self._layer & ~self._driven, 2 * outputs, 0)
            adds = work["compares"] + fired + quantised
        adds = self._known(adds, "neurons", "neurons")
        each = add + self._multiply(technology, cost, leaks, "neurons")
        return adds * add + leaks * each

    def _multiply(self, technology: Technology, cost: Prices, products: Any, setting: str) -> float:
        """The price of a multiplication, where there are any products."""
        if cost.multiply_pj is None:
            if products.any():
                raise AnalyzerError(
                    f"technology {technology.name!r} has no multiplication, which memory model "
                    f"{self._model.name!r} charges: leave that out with {setting}=none, or price a "
                    "circuit."
                )
            return 0.0
        return cost.multiply_pj

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

    def _column(self, name: str) -> Any:
        return self._rows[name].to_numpy("float64", na_value=np.nan)

    def _known(self, accesses: Any, what: str, setting: str) -> Any:
        """The accesses of rows that are not left out; adds to ``lacking`` where they are NaN."""
        accesses = np.where(self._kept, accesses, 0)
        if np.isnan(accesses).any():
            self.lacking[what] = setting
        return accesses

    def _energy(
        self, accesses: Any, bits: int, level: str, items: Any, technology: Technology
    ) -> Any:
        """Energy of accesses to a memory that holds a number of items."""
        if not accesses.any():
            return accesses
        where = self._model.level(level, technology)
        return accesses * bits * where.price(np.nan_to_num(items) * bits / 8)
