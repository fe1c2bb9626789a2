"""One execution of a contraction: both operands are read, and its work is counted at once.

Operands are read whenever an operation runs, also where the same tensor was read a moment ago:
memory can be written without PyTorch's knowledge, by NumPy, DLPack or a kernel of the user's, so
neither an address nor a version number tells that a tensor is what it was.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.values import Values
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.geometry import Keep, Side, StepNonzeros
from analyzer.measure.rules.products import Product
from analyzer.measure.watch.sites import CallSite, Observation
from analyzer.measure.watch.timesteps import (
    OF_ONE_SIZE,
    ByStep,
    read_by_step,
    timestep,
    told_by_step,
)

__all__ = ["Observer"]

_IMPLICIT = Values(real=True)


class Observer:
    """Reads operands and counts, pass by pass."""

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self._before: dict[tuple[str, str], list[tuple[Activity, bytes]]] = {}
        self._settled: dict[tuple[str, str, int], set[int]] = {}

    def begin(self) -> None:
        """Starts one pass."""
        self._before.clear()

    def observe(
        self,
        product: Product,
        at: CallSite,
        keep: tuple[Keep, Keep],
        reals: tuple[bool, bool] = (False, False),
    ) -> Observation:
        """Counts one contraction.

        Args:
            product: Its operands and geometry.
            at: Where it runs.
            keep: Axes of each operand along which non-zeros are counted apart.
            reals: Of each operand, whether it held reals before: then it counts as reals for ever.

        Raises:
            AnalyzerError: Where an operand can not be counted; says which, of what module.
        """
        if product.implicit:
            left = Activity(product.lhs.numel(), _IMPLICIT, 0)
        else:
            left = self._read(product.lhs, at, 0, keep[0], reals[0], at.steps[0] * at.outer[0])
        right = self._read(product.rhs, at, 1, keep[1], reals[1], at.steps[1] * at.outer[1])
        lhs, rhs = (
            Side(x, read, at.weights[i], keep[i], at.steps[i], at.reads[i], at.outer[i])
            for i, (x, read) in enumerate(((product.lhs, left), (product.rhs, right)))
        )
        before: tuple[Tensor | None, Tensor | None] = (None, None)
        if at.scales != (None, None):
            lhs, at_first = self._unscaled(lhs, at, 0, reals[0])
            rhs, at_second = self._unscaled(rhs, at, 1, reals[1])
            left, right, before = lhs.activity, rhs.activity, (at_first, at_second)
        try:
            counted = product.geometry.count(lhs, rhs)
        except AnalyzerError as error:
            raise _placed(error, at) from None
        lhs_nonzeros = left.nonzeros
        if product.implicit:
            lhs_nonzeros = counted.lhs_events // max(product.rhs.shape[-1], 1)
        if at.times != 1:  # in every inference, however many share a pass
            counted = counted.times(at.times)
        elements, nonzeros, by_step, repeats = None, None, None, False
        if self._timesteps > 1:
            sides = [side for side in (lhs, rhs) if not side.parameter]
            if product.implicit:
                sides = [rhs]
            stepped = [side for side in sides if side.steps > 1]
            if stepped:
                elements = sum(s.activity.elements // s.steps * s.reads for s in stepped)
                each = (
                    lhs.nonzeros_by_step() if lhs.steps > 1 else None,
                    rhs.nonzeros_by_step() if rhs.steps > 1 else None,
                )
                for n, side in zip(each, (lhs, rhs), strict=True):
                    if n is not None:
                        nonzeros = n * side.reads if nonzeros is None else nonzeros + n * side.reads
                if at.ordered and len(stepped) == len(sides) and at.reads == (1, 1):
                    by_step = self._by_step(product, at, lhs, rhs, each, before)
            repeats = at.repeats and self._repeats(at, sides, stepped)
        seen = Observation(left, right, lhs_nonzeros, counted, elements, nonzeros, by_step, repeats)
        return seen.swapped() if lhs.parameter and not rhs.parameter else seen

    def _by_step(
        self,
        product: Product,
        at: CallSite,
        lhs: Side,
        rhs: Side,
        nonzeros: StepNonzeros,
        before: tuple[Tensor | None, Tensor | None],
    ) -> ByStep | None:
        """What each timestep does; read again where the whole is not of one size."""
        geometry, steps = product.geometry, self._timesteps
        if geometry.holds_time(lhs, rhs) is None:
            return None
        settled = self._settled.setdefault((at.module, at.op, at.call), set())
        sides = [
            (which, side)
            for which, side in enumerate((lhs, rhs))
            if not (side.parameter or (product.implicit and not which))
        ]
        pruned = any(s.parameter and s.activity.nonzeros < s.activity.elements for s in (lhs, rhs))
        if not pruned and all(
            s.activity.values.kind in OF_ONE_SIZE or which in settled for which, s in sides
        ):
            return _shown(told_by_step(geometry, lhs, rhs, nonzeros), product)

        given = (product.lhs, product.rhs)

        def read(side: Side, step: int) -> Side:
            which = int(side is rhs)
            part = timestep(given[which], side, steps, step)
            if product.implicit and not which:
                return side._replace(tensor=part, activity=Activity(part.numel(), _IMPLICIT, 0))
            was = before[which]
            if was is not None:
                part = timestep(was, side, steps, step)
            found = self._read(part, at, which, side.keep, False, 1)
            return side._replace(tensor=part, activity=found, steps=1, outer=1)

        found = read_by_step(geometry, lhs, rhs, steps, read)
        for which, _ in sides:
            if found.values and all(both[which].real for both in found.values):
                settled.add(which)  # reals stay reals, so their timesteps need no look any more
        return _shown(found, product)

    def _unscaled(
        self, side: Side, at: CallSite, which: int, reals: bool
    ) -> tuple[Side, Tensor | None]:
        """An operand as it was before fixed factors scaled its channels.

        It is so in every pass, also where a scaled one is of one size by chance: classes of passes
        join by their steps.

        Returns:
            The operand, and what it was before; None where nothing scaled it.
        """
        scale = at.scales[which]
        if scale is None or reals:
            return side, None
        before = scale.undone(side.tensor)
        found = self._read(before, at, which, side.keep, False, side.slices)
        return side._replace(tensor=before, activity=found), before

    def _read(
        self, tensor: Tensor, at: CallSite, which: int, keep: Keep, reals: bool, steps: int
    ) -> Activity:
        try:
            return Activity.read(tensor, keep, steps, reals=reals)
        except AnalyzerError as error:
            what = "weights" if at.weights[which] else "input"
            raise _placed(AnalyzerError(f"the {what}: {error}"), at) from None

    def _repeats(self, at: CallSite, sides: list[Side], stepped: list[Side]) -> bool:
        """Whether each timestep reads what the one before read."""
        if stepped:
            return len(stepped) == len(sides) and all(_same_steps(side) for side in stepped)
        key = (at.module, at.op)
        before = self._before.get(key)
        if at.call and (before is None or len(before) != len(sides)):
            self._before.pop(key, None)  # an earlier call was no repetition
            return False
        now = []
        for position, side in enumerate(sides):
            if before is not None and at.call and not _alike(before[position][0], side.activity):
                self._before.pop(key, None)
                return False
            now.append((side.activity, _digest(side.tensor)))
        same = before is not None and [d for _, d in before] == [d for _, d in now]
        if at.call and not same:
            self._before.pop(key, None)
            return False
        self._before[key] = now
        return bool(at.call) and same


def _shown(found: ByStep, product: Product) -> ByStep:
    """With the non-zeros of attention weights, which no tensor shows."""
    if not product.implicit:
        return found
    width = max(product.rhs.shape[-1], 1)
    nonzeros = [events // width for events in found.figures[2]]
    return found._replace(figures=(nonzeros, *found.figures[1:]))


def _placed(error: AnalyzerError, at: CallSite) -> AnalyzerError:
    """An error that says where it was raised."""
    where = f"module {at.module!r}" if at.module else "the model itself"
    return AnalyzerError(f"in {where}, operation {at.op}: {error}")


def _same_steps(side: Side) -> bool:
    """Whether all timesteps of an operand are equal."""
    counts = side.activity.counts(side.tensor, side.keep, side.slices)
    counts = counts.reshape(side.outer, side.steps, -1)
    if (counts != counts[:, :1]).any():
        return False
    parts = side.tensor.unflatten(0, (side.outer, side.steps, -1)).unbind(1)
    return all(torch.equal(parts[0], part) for part in parts[1:])


def _alike(a: Activity, b: Activity) -> bool:
    return (a.elements, a.nonzeros, a.values) == (b.elements, b.nonzeros, b.values)


def _digest(tensor: Tensor) -> bytes:
    """Tells the contents of tensors apart."""
    flat = tensor.detach().reshape(-1).contiguous().cpu()
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=16).digest()
