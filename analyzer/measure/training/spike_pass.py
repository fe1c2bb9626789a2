"""One forward pass, of which only the contractions that spikes drive are counted.

Beside ``dispatch.py``, which counts all of a pass below autograd, this keeps the operands of the
graph, so that the counts can have a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.facts.values import Values
from analyzer.measure.frame.frame import Frame
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.geometry import Geometry, Side
from analyzer.measure.rules.products import Product
from analyzer.measure.tensors.arguments import tensors_in
from analyzer.measure.tensors.tensors import Tensors
from analyzer.measure.torch_private.modes import DispatchMode, hide_from_modes
from analyzer.measure.torch_private.tensors import version_of
from analyzer.measure.training.spike_sums import Count, Cut, Spikes, Spiking, figure
from analyzer.measure.watch.compiler import uncompiled
from analyzer.measure.watch.modules import RunningModules, Scope
from analyzer.measure.watch.operations import Operation, operations_of

__all__ = ["Reading", "SpikePass"]

Reading = Literal["exact", "unary"]


class _Call(NamedTuple):
    """A call whose count has no gradient yet.

    Attributes:
        op: The operation.
        args: Its arguments.
        kwargs: Its keyword arguments.
        out: Its result, on the meta device: its shape is all that is needed.
        versions: Of each tensor among the arguments, how often it was written to.
        counts: Its contractions, None for those that no spikes drive.
        scope: The module that ran it.
    """

    op: Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    versions: list[int]
    counts: list[Count | None]
    scope: Scope


class SpikePass(DispatchMode):
    """One forward pass. Contractions are counted when they run, below autograd.

    The operands that a dispatch mode is given are those of the graph, but what is computed of them
    there is not recorded. So gradients are linked to the same operands when the pass has ended.

    Attributes:
        multiplies: Whether some spikes are computed once for all samples, and count for each.
    """

    def __init__(
        self,
        model: nn.Module,
        convention: Reading,
        soft: tuple[str, ...],
        frame: Frame,
        samples: int,
    ) -> None:
        super().__init__()
        self.multiplies = False
        self._convention = convention
        self._soft = soft
        self._samples = samples
        self._layouts = replace(frame, groups={}).axes()
        self._operations = operations_of(default_rules())
        self._tensors = Tensors(model)
        self._modules = RunningModules(model, self._layouts)
        self._calls: list[_Call] = []
        self._plain: list[tuple[str, Tensor]] = []
        self._written_out: Scope | None = None

    @contextmanager
    def running(self, given: Sequence[Tensor]) -> Iterator[None]:
        """Counts what runs in the block."""

        def ignored(*_: Any) -> None:
            pass

        self._tensors.begin(given, self._samples, self._layouts.timesteps)
        follow = self._modules.running(self._samples, ignored, ignored, self._tensors.lock)
        with uncompiled(), follow, self:
            yield

    @property
    def _scope(self) -> Scope:
        return self._modules.now if self._written_out is None else self._written_out

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        op = self._operations.of(func)
        if op.view:  # all that is known of the storage holds of its views
            return func(*args, **kwargs)
        if op.composite:
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        inputs = [] if op.literal else tensors_in((*args, *kwargs.values()))
        if op.fused is not None or op.product is not None:
            with hide_from_modes():
                self._heard(op, args, kwargs, out, inputs)
        targets = op.written(args, kwargs) if op.writes else []
        self._tensors.ran(
            inputs,
            targets,
            tensors_in((out,)),
            args=args,
            makes=op.makes,
            aligned=op.aligned,
            takes_memory=False,
        )
        return out

    def _heard(
        self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, inputs: Any
    ) -> None:
        """Counts a call, or keeps it where its count is to have a gradient."""
        traced = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        counts: list[Count | None] = []
        if op.product is not None:
            products = op.product(args, kwargs, out)
            counts = [self._count(product) for product in products]
            if not traced:
                self._plain += _figures(products, counts)
            if not any(counts):
                return
        elif not traced:
            self._write_out(op, args, kwargs)
        if traced:
            shape = out.to("meta") if isinstance(out, Tensor) else None
            versions = [version_of(x) for x in inputs]
            self._calls.append(_Call(op, args, kwargs, shape, versions, counts, self._scope))

    def figures(self) -> list[tuple[str, Tensor]]:
        """The path of the module and the accumulates of each contraction, with their gradient."""
        found = self._plain
        while self._calls:
            call = self._calls.pop()
            given = tensors_in((*call.args, *call.kwargs.values()))
            if [version_of(x) for x in given] != call.versions:
                raise AnalyzerError(
                    f"an operand of {call.op.name} in module {call.scope.path!r} was overwritten "
                    "after it was read, so its count has no gradient: write the result to a new "
                    "tensor."
                )
            if call.op.product is None:  # autograd now records what the layer is made of
                self._written_out = call.scope
                self._write_out(call.op, call.args, call.kwargs)
                self._written_out = None
                continue
            with hide_from_modes():
                products = call.op.product(call.args, call.kwargs, call.out)
                found += _figures(products, call.counts)
        return found

    def _write_out(self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Counts a whole layer of one kernel by the operations that it stands for."""
        assert op.fused is not None
        with self:
            op.fused(*args, **kwargs)

    def _count(self, product: Product) -> Count | None:
        """Reads the operands of a contraction; None where no spikes drive it."""
        roles = self._tensors.roles(*product.origins)
        weights = (roles.fixed or roles.weights[0], roles.fixed or roles.weights[1])
        if all(weights) or (product.implicit and weights[1]):
            return None
        # Where one product serves all samples of a pass, each of them does it.
        alone = roles.constant and not any(roles.by_sample)
        path = self._scope.path
        soft = any(fnmatchcase(path, pattern) for pattern in self._soft)
        whole = self._read(product, (product.lhs, product.rhs), weights, soft)
        cut = None
        if not (soft or whole.of_one_size or roles.constant):
            cut = self._cut(product, weights, whole)
        parts = [whole]
        if cut is not None:
            slices = cut.of(product.lhs, product.rhs)
            parts = [self._read(product, operands, weights, soft) for operands in slices]
        counts = [part.counted(product.geometry, soft, self._convention) for part in parts]
        if not any(any(spikes) for spikes, _ in counts):
            return None
        self.multiplies = self.multiplies or alone
        return Count(path, tuple(counts), cut, self._samples if alone else 1)

    def _read(
        self,
        product: Product,
        operands: tuple[Tensor, Tensor],
        weights: tuple[bool, bool],
        soft: bool,
    ) -> Part:
        """Reads both operands, or what they are at one timestep."""
        path = self._scope.path
        keep = product.geometry.kept_dims(*operands, weights)
        sides = []
        for position, x in enumerate(operands):
            weight, implicit = weights[position], product.implicit and not position
            if implicit:
                activity = Activity(x.numel(), Values(real=True), 0)
            else:
                try:
                    activity = Activity.read(x, keep[position])
                except AnalyzerError as error:
                    raise AnalyzerError(
                        f"module {path!r}, operand {position + 1} of {product.op}: {error}"
                    ) from None
            if soft and not (weight or implicit):
                _check_fractions(x, path)
            sides.append(Side(x, activity, weight, keep[position]))
        return Part(sides[0], sides[1], product.implicit)

    def _cut(self, product: Product, weights: tuple[bool, bool], whole: Part) -> Cut | None:
        """How the operands are taken apart by timestep, None where they can not be."""
        layouts, order = self._layouts, self._scope.order
        if layouts.timesteps < 2:
            return None
        op = "linear" if product.op == "matmul" and any(weights) else product.op
        time = [
            layouts.steps(order, op, x.shape, self._samples) if may else None
            for may, x in zip(
                product.may_hold_time(weights), (product.lhs, product.rhs), strict=True
            )
        ]
        if any(found is not None and found[0] < 2 for found in time):
            return None
        holds_time = product.geometry.holds_time(whole.lhs, whole.rhs)
        if holds_time is None:
            return None
        outer = next(found[1] for found in time if found is not None)
        return Cut(layouts.timesteps, (outer * holds_time[0], outer * holds_time[1]))


class Part(NamedTuple):
    """Both operands of a contraction, or what they are at one timestep, as they were read."""

    lhs: Side
    rhs: Side
    implicit: bool

    @property
    def active(self) -> tuple[bool, bool]:
        """Which operands are activations that could be read."""
        return not (self.lhs.parameter or self.implicit), not self.rhs.parameter

    @property
    def of_one_size(self) -> bool:
        """Whether each activation holds spikes of one size at most."""
        sides = zip((self.lhs, self.rhs), self.active, strict=True)
        return all(side.activity.values.drives for side, active in sides if active)

    def counted(
        self, geometry: Geometry, soft: bool, convention: Reading
    ) -> tuple[Spiking, int | None]:
        """How the operands count as spikes, and the count of those."""
        by_level = convention == "unary"
        spikes = [
            None if not active else Spikes() if soft else Spikes.of(side.activity.values, by_level)
            for side, active in zip((self.lhs, self.rhs), self.active, strict=True)
        ]
        both = spikes[0], spikes[1]
        if soft or not any(both):
            return both, None if soft else 0
        counted = geometry.count(self.lhs, self.rhs)
        if all(both):
            return both, counted.pair_levels if by_level else counted.pair_events
        if both[0]:
            return both, counted.lhs_levels if by_level else counted.lhs_events
        return both, counted.rhs_levels if by_level else counted.rhs_events


def _figures(
    products: Sequence[Product], counts: Sequence[Count | None]
) -> list[tuple[str, Tensor]]:
    return [
        (count.path, figure(product, count))
        for product, count in zip(products, counts, strict=True)
        if count is not None
    ]


def _check_fractions(x: Tensor, path: str) -> None:
    low, high = torch.aminmax(x.detach()) if x.numel() else (torch.zeros(()),) * 2
    if low < 0 or high > 1:
        raise AnalyzerError(
            f"module {path!r} is declared to read fractions of spikes, and reads values from "
            f"{float(low):.3g} to {float(high):.3g}: leave it out of soft, or scale them to [0, 1]."
        )
