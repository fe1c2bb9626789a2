"""``analyzer.SynOps``: the accumulates of a forward pass as a figure that has a gradient.

A penalty on it trains a network to spend fewer accumulates. The figure itself is what a profile
would count, by the same rules and geometry. Its gradient is that of a sum: a spike costs its
fan-out, or where it meets other spikes the number of those, and from the spikes the gradient goes
on through the surrogate of the neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import lru_cache
from threading import get_ident
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from analyzer.errors import AnalyzerError, unknown
from analyzer.facts.values import Values
from analyzer.measure.layouts import Layouts
from analyzer.measure.read.activity import Activity
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.geometry import Attended, Convolution, Geometry, MatMul, Side
from analyzer.measure.rules.products import Product
from analyzer.measure.rules.taps import fan_outs
from analyzer.measure.torch_private import (
    DispatchMode,
    hide_from_modes,
    outside_of_compiler,
    tree_leaves,
    version_of,
)
from analyzer.measure.watch.operations import Operation, operations_of
from analyzer.measure.watch.scopes import Scopes
from analyzer.measure.watch.tensors import Tensors, tensors_in

__all__ = ["SynOps"]

Reading = Literal["exact", "unary"]


class SynOps:
    """Counts the accumulates of a model's forward passes, with a gradient.

    In the block every forward pass of the model is counted; what else runs there is not. On spikes
    the figures are those of a profile of the same batch, to the last integer (while they are below
    2^53, for they are float64): ``profile.totals["ac"]`` under the same convention. Operations that
    no spikes drive are multiply-accumulates and add nothing, so an ANN has zero.

    The gradient of a spike is its fan-out, divided by the size of the spike; where spikes meet
    spikes it is the number of those that it meets. A spike that was not fired has the same
    gradient, except where spikes have both signs: then it has none. Neurons need a surrogate
    gradient, as for any training; operands without a gradient are counted and pass none on. A
    compiled model runs operation by operation in the block. Replicas on other devices, which run in
    threads of their own, are not counted.

    Args:
        model: The model, in any mode.
        convention: ``"exact"`` counts non-zeros of spikes. ``"unary"`` also counts graded values,
            such as summed spikes or the levels of a network that is trained without a time axis,
            as so many spikes.
        soft: Glob patterns of the paths of modules that read fractions of spikes, such as a smooth
            activation in place of a neuron. A real value there is counted as that part of a spike;
            elsewhere operations on real values are no accumulates.

    Raises:
        AnalyzerError: Where the model or the convention is none; on leaving a forward pass, where
            an operand is NaN or infinite or was overwritten after it was read.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Linear(6, 3)
        >>> spikes = torch.eye(4, 6, requires_grad=True)  # 4 samples with one spike each
        >>> with analyzer.SynOps(model) as ops:
        ...     loss = model(spikes).square().mean() + 1e-3 * ops.per_sample()
        >>> loss.backward()  # and a step of any optimizer
        >>> ops.total().item(), ops.per_sample().item()  # each of 4 spikes meets 3 outputs
        (12.0, 3.0)
    """

    def __init__(
        self, model: nn.Module, *, convention: Reading = "exact", soft: Sequence[str] = ()
    ) -> None:
        if not isinstance(model, nn.Module):
            raise AnalyzerError(f"SynOps needs a torch.nn.Module, not {type(model).__name__}.")
        if convention not in get_args(Reading):
            raise unknown("convention", convention, get_args(Reading))
        declared = getattr(model, "layouts", None)
        self._layouts = Layouts(
            declared if isinstance(declared, Mapping) else {}, {}, getattr(model, "timesteps", 1)
        )
        self._model = model
        self._convention: Reading = convention
        self._soft = (soft,) if isinstance(soft, str) else tuple(soft)
        self._hooks = ExitStack()
        self._thread = 0
        self._depth = 0
        self._pass: _Pass | None = None
        self._passes = 0
        self._samples = 0
        self._found: dict[str, Tensor] = {}

    def __enter__(self) -> SynOps:
        if self._thread:
            raise AnalyzerError("this SynOps is in use: leave its block first, or make another.")
        self._thread = get_ident()
        self._passes, self._samples, self._found = 0, 0, {}
        # Global hooks, because hooks on single modules make PyTorch leave some fused paths.
        enter, leave = outside_of_compiler(self._enter), outside_of_compiler(self._leave)
        self._hooks.callback(register_module_forward_pre_hook(enter).remove)
        self._hooks.callback(register_module_forward_hook(leave, always_call=True).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._thread = 0

    def total(self) -> Tensor:
        """Accumulates of all forward passes so far: float64, without axes.

        Raises:
            AnalyzerError: Where no forward pass ran to its end in the block.
        """
        if not self._passes:
            raise AnalyzerError(
                f"SynOps saw no forward pass of this {type(self._model).__name__}: call the model "
                "itself in the block, before the count is asked for."
            )
        return sum(self._found.values(), torch.zeros((), dtype=torch.float64))

    def per_sample(self) -> Tensor:
        """Accumulates of one sample, the mean over those of all passes so far.

        Raises:
            AnalyzerError: Where no forward pass ran to its end in the block, or no samples passed.
        """
        total = self.total()
        if not self._samples:
            raise AnalyzerError(
                f"SynOps can not tell how many samples {type(self._model).__name__} was given: "
                "call it with its input as a positional argument, or divide total() yourself."
            )
        return total / self._samples

    def by_module(self) -> dict[str, Tensor]:
        """Accumulates by the path of the module that ran them, where spikes drove any."""
        return dict(self._found)

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() != self._thread:
            return
        if module is self._model:
            self._depth += 1
            if self._pass is None:
                self._pass = _Pass(self._model, self._convention, self._soft, args)
                self._pass.__enter__()
        if self._pass is not None:
            self._pass.scopes.enter(module, args)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if get_ident() != self._thread or self._pass is None:
            return
        self._pass.scopes.leave(module, args, output)
        if module is not self._model:
            return
        self._depth -= 1
        if self._depth:
            return
        watched, self._pass = self._pass, None
        watched.__exit__(None, None, None)
        if output is None:  # the forward raised
            return
        self._passes += 1
        first = next((x for x in tree_leaves(args) if isinstance(x, Tensor) and x.ndim), None)
        if first is not None:
            self._samples += first.shape[self._layouts.batch_axis(first)]
        for path, count in watched.figures():
            self._found[path] = self._found[path] + count if path in self._found else count


class _Spikes(NamedTuple):
    """How an operand counts as spikes.

    Attributes:
        step: The size of one spike.
        sign: 1 or -1 where all spikes have this sign, 0 where they have both.
    """

    step: float = 1.0
    sign: int = 1

    @classmethod
    def of(cls, values: Values) -> _Spikes:
        """From the values that an operand holds."""
        sign = 0 if values.low < 0 < values.high else -1 if values.low < 0 else 1
        return cls(values.step or 1.0, sign)

    def whole(self, x: Tensor) -> Tensor:
        """Spikes at each place, float64."""
        return (x.double() if self.sign else x.double().abs()) / (self.step * (self.sign or 1))

    def summed(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Spikes summed over some axes, float64."""
        total = (x if self.sign else x.abs()).sum(axes, dtype=torch.float64)
        return total / (self.step * (self.sign or 1))


class _Count(NamedTuple):
    """One contraction that spikes drive.

    Attributes:
        path: Of the module that ran it.
        spikes: How each operand counts, None where it does not.
        exact: The count, None where it is of fractions of spikes.
    """

    path: str
    spikes: tuple[_Spikes | None, _Spikes | None]
    exact: int | None


class _Call(NamedTuple):
    """A call whose count has no gradient yet.

    Attributes:
        op: The operation.
        args: Its arguments.
        kwargs: Its keyword arguments.
        out: Its result, on the meta device: its shape is all that is needed.
        versions: Of each tensor among the arguments, how often it was written to.
        counts: Its contractions, None for those that no spikes drive.
        path: Of the module that ran it.
    """

    op: Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    versions: list[int]
    counts: list[_Count | None]
    path: str


class _Pass(DispatchMode):
    """One forward pass. Contractions are counted when they run, below autograd.

    The operands that a dispatch mode is given are those of the graph, but what is computed of them
    there is not recorded. So gradients are linked to the same operands when the pass has ended.
    """

    def __init__(
        self, model: nn.Module, convention: Reading, soft: tuple[str, ...], inputs: Any
    ) -> None:
        super().__init__()
        self.scopes = Scopes(model)
        self._convention = convention
        self._soft = soft
        self._operations = operations_of(default_rules())
        self._tensors = Tensors(model)
        self._tensors.begin(x for x in tree_leaves(inputs) if isinstance(x, Tensor))
        self._calls: list[_Call] = []
        self._plain: list[tuple[str, Tensor]] = []
        self._written_out: str | None = None
        self._see = outside_of_compiler(self._saw)

    @property
    def _path(self) -> str:
        return self.scopes.path if self._written_out is None else self._written_out

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._see(func, args, kwargs or {})

    def _saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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
        self._tensors.ran(inputs, targets, tensors_in((out,)), takes_memory=False)
        return out

    def _heard(
        self, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, inputs: Any
    ) -> None:
        """Counts a call, or keeps it where its count is to have a gradient."""
        traced = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        counts: list[_Count | None] = []
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
            self._calls.append(_Call(op, args, kwargs, shape, versions, counts, self._path))

    def figures(self) -> list[tuple[str, Tensor]]:
        """The path of the module and the accumulates of each contraction, with their gradient."""
        found = self._plain
        while self._calls:
            call = self._calls.pop()
            given = tensors_in((*call.args, *call.kwargs.values()))
            if [version_of(x) for x in given] != call.versions:
                raise AnalyzerError(
                    f"an operand of {call.op.name} in module {call.path!r} was overwritten after "
                    "it was read, so its count has no gradient: write the result to a new tensor."
                )
            if call.op.product is None:  # autograd now records what the layer is made of
                self._written_out = call.path
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

    def _count(self, product: Product) -> _Count | None:
        """Reads the operands of a contraction; None where no spikes drive it."""
        (left, right), fixed = self._tensors.roles(*product.origins)
        weights = (fixed or left, fixed or right)
        path, geometry = self._path, product.geometry
        soft = any(fnmatchcase(path, pattern) for pattern in self._soft)
        keep = geometry.kept_dims(product.lhs, product.rhs, weights)
        sides = []
        spikes: list[_Spikes | None] = []
        for position, x in enumerate((product.lhs, product.rhs)):
            if position == 0 and product.implicit:
                activity = Activity(x.numel(), Values(real=True), 0)
            else:
                try:
                    activity = Activity.read(x, keep[position])
                except AnalyzerError as error:
                    raise AnalyzerError(
                        f"module {path!r}, operand {position + 1} of {product.op}: {error}"
                    ) from None
            values = activity.values
            counts = values.drives if self._convention == "exact" else not values.real
            sides.append(Side(x, activity, weights[position], keep[position]))
            if weights[position] or (position == 0 and product.implicit):
                spikes.append(None)
            elif soft:
                _check_fractions(x, path)
                spikes.append(_Spikes())
            else:
                spikes.append(_Spikes.of(values) if counts else None)
        if not any(spikes):
            return None
        if soft:
            return _Count(path, (spikes[0], spikes[1]), None)
        counted = geometry.count(sides[0], sides[1])
        by_level = self._convention == "unary"
        if all(spikes):
            exact = counted.pair_levels if by_level else counted.pair_events
        elif spikes[0]:
            exact = counted.lhs_levels if by_level else counted.lhs_events
        else:
            exact = counted.rhs_levels if by_level else counted.rhs_events
        return _Count(path, (spikes[0], spikes[1]), exact)


def _figures(
    products: Sequence[Product], counts: Sequence[_Count | None]
) -> list[tuple[str, Tensor]]:
    return [
        (count.path, _figure(product, count))
        for product, count in zip(products, counts, strict=True)
        if count is not None
    ]


def _figure(product: Product, count: _Count) -> Tensor:
    """The count of a contraction, float64, with the gradient of a sum over its spikes."""
    if count.exact is not None and not (product.lhs.requires_grad or product.rhs.requires_grad):
        return torch.tensor(float(count.exact), dtype=torch.float64, device=product.rhs.device)
    linear = _sum(product.geometry, product.lhs, product.rhs, *count.spikes)
    if count.exact is None:
        return linear
    exact: Tensor = _Exactly.apply(linear, count.exact)
    return exact


def _sum(
    geometry: Geometry, lhs: Tensor, rhs: Tensor, left: _Spikes | None, right: _Spikes | None
) -> Tensor:
    """Sum over the products of a contraction of the spikes that meet there, float64.

    Args:
        geometry: Which elements are multiplied.
        lhs: First operand.
        rhs: Second operand.
        left: How the first counts as spikes; None where it is not made of any: then it counts as
            ones.
        right: The same of the second.
    """
    if isinstance(geometry, Convolution):
        return _sum_of_convolution(geometry, lhs, rhs, left, right)
    if not isinstance(geometry, MatMul | Attended):
        raise AnalyzerError(
            f"SynOps has no gradient for contractions of geometry {type(geometry).__name__}: "
            "describe the operation with analyzer.products."
        )
    if left is not None and right is not None:
        return (left.summed(lhs, (-2,)) * right.summed(rhs, (-1,))).sum()
    if left is not None:
        return left.summed(lhs, tuple(range(lhs.ndim))) * rhs.shape[-1]
    assert right is not None
    return right.summed(rhs, tuple(range(rhs.ndim))) * lhs.shape[-2]


def _sum_of_convolution(
    geometry: Convolution, x: Tensor, kernel: Tensor, left: _Spikes | None, right: _Spikes | None
) -> Tensor:
    """Input ``[B, C_in, *S]``, kernel ``[C_out, C_in/g, *K]`` (transposed: in and out swap)."""
    size, taps = tuple(x.shape[2:]), tuple(kernel.shape[2:])
    if left is not None and right is not None:
        axes = zip(geometry.axes(size, taps), geometry.stride, strict=True)
        cut = [
            a.output - ((a.size - 1) * stride - 2 * a.padding + a.dilation * (a.taps - 1) + 1)
            for a, stride in axes
        ]
        return torch.convolution(
            left.whole(x),
            right.whole(kernel),
            None,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.transposed,
            cut if geometry.transposed else [0] * len(size),
            geometry.groups,
        ).sum()
    of_input, of_tap = _fan_outs(geometry, size, taps)
    if left is not None:
        channels = kernel.shape[1] if geometry.transposed else len(kernel) // geometry.groups
        met = left.summed(x, (0, 1)).reshape(-1)
        return met @ of_input.to(x.device) * channels
    assert right is not None
    met = right.summed(kernel, (0, 1)).reshape(-1)
    return met @ of_tap.to(x.device) * len(x)


@lru_cache(maxsize=512)
def _fan_outs(
    geometry: Convolution, size: tuple[int, ...], taps: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Fan-outs within one channel, of inputs and of taps, float64."""
    of_input, of_tap = fan_outs(geometry.axes(size, taps))
    return torch.from_numpy(of_input).double(), torch.from_numpy(of_tap).double()


class _Exactly(torch.autograd.Function):
    """An exact figure in the forward pass, with the gradient of another in the backward pass."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, exact: int) -> Tensor:
        return torch.full_like(linear, float(exact))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _check_fractions(x: Tensor, path: str) -> None:
    low, high = torch.aminmax(x.detach()) if x.numel() else (torch.zeros(()),) * 2
    if low < 0 or high > 1:
        raise AnalyzerError(
            f"module {path!r} is declared to read fractions of spikes, and reads values from "
            f"{float(low):.3g} to {float(high):.3g}: leave it out of soft, or scale them to [0, 1]."
        )
