"""One execution of a contraction: its operands read, its work counted."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.values import Values
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.statistics import PreparedReader, TensorLayout
from analyzer.measure.read.strides import loop_nest
from analyzer.measure.rules.defaults import Product
from analyzer.measure.rules.geometry import Keep, Side
from analyzer.measure.watch.sites import Observation
from analyzer.measure.watch.storage import StorageMap

__all__ = ["Activities", "CachedOperand", "CallSite", "Observer"]

_IMPLICIT = Values(real=True)


class CallSite(NamedTuple):
    """What a contraction is in its model: the same in every pass.

    Attributes:
        module: Dotted path of the module that runs it.
        op: What tables call it.
        call: Which time in one pass.
        weights: Which of its operands hold weights.
        fixed: Whether neither operand depends on the input.
        steps: Timesteps outermost in the first axis of each operand, 1 where time is not known.
        repeats: Whether it may be a repetition of the timestep before.
    """

    module: str
    op: str
    call: int
    weights: tuple[bool, bool]
    fixed: bool
    steps: tuple[int, int]
    repeats: bool = True


class CachedOperand(NamedTuple):
    """What an earlier pass tells of an operand.

    Attributes:
        weights: Statistics of a parameter, None for other operands.
        address: Where that parameter lay.
        version: How often it had been written.
        reals: Whether it held reals, none of them zero: once it did, it counts as reals for ever.
        lie: How it lay in memory.
        look: How to read it again, where it lies so.
        alone: Whether no other contraction reads the operand, so that nothing need be remembered.
    """

    weights: Activity | None
    address: int
    version: int
    reals: bool
    lie: TensorLayout
    look: PreparedReader | None = None
    alone: bool = False

    @property
    def lasts(self) -> bool:
        """Whether one look may tell that the operand is what it was."""
        return self.weights is not None or (self.reals and self.alone and self.look is not None)

    def holds(self, tensor: Tensor) -> bool:
        """Whether an operand that lasts is as it was: the same weights, or reals without a zero."""
        if self.weights is not None:
            return self.is_at(tensor)
        if self.look is None or not self.lie.fits(tensor):
            return False
        found = self.look(tensor)
        return found.nonzeros == tensor.numel() and math.isfinite(found.peak)

    def is_at(self, tensor: Tensor) -> bool:
        """Whether a parameter is where it was and as it was."""
        return tensor.data_ptr() == self.address and tensor._version == self.version


class Activities:
    """Statistics of the tensors seen, remembered while their storage lives unchanged."""

    def __init__(self) -> None:
        self._known: StorageMap[dict[tuple[object, ...], Activity]] = StorageMap()

    def of(self, tensor: Tensor, keep: tuple[int, ...] = (), steps: int = 1) -> Activity:
        """Statistics of a tensor, shared by all dense views of the same elements.

        Args:
            tensor: What to read, if it was not read before.
            keep: Axes that :meth:`Activity.counts` will be asked to keep: counted in this pass.
            steps: Timesteps it will be asked for.

        Raises:
            AnalyzerError: Where an element is NaN or infinite, or no real number.
        """
        if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
            kind = "complex" if tensor.is_complex() else "quantized or sparse"
            raise AnalyzerError(f"operands of dtype {tensor.dtype} ({kind}) can not be counted.")
        if tensor.is_inference():
            return Activity.read(tensor, keep, steps)
        known = self._known.get(tensor)
        if known is None:
            known = {}
            self._known.put(tensor, known)
        region = _region(tensor)
        activity = known.get(region)
        if activity is None:
            activity = known[region] = Activity.read(tensor, keep, steps)
        return activity

    def forget(self, tensor: Tensor) -> None:
        """Drops what is known of a tensor that has changed."""
        self._known.drop(tensor)

    def begin(self, weights: StorageMap[bool]) -> None:
        """Forgets all but weights: between passes tensors may change unseen, as NumPy's do."""
        self._known.keep_only(weights)


class Observer:
    """Reads operands and counts, pass by pass.

    Args:
        timesteps: Timesteps of one pass.

    Attributes:
        activities: What is known of the tensors seen.
    """

    def __init__(self, timesteps: int) -> None:
        self.activities = Activities()
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
        role: CallSite,
        hints: tuple[CachedOperand | None, CachedOperand | None] = (None, None),
        keeps: tuple[Keep, Keep] | None = None,
    ) -> Observation:
        """Counts one contraction.

        Args:
            product: Its operands and geometry.
            role: What it is in the model.
            hints: What is known of each operand.
            keeps: What the geometry says of the axes to keep, where that is known.

        Raises:
            AnalyzerError: Where an operand can not be counted; says which, of what module.
        """
        keeps = keeps or product.geometry.kept_dims(product.lhs, product.rhs, role.weights)
        return self.conclude(product, role, keeps, self.read(product, role, keeps, hints))

    def read(
        self,
        product: Product,
        role: CallSite,
        keeps: tuple[Keep, Keep],
        hints: tuple[CachedOperand | None, CachedOperand | None] = (None, None),
    ) -> tuple[Activity, Activity]:
        """Statistics of both operands of a contraction."""
        if product.implicit:
            lhs = Activity(product.lhs.numel(), _IMPLICIT, 0)
        else:
            lhs = self._read(product.lhs, role, 0, keeps[0], hints[0])
        return lhs, self._read(product.rhs, role, 1, keeps[1], hints[1])

    def conclude(
        self,
        product: Product,
        role: CallSite,
        keeps: tuple[Keep, Keep],
        activities: tuple[Activity, Activity],
    ) -> Observation:
        """Counts one contraction from the statistics of its operands.

        The operands may have changed since, or be shapes without values if statistics know all.
        """
        lhs, rhs = (
            Side(tensor, activity, weight, keep, steps)
            for tensor, activity, weight, keep, steps in zip(
                (product.lhs, product.rhs), activities, role.weights, keeps, role.steps, strict=True
            )
        )
        try:
            counted = product.geometry.count(lhs, rhs)
        except AnalyzerError as error:
            raise _placed(error, role) from None
        lhs_nonzeros = lhs.activity.nonzeros
        if product.implicit:
            lhs_nonzeros = counted.lhs_events // max(product.rhs.shape[-1], 1)
        if role.fixed:  # in every inference, however many share a pass
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
            repeats = role.repeats and self._repeats(role, sides, stepped)
        seen = Observation(
            lhs.activity, rhs.activity, lhs_nonzeros, counted, elements, nonzeros, repeats
        )
        return seen.swapped() if lhs.parameter and not rhs.parameter else seen

    def _read(
        self, tensor: Tensor, role: CallSite, at: int, keep: Keep, hint: CachedOperand | None
    ) -> Activity:
        steps = role.steps[at]
        try:
            if hint is not None and hint.weights is not None and hint.is_at(tensor):
                return hint.weights
            if hint is None or not hint.alone:
                return self.activities.of(tensor, keep, steps)
            if hint.look is None or not hint.lie.fits(tensor):
                return Activity.read(tensor, keep, steps)
            return Activity.of(hint.look(tensor), tensor, tensor.numel(), reals=hint.reals)
        except AnalyzerError as error:
            which = "weights" if role.weights[at] else "input"
            raise _placed(AnalyzerError(f"the {which}: {error}"), role) from None

    def _repeats(self, role: CallSite, sides: list[Side], stepped: list[Side]) -> bool:
        """Whether each timestep reads what the one before read."""
        if stepped:
            return len(stepped) == len(sides) and all(_same_steps(side) for side in stepped)
        now = [(side.activity, b"") for side in sides]
        before = self._before.get((role.module, role.op))
        if role.call and before is None:  # an earlier call was none
            return False
        same = before is not None and len(before) == len(sides)
        for position, side in enumerate(sides):
            activity, digest = before[position] if before is not None and same else (None, b"")
            if activity is side.activity:
                now[position] = (side.activity, digest)
            elif role.call == 0 or (activity is not None and _alike(activity, side.activity)):
                now[position] = (side.activity, _digest(side.tensor))
                same = same and digest == now[position][1]
            else:
                same = False
        if role.call == 0 or same:
            self._before[role.module, role.op] = now
        else:
            self._before.pop((role.module, role.op), None)
        return same


def _placed(error: AnalyzerError, role: CallSite) -> AnalyzerError:
    """An error that says where it was raised."""
    where = f"module {role.module!r}" if role.module else "the model itself"
    return AnalyzerError(f"in {where}, operation {role.op}: {error}")


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
    return hashlib.blake2b(flat.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()


def _region(tensor: Tensor) -> tuple[object, ...]:
    """Which elements of its storage a tensor shows, and how often these were written."""
    shape, stride = tensor.shape, tensor.stride()
    where = (tensor.storage_offset(), tensor.dtype, tensor._version)
    walk = loop_nest(shape, stride, ())
    if walk is not None and walk.dense:
        return (*where, tensor.numel())
    return (*where, shape, stride)
