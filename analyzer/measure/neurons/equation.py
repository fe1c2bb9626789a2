"""What the registry holds of a kind of neuron: its equation, and what one call computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from analyzer.measure.neurons.scalar import Number

__all__ = ["Equation", "Neuron", "from_input", "from_output", "lateral", "number_of_elements"]

Equation = Callable[..., tuple[Number, ...]]
"""``(module, x, *state) -> (output, *state)`` of one neuron in one timestep."""

Updates = Callable[[Any, tuple[Any, ...], Any], int]


def number_of_elements(value: Any) -> int | None:
    """Elements of the first tensor in an argument list or output, None where there is none."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, (tuple, list)):
        counts = (number_of_elements(x) for x in value)
        return next((n for n in counts if n is not None), None)
    return None


def from_input(module: Any, args: tuple[Any, ...], output: Any) -> int:
    """One update an element of the input: neurons × batch, × timesteps where it holds them.

    An input that was passed by its name is taken to have as many elements as the output.
    """
    n = number_of_elements(args)
    return from_output(module, args, output) if n is None else n


def from_output(module: Any, args: tuple[Any, ...], output: Any) -> int:
    """One update an element of the first output."""
    return number_of_elements(output) or 0


def _once(module: Any) -> int:
    return 1


def _any(module: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Neuron:
    """A kind of neuron.

    Attributes:
        update: Its equation.
        states: How many state variables the equation takes and gives back.
        derived: How many of them follow from the others and need not be kept, such as the spikes of
            the timestep before, which the potential tells.
        accesses: How often one update reads and writes each of them: once a timestep that it holds.
        updates: ``(module, args, output) -> int``: neuron updates that one call performed.
        apart: Children whose work is no part of the equation, such as lateral connections.
        fits: Whether the equation is that of a module with these settings.
    """

    update: Equation
    states: int | Callable[[Any], int] = 1
    updates: Updates = from_input
    apart: tuple[str, ...] = ()
    fits: Callable[[Any], bool] = _any
    accesses: Callable[[Any], int] = _once
    derived: int = 0


def lateral(update: Equation) -> Equation:
    """The equation of a neuron that also adds what its lateral connection made of past spikes.

    That current comes first among the states; the connection itself is a contraction.
    """

    def equation(module: Any, x: Number, current: Number, *state: Number) -> tuple[Number, ...]:
        output, *after = update(module, x + current, *state)
        return output, current, *after

    return equation
