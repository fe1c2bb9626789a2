"""What one call that holds all timesteps does in each of them.

A spike may be of another size in each timestep: under phase coding, or with learned amplitudes. A
layer that is called once a timestep reads spikes of one size each time. Called once for all
timesteps it reads several sizes, and that is told apart here: each timestep is read on its own, but
only where the whole is not of one size anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from analyzer.facts.records import Contraction, LeftWork, Operand
from analyzer.facts.values import Values
from analyzer.measure.rules.geometry import Geometry, Side, StepNonzeros

__all__ = ["OF_ONE_SIZE", "ByStep", "parts_of", "read_by_step", "timestep", "told_by_step"]

OF_ONE_SIZE = frozenset({"zero", "binary"})
"""Classes of which a part says no more than the whole."""

_SWAPPED = (1, 0, 4, 5, 2, 3, 6, 7, 8, 9, 10)


class ByStep(NamedTuple):
    """What a contraction does in each timestep.

    Attributes:
        values: Values of both operands in each; None where they are those of the whole, or zeros.
        figures: Non-zeros of the first and the second operand, and the counts of ``Counted`` but
            the first, in its order; one figure a timestep each.
    """

    values: tuple[tuple[Values, Values], ...] | None
    figures: tuple[list[int], ...]

    def swapped(self) -> ByStep:
        """The same with the operands in the other order."""
        values = None if self.values is None else tuple((b, a) for a, b in self.values)
        return ByStep(values, tuple(self.figures[at] for at in _SWAPPED))

    def __add__(self, other: ByStep) -> ByStep:  # type: ignore[override]
        """Both, where both have the same values."""
        pairs = zip(self.figures, other.figures, strict=True)
        return ByStep(
            self.values,
            tuple([a + b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in pairs),
        )


def told_by_step(geometry: Geometry, lhs: Side, rhs: Side, nonzeros: StepNonzeros) -> ByStep:
    """The figures of each timestep where each activation is of one class in all of them.

    No weight may be zero: what is left without those is not told by timestep.
    """
    events = geometry.events_by_step(lhs, rhs, nonzeros)
    nothing = [0] * max(lhs.steps, rhs.steps)
    left, right, pairs = (nothing if isinstance(e, int) else e.tolist() for e in events)
    leveled = [not (x.parameter or x.activity.values.real) for x in (lhs, rhs)]
    return ByStep(
        None,
        (
            *(nothing if n is None else n.tolist() for n in nonzeros),
            left,
            left if leveled[0] else nothing,
            right,
            right if leveled[1] else nothing,
            pairs,
            pairs if all(leveled) else nothing,
            *(nothing,) * 3,
        ),
    )


def read_by_step(
    geometry: Geometry,
    lhs: Side,
    rhs: Side,
    steps: int,
    read: Callable[[Side, int], Side],
) -> ByStep:
    """The figures of each timestep from reading each on its own."""
    values, columns = [], []
    holds_time = geometry.holds_time(lhs, rhs)
    assert holds_time is not None
    for step in range(steps):
        sides = []
        for side, timed in zip((lhs, rhs), holds_time, strict=True):
            sides.append(read(side, step) if timed else side)
        left, right = sides
        counted = geometry.count(left, right)
        values.append((left.activity.values, right.activity.values))
        nonzeros = [0 if x.parameter else x.activity.nonzeros for x in sides]
        columns.append((*nonzeros, *counted[1:]))
    return ByStep(tuple(values), tuple(list(row) for row in zip(*columns, strict=True)))


def timestep(x: Tensor, side: Side, steps: int, step: int) -> Tensor:
    """What a tensor holds in one timestep, its first axis holding time as an operand's does."""
    if side.outer == 1:
        length = x.shape[0] // steps
        return x.narrow(0, step * length, length)
    part: Tensor = x.unflatten(0, (side.outer, steps, -1))[:, step]
    return part.flatten(0, 1)


def parts_of(whole: Contraction, by_step: ByStep) -> tuple[Contraction, ...]:
    """The calls that would do in each timestep what one call did in all of them."""
    steps = len(by_step.figures[0])
    parts = []
    for step, figures in enumerate(zip(*by_step.figures, strict=True)):
        l_nz, r_nz, l_ev, l_lv, r_ev, r_lv, pairs, pair_levels, *left = figures
        told = by_step.values[step] if by_step.values else (whole.lhs.values, whole.rhs.values)
        operands = []
        for operand, values, *counts in (
            (whole.lhs, told[0], l_nz, l_ev, l_lv),
            (whole.rhs, told[1], r_nz, r_ev, r_lv),
        ):
            if operand.parameter:
                part = replace(
                    operand, events=operand.events // steps, levels=operand.levels // steps
                )
            else:
                silent = values.kind in OF_ONE_SIZE and not counts[0]
                part = Operand(
                    False,
                    Values(epsilon=values.epsilon) if silent else values,
                    operand.elements // steps,
                    *counts,
                )
            operands.append(part)
        first = whole.first_read
        if first is not None and step:  # later timesteps read the same weights again
            sides = zip(first, (whole.lhs, whole.rhs), strict=True)
            first = tuple(once and not side.parameter for once, side in sides)
        parts.append(
            replace(
                whole,
                dense_macs=whole.dense_macs // steps,
                lhs=operands[0],
                rhs=operands[1],
                pair_events=pairs,
                pair_levels=pair_levels,
                left=LeftWork(*left) if whole.left is not None else None,
                step_elements=None,
                step_nonzeros=None,
                repeats=False,
                outputs=None if whole.outputs is None else whole.outputs // steps,
                passes=None if whole.passes is None else whole.passes // steps,
                first_read=first,
            )
        )
    return tuple(parts)
