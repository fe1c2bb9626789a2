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
from analyzer.measure.rules.geometry import Keep, Side
from analyzer.measure.rules.products import Product
from analyzer.measure.watch.sites import CallSite, Observation

__all__ = ["Observer"]

_IMPLICIT = Values(real=True)


class Observer:
    """Reads operands and counts, pass by pass.

    Args:
        timesteps: Timesteps of one pass.
    """

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self._samples = 0
        self._before: dict[tuple[str, str], list[tuple[Activity, bytes]]] = {}

    def begin(self, samples: int) -> None:
        """Starts one pass over a number of samples."""
        self._samples = samples
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
            left = self._read(product.lhs, at, 0, keep[0], reals[0])
        right = self._read(product.rhs, at, 1, keep[1], reals[1])
        lhs = Side(product.lhs, left, at.weights[0], keep[0], at.steps[0])
        rhs = Side(product.rhs, right, at.weights[1], keep[1], at.steps[1])
        try:
            counted = product.geometry.count(lhs, rhs)
        except AnalyzerError as error:
            raise _placed(error, at) from None
        lhs_nonzeros = left.nonzeros
        if product.implicit:
            lhs_nonzeros = counted.lhs_events // max(product.rhs.shape[-1], 1)
        if at.fixed:  # in every inference, however many share a pass
            counted = counted.times(self._samples)
        elements, nonzeros, repeats = None, None, False
        if self._timesteps > 1:
            sides = [side for side in (lhs, rhs) if not side.parameter]
            if product.implicit:
                sides = [rhs]
            stepped = [side for side in sides if side.steps > 1]
            if stepped:
                elements = sum(side.activity.elements // side.steps for side in stepped)
                nonzeros = sum(
                    side.activity.counts(side.tensor, side.keep, side.steps).sum(1)
                    for side in stepped
                )
            repeats = at.repeats and self._repeats(at, sides, stepped)
        seen = Observation(left, right, lhs_nonzeros, counted, elements, nonzeros, repeats)
        return seen.swapped() if lhs.parameter and not rhs.parameter else seen

    def _read(self, tensor: Tensor, at: CallSite, which: int, keep: Keep, reals: bool) -> Activity:
        try:
            return Activity.read(tensor, keep, at.steps[which], reals=reals)
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


def _placed(error: AnalyzerError, at: CallSite) -> AnalyzerError:
    """An error that says where it was raised."""
    where = f"module {at.module!r}" if at.module else "the model itself"
    return AnalyzerError(f"in {where}, operation {at.op}: {error}")


def _same_steps(side: Side) -> bool:
    """Whether all timesteps of an operand are equal."""
    counts = side.activity.counts(side.tensor, side.keep, side.steps)
    if (counts != counts[0]).any():
        return False
    steps = side.tensor.unflatten(0, (side.steps, -1))
    return all(torch.equal(steps[0], step) for step in steps[1:])


def _alike(a: Activity, b: Activity) -> bool:
    return (a.elements, a.nonzeros, a.values) == (b.elements, b.nonzeros, b.values)


def _digest(tensor: Tensor) -> bytes:
    """Tells the contents of tensors apart."""
    flat = tensor.detach().reshape(-1).contiguous().cpu()
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data, digest_size=16).digest()
