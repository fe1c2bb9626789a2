"""What is known of a kind of neuron: its equation, and how much of it one call computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from analyzer.measure.neurons.scalar import Number

__all__ = [
    "Call",
    "Equation",
    "Neuron",
    "first_tensor",
    "from_input",
    "from_output",
    "lateral",
    "one_step",
    "time_first",
    "time_on",
]

Equation = Callable[..., tuple[Number, ...]]
"""``(module, x, *state) -> (output, *state)`` of one neuron in one timestep."""

Call = Callable[[Any, tuple[Any, ...], Any], int]
"""``(module, args, output) -> int``: a number read from one call of a module."""


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in an argument list or output, None where there is none."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        found = (first_tensor(x) for x in value)
        return next((x for x in found if x is not None), None)
    return None


def from_input(module: Any, args: tuple[Any, ...], output: Any) -> int:
    """One update for each element of the input: neurons × batch, × timesteps if it holds them.

    An input that was passed by its name is taken to have as many elements as the output.
    """
    x = first_tensor(args)
    return from_output(module, args, output) if x is None else x.numel()


def from_output(module: Any, args: tuple[Any, ...], output: Any) -> int:
    """One update for each element of the first output."""
    x = first_tensor(output)
    return 0 if x is None else x.numel()


def one_step(module: Any, args: tuple[Any, ...], output: Any) -> int:
    """A call is one timestep."""
    return 1


def time_on(axis: int) -> Call:
    """A call holds as many timesteps as this axis of its input is long."""

    def steps(module: Any, args: tuple[Any, ...], output: Any) -> int:
        x = first_tensor((*args, output))
        return x.shape[axis] if x is not None and -x.ndim <= axis < x.ndim else 1

    return steps


time_first = time_on(0)
"""A call holds all timesteps, as the first axis of its input."""


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
        samples_first: Whether time is the second axis of what it is given, samples the first.
        derived: How many of them follow from the others and need no memory, such as the spikes of
            the timestep before, which the potential tells.
        accesses: How often one update reads and writes each state variable.
        updates: ``(module, args, output) -> int``: neuron updates that one call performs.
        steps: ``(module, args, output) -> int``: timesteps that one call holds, so that there are
            ``updates / steps`` neurons.
        apart: Children whose operations are not part of the equation and are counted on their own,
            such as lateral connections.
        fits: Whether the equation holds for a module with these settings.
    """

    update: Equation
    states: int | Callable[[Any], int] = 1
    updates: Call = from_input
    steps: Call = one_step
    apart: tuple[str, ...] = ()
    fits: Callable[[Any], bool] = _any
    accesses: Callable[[Any], int] = _once
    derived: int = 0
    samples_first: bool = False


def lateral(update: Equation) -> Equation:
    """The equation of a neuron that also adds what its lateral connection made of past spikes.

    That current comes first among the state variables; the connection itself is a contraction and
    is counted as one.
    """

    def equation(module: Any, x: Number, current: Number, *state: Number) -> tuple[Number, ...]:
        output, *after = update(module, x + current, *state)
        return output, current, *after

    return equation
