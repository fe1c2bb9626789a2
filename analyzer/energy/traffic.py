"""What moves under a memory model, and what that takes, row by row."""

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
"""Columns of picojoules that are no arithmetic of the layers, with what tables call them."""


def priced_traffic(
    rows: pd.DataFrame,
    model: MemoryModel,
    technology: Technology,
    cost: Prices,
    timesteps: int,
    profile: str,
) -> pd.DataFrame:
    """The columns :data:`COMPONENTS` of rows per sample.

    Args:
        rows: Products as a convention reads them and updates of neurons, with the columns of
            ``analyzer.rows``, per sample but for those of weights.
        model: What moves.
        technology: Prices of memory, where the model has no level of that name.
        cost: Of that arithmetic.
        timesteps: Of one inference.
        profile: Whose rows they are, for messages.

    Raises:
        AnalyzerError: Where the facts do not tell what the model needs.
    """
    moves = _Moves(rows, model, profile)
    return pd.DataFrame(
        {
            "neurons_pj": moves.neurons(cost),
            "weights_pj": moves.weights(technology),
            "activations_pj": moves.activations(technology),
            "state_pj": moves.states(technology, timesteps),
            "addressing_pj": moves.addressing(cost),
        }
    )


class _Moves:
    """Accesses of each row, and their energy."""

    def __init__(self, rows: pd.DataFrame, model: MemoryModel, profile: str) -> None:
        self._rows = rows
        self._model = model
        self._profile = profile
        self._driven = rows["is_driven"].to_numpy(bool)
        self._neuron = ~rows["contraction"].to_numpy(bool)
        self._layer = is_layer(rows).to_numpy(bool) & ~self._neuron
        weights = self._column("weight_elements")
        self._weights = np.where(self._layer & (weights == 0), np.nan, weights)
        rate = np.where(self._column("rate") >= 0, self._column("rate"), np.nan)
        read = self._column("input_nonzeros")
        self._spikes = np.where(np.isnan(read), rate * self._column("input_elements"), read)

    def weights(self, technology: Technology) -> Any:
        model = self._model
        work = self._column("ac") + self._column("mac")
        once = self._weights * (self._column("passes") > 0)
        reads = {
            "none": np.zeros(len(work)),
            "event": work,
            "window": np.where(self._driven, self._column("windows"), work),
            "step": self._column("stepped_weights"),
            "inference": once,
        }[model.weight_reads]
        if model.bias_reads == "output":
            reads = reads + self._column("outputs")
        without = "weight_reads=none, bias_reads=none"
        reads = self._of_layers(reads, "how its weights are read", without)
        words = self._weights + self._column("channels")
        return self._energy(reads, model.weight_bits, model.weight_level, words, technology)

    def activations(self, technology: Technology) -> Any:
        model, driven = self._model, self._driven
        elements = self._column("input_elements")
        if model.input_reads == "window":
            convolution = self._rows["op"].str.startswith("conv").to_numpy(bool)
            elements = np.where(convolution, self._column("mac"), elements)
        spikes = np.where(driven, self._spikes, 0)
        others = np.where(driven, 0, elements)
        if model.input_reads == "none":
            spikes, others = np.zeros_like(spikes), np.zeros_like(others)
        if model.output_writes == "once":
            spikes = spikes + np.where(driven, self._column("fresh_nonzeros"), 0)
            others = others + np.where(driven, 0, self._column("fresh_elements"))
        spikes, others = (
            self._known(x, ~self._neuron, "what it reads", "input_reads=none, output_writes=none")
            for x in (spikes, others)
        )
        queue = np.full(len(spikes), float(model.queue_items))
        whole = self._a_pass("input_elements")
        level = model.activation_level
        return self._energy(spikes, model.spike_bits, level, queue, technology) + self._energy(
            others, model.activation_bits, level, whole, technology
        )

    def states(self, technology: Technology, timesteps: int) -> Any:
        model = self._model
        state = self._column("state_elements")
        accesses = np.zeros(len(state))
        if model.state != "none":
            what = "what state its neurons keep"
            accesses = self._known(2 * state, self._neuron, what, "state=none")
        if model.state == "event":
            reached = np.where(self._driven, 2 * self._column("windows"), 0.0)
            accesses = accesses + self._of_layers(reached, "what its spikes reach", "state=update")
        held = np.where(self._neuron, state / timesteps, self._a_pass("outputs"))
        return self._energy(accesses, model.state_bits, model.state_level, held, technology)

    def addressing(self, cost: Prices) -> Any:
        if self._model.addressing == "none":
            return np.zeros(len(self._rows))
        convolution = self._rows["op"].str.startswith("conv").to_numpy(bool)
        dense = self._column("input_elements") + self._column("outputs")
        dense = dense + np.where(convolution, self._column("kernels"), 0)
        adds = np.where(self._driven, self._column("windows"), dense)
        multiplies = np.where(self._driven & convolution, 2 * self._spikes, 0.0)
        adds, multiplies = (
            self._of_layers(x, "what has an address", "addressing=none") for x in (adds, multiplies)
        )
        return adds * cost.ac_pj + multiplies * cost.pair_pj

    def neurons(self, cost: Prices) -> Any:
        rule, rows = self._model.neurons, self._rows
        add, mac = cost.ac_pj, cost.pair_pj
        updates = np.where(self._neuron, self._column("output_elements"), 0)
        fired = np.where(self._driven, self._column("fresh_nonzeros"), 0)
        outputs = self._column("outputs")
        if rule == "leak":
            adds = np.where(self._layer, outputs, 0) + fired
            leaks = np.where(self._column("multiplies") > 0, updates, 0)
        elif rule == "compare":
            compares = np.where(self._neuron, self._column("compares"), 0)
            quantised = np.where(self._layer & ~self._driven, 2 * outputs, 0)
            adds, leaks = compares + fired + quantised, np.zeros(len(rows))
        elif rule == "dynamics":
            counted = [np.where(self._neuron, self._column(c), 0) for c in ("adds", "compares")]
            adds = counted[0] + counted[1]
            products = np.where(self._neuron, self._column("multiplies"), 0)
            return adds * add + products * (mac - add)
        else:
            return np.zeros(len(rows))
        adds = self._known(adds, np.full(len(rows), True), "what it writes", "neurons=none")
        return adds * add + leaks * mac

    def _a_pass(self, column: str) -> Any:
        """A column for one execution, one timestep of one sample."""
        passes = self._column("passes")
        return self._column(column) / np.where(passes > 0, passes, 1)

    def _column(self, name: str) -> Any:
        return self._rows[name].to_numpy("float64", na_value=np.nan)

    def _of_layers(self, accesses: Any, what: str, without: str) -> Any:
        """Accesses of layers with weights; others have none."""
        return self._known(np.where(self._layer, accesses, 0), self._layer, what, without)

    def _known(self, accesses: Any, where: Any, what: str, without: str) -> Any:
        """The accesses of some rows, 0 of others; all must be known."""
        lacking = self._rows[where & np.isnan(accesses)]
        if len(lacking):
            name = self._model.name.partition("(")[0]
            raise AnalyzerError(
                f"{self._profile!r} does not say {what} ({lacking['module'].iloc[0]!r}), which "
                f"memory model {name!r} charges: measure it with this version, or leave that out "
                f"with '{name}({without})'."
            )
        return np.where(where, accesses, 0)

    def _energy(
        self, accesses: Any, bits: int, level: str, items: Any, technology: Technology
    ) -> Any:
        """Energy of accesses to a memory that holds a number of items."""
        if not accesses.any():
            return accesses
        where = self._model.level(level, technology)
        return accesses * bits * where.price(np.nan_to_num(items) * bits / 8)
