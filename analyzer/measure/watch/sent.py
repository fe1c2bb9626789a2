"""What spiking layers send: their outputs, read where each module returns, and summed.

The class of the values, how many are not zero, and which neurons never fired. Of these a byte a
neuron is kept, and nothing once all have fired.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.sent import SEVERAL_SIZES, NeuronSet
from analyzer.facts.sent import Sent as Fact
from analyzer.facts.values import Values
from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.neurons.equation import first_tensor
from analyzer.measure.read.activity import Activity

__all__ = ["Place", "Sent"]

_NO_AXIS = "no axis of its output is known to hold the samples"
_REALS = Values(real=True)


class Place(NamedTuple):
    """Which layer a call is of, and how its output lies: the same in every pass of one shape.

    Attributes:
        module: Path of the module.
        neuron: Kind of its neurons.
        shape: Shape of the output.
        keep: Axes that tell neurons apart; None where that is not known.
        neurons: Neurons of one sample; None likewise.
        steps: Values that each neuron sends for one sample; None likewise.
    """

    module: str
    neuron: str
    shape: torch.Size
    keep: tuple[int, ...] | None
    neurons: int | None
    steps: int | None


class _Sum:
    """What one layer sent in some calls, of a pass or of all passes."""

    __slots__ = ("neuron", "neurons", "nonzeros", "outputs", "silent", "steps", "unknown", "values")

    def __init__(self, place: Place, values: Values, outputs: int, nonzeros: int) -> None:
        self.neuron = place.neuron
        self.values = values
        self.outputs = outputs
        self.nonzeros = nonzeros
        self.neurons = place.neurons
        self.steps = place.steps
        self.silent: NDArray[np.bool_] | None = None
        self.unknown = _NO_AXIS if place.keep is None else ""

    def add(self, other: _Sum, *, later: bool) -> None:
        """Adds other calls: of a later pass, or later calls of the same one."""
        if other.values is not self.values:
            self.values = self.values.join(other.values)[0]
        self.outputs += other.outputs
        self.nonzeros += other.nonzeros
        if self.neurons != other.neurons:
            self.neurons = self.steps = self.silent = None
            self.unknown = self.unknown or other.unknown or SEVERAL_SIZES
        elif not later and self.steps is not None and other.steps is not None:
            self.steps += other.steps
        elif self.steps != other.steps:
            self.steps = None
        self.unknown = self.unknown or other.unknown
        if self.silent is None or other.silent is None or len(self.silent) != len(other.silent):
            self.silent = None
        elif self.silent is not other.silent:
            self.silent = self.silent & other.silent  # which a pass shares with those before it


class Sent:
    """What the layers of a model sent, summed over passes."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._sums: dict[str, _Sum] = {}
        self._pass: dict[str, _Sum] = {}
        self._places: dict[Hashable, Place] = {}

    def begin(self) -> None:
        """Starts a pass."""
        self._pass = {}

    def commit(self) -> None:
        """Adds what the pass that has ended sent."""
        for module, found in self._pass.items():
            known = self._sums.setdefault(module, found)
            if known is not found:
                known.add(found, later=True)
        self._pass = {}

    def forget(self) -> None:
        """Forgets what was sent so far."""
        self._sums.clear()

    @property
    def facts(self) -> Iterable[Fact]:
        """What each layer sent so far."""
        for module, s in self._sums.items():
            silent = None if s.silent is None or s.values.real else NeuronSet(s.silent)
            yield Fact(
                module, s.neuron, s.values, s.outputs, s.nonzeros, s.neurons, s.steps, silent,
                s.unknown,
            )  # fmt: skip

    def place(
        self, module: str, neuron: str, output: Any, updates: int, steps: int, samples: int
    ) -> Place | None:
        """How the output of a call lies; None where it gave no tensor with values."""
        x = first_tensor(output)
        if x is None or x.is_meta:
            return None
        key = (module, x.shape, updates, steps, samples)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._place(module, neuron, x, updates, steps, samples)
        return place

    def _place(
        self, module: str, neuron: str, x: Tensor, updates: int, steps: int, samples: int
    ) -> Place:
        neurons, rest = divmod(updates, max(steps * samples, 1))
        each, more = divmod(x.numel(), max(neurons * samples, 1))
        if rest or more or not each:
            return Place(module, neuron, x.shape, None, None, None)
        keep = self._axes_of_neurons(module, x.shape, each, samples)
        return Place(module, neuron, x.shape, keep, neurons, each)

    def read(self, place: Place, output: Any) -> bool:
        """Reads the output of a call; False where it does not lie as planned."""
        x = first_tensor(output)
        if x is None or x.shape != place.shape:
            return False
        known = self._sums.get(place.module)
        silent = None if known is None else known.silent
        try:
            if place.keep is None or (known is not None and silent is None):
                found = Activity.read(x, reals=known is not None and known.values.real)
            elif silent is not None and not silent.any():  # all neurons fired before
                found = Activity.read(x)
            else:
                found = Activity.read(x, place.keep)
                if found.nonzeros or silent is None or place.neurons != len(silent):
                    silent = found.counts(x, place.keep)[0] == 0
        except AnalyzerError as error:
            made = _Sum(place, _REALS, x.numel(), 0)
            made.unknown = f"its output can not be read: {error}"
        else:
            made = _Sum(place, found.values, x.numel(), found.nonzeros)
            made.silent = None if found.values.real else silent
        now = self._pass.setdefault(place.module, made)
        if now is not made:
            now.add(made, later=False)
        return True

    def _axes_of_neurons(
        self, module: str, shape: torch.Size, each: int, samples: int
    ) -> tuple[int, ...] | None:
        """The axes of an output that hold neither samples nor timesteps.

        A declared layout of the module decides. Without one they are all behind the leading axes
        that hold one element for each sample and timestep, in whatever order: batch and time come
        first by the convention of PyTorch and of all spiking libraries. Where the layout of the
        model's input says otherwise, samples are on the same axis as there.
        """
        parts = _parts(self._layouts.of(module)) if module else []
        if len(parts) == len(shape):
            others = [a for a, names in enumerate(parts) if not names <= {"T", "B"}]
            mixed = any(names & {"T", "B"} for names in (parts[a] for a in others))
            outer = [n for a, n in enumerate(shape) if a not in others]
            return None if mixed or int(np.prod(outer)) != each * samples else tuple(others)
        model = _parts(self._layouts.of(""))
        if _leads(model):
            product, axis = 1, 0
            while axis < len(shape) and product < each * samples:
                product *= shape[axis]
                axis += 1
            return tuple(range(axis, len(shape))) if product == each * samples else None
        if each * samples == 1:
            return tuple(range(len(shape)))
        where = next((a for a, names in enumerate(model) if names == {"B"}), None)
        fits = where is not None and len(shape) == len(model) and shape[where] == samples
        return tuple(a for a in range(len(shape)) if a != where) if fits and each == 1 else None


def _parts(layout: str | None) -> list[set[str]]:
    """The names that each axis of a layout holds, several where it is merged of them."""
    found = re.findall(r"\([^)]*\)|\S+", layout or "")
    return [set(part.strip("()").split()) for part in found]


def _leads(parts: list[set[str]]) -> bool:
    """Whether samples come first in the model's input, but for time."""
    for names in parts:
        if "B" in names:
            return names <= {"T", "B"}
        if names != {"T"}:
            return False
    return True
