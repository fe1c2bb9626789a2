"""A second, independent count of one forward pass: every contraction run again in float64.

It shares no code with what it checks, but for what tells by which fixed factors a tensor was
multiplied, and which axis of a module's input is time. It is slow and obvious on purpose: dense
work is the operation on ones (padding too), events are the operation on masks of the non-zeros,
unary events the operation on levels, each summed over its whole output. Kernels that hold several
products are taken apart, so that the products run one by one next to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.measure.frame.layouts import Layouts
from analyzer.measure.tensors.scales import Scale
from analyzer.measure.torch_private.kernels import run_kernel
from analyzer.measure.torch_private.operators import (
    argument_names,
    decomposes,
    is_higher_order,
    short_name,
    written_arguments,
)
from analyzer.measure.torch_private.tensors import base_of
from analyzer.measure.torch_private.trees import tree_leaves
from analyzer.measure.watch.operators import run_operator
from analyzer.measure.watch.scopes import canonical_names
from analyzer.verification.kernels import TAKEN_APART
from analyzer.verification.operands import ones
from analyzer.verification.passes import Pass, Run
from analyzer.verification.seen import Kind, Operation, Seen, Total
from analyzer.verification.steps import Steps

__all__ = ["BruteForce", "brute_force"]

_CHUNK = 1 << 22
_FIXED = tuple(frozenset(kinds) for kinds in (["buffer"], ["parameter"], ["buffer", "parameter"]))
"""Origins of what is of one value in every pass."""

_LEAST_BIAS = -1e4

_OPERANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "mm": ("self", "mat2"),
        "_int_mm": ("self", "mat2"),
        "_scaled_mm": ("self", "mat2"),
        "_scaled_mm_v2": ("self", "mat2"),
        "bmm": ("self", "mat2"),
        "addmm": ("mat1", "mat2"),
        "_addmm_activation": ("mat1", "mat2"),
        "baddbmm": ("batch1", "batch2"),
        "addbmm": ("batch1", "batch2"),
        "mv": ("self", "vec"),
        "addmv": ("mat", "vec"),
        "dot": ("self", "tensor"),
        "vdot": ("self", "other"),
    }
)
"""Matrix products, with the names that their schemas give the two operands."""

_CONVOLUTIONS = frozenset({"convolution", "_convolution", "convolution_overrideable"})


@dataclass
class BruteForce:
    """One forward pass as brute force has it.

    Attributes:
        seen: Its contractions, in order.
        unknown: Contractions that could not be counted: module and operation.
        failure: A sentence where brute force could not follow the model.
    """

    seen: list[Seen] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    failure: str = ""


def brute_force(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    contractions: Collection[str] = (),
    buffers: Iterable[Tensor] | None = None,
    layouts: Layouts | None = None,
    samples: int = 1,
    run: Run | None = None,
    *,
    loop: bool = False,
) -> BruteForce:
    """All contractions of one forward pass.

    Args:
        model: The model.
        args: Its arguments.
        kwargs: Its arguments by name.
        contractions: Names of operations that are contractions for those who are checked. One that
            is not known here is looked into: what its kernel calls may be.
        buffers: Those that are constants, by default all of the model. State that a reset makes is
            none.
        layouts: Tell which axes are time; by default there is none.
        samples: Samples of the pass.
        run: Runs the model on its arguments; by default it is called.
        loop: Whether that calls the model once a timestep.
    """
    constant = model.buffers() if buffers is None else buffers
    watch = _Watch(model, frozenset(contractions), constant, run)
    watch.tell_time(layouts or Layouts({}, {}, 1), samples, (args, kwargs), loop=loop)
    watch.follow(args, kwargs or {})
    return watch.found


class _Watch(Pass):
    """Counts each contraction when it runs, and tracks what does not depend on the input."""

    def __init__(
        self,
        model: nn.Module,
        contractions: frozenset[str],
        buffers: Iterable[Tensor],
        run: Run | None = None,
    ) -> None:
        super().__init__(model, run)
        self.found = BruteForce()
        self._contractions = contractions
        self._names: dict[str, list[str]] = {}
        for name, first in canonical_names(model).items():
            self._names.setdefault(first, []).append(name)
        self._origins: WeakKeyDictionary[torch.UntypedStorage, frozenset[str]] = WeakKeyDictionary()
        self._scales: WeakKeyDictionary[torch.UntypedStorage, Scale] = WeakKeyDictionary()
        for buffer in buffers:
            self._set_origin(buffer, frozenset({"buffer"}))
        for parameter in model.parameters():
            self._set_origin(parameter, frozenset({"parameter"}))

    def tell_time(self, layouts: Layouts, samples: int, given: Any, *, loop: bool) -> None:
        """Says what time is in this pass; ``given`` is all that the model is given."""
        self._layouts, self._samples, self._loop = layouts, samples, loop
        self._steps: Steps | None = None
        first = next((x for x in _strided(given) if x.ndim), None)
        if first is not None and layouts.timesteps > 1:
            axis = layouts.axis_of_steps(first, samples)
            if axis is not None:
                self._steps = Steps(first, axis)

    def saw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Counts an operation, if it is a contraction, and runs it."""
        if is_higher_order(func):
            return run_operator(self, func, args, kwargs)
        name = short_name(func)
        given = _by_name(func, args, kwargs)
        known = self._count(name, given)
        if not known and decomposes(func):  # composite operations that arrive whole
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = NotImplemented
        if not known and name in self._contractions:
            out = self._look_inside(func, args, kwargs)
        if out is NotImplemented:
            out = func(*args, **kwargs)
        self._trace(func, given, out)
        return out

    def _count(self, name: str, given: Mapping[str, Any]) -> bool:
        """Counts a call, and tells whether it is a contraction that is known here."""
        if name in _OPERANDS:
            lhs, rhs = (given[operand] for operand in _OPERANDS[name])
            lhs = lhs.unsqueeze(0) if lhs.ndim == 1 else lhs
            rhs = rhs.unsqueeze(-1) if rhs.ndim == 1 else rhs
            self._product(lhs, rhs)
        elif name == "_weight_int8pack_mm":
            self._product(given["self"], given["mat2"].t())
        elif name in _CONVOLUTIONS:
            self._convolution(given)
        elif name == "conv_tbc":
            self._convolution_over_time(given)
        elif name.startswith("_scaled_dot_product_") and "query" in given:
            self._attention(given)
        elif name in TAKEN_APART:
            with self:
                TAKEN_APART[name](given)
        else:
            return False
        return True

    def _look_inside(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Runs an operation that is not known here and counts what its kernel calls."""
        before = len(self.found.seen)
        with self:
            out = run_kernel(func, args, kwargs)
        if len(self.found.seen) == before:
            self.found.unknown.append((self.module, short_name(func)))
        for tensor in _strided([out]):  # what the kernel made it of in secret is not to be trusted
            self._origins.pop(tensor.untyped_storage(), None)
        return out

    def _product(self, lhs: Tensor, rhs: Tensor) -> None:
        self._add("product", lhs, rhs, _matrix_product, _dense_product)

    def _convolution(self, given: Mapping[str, Any]) -> None:
        x, weight, transposed = given["input"], given["weight"], given["transposed"]
        axes = weight.ndim - 2
        stride, padding, dilation, extra = (
            list(given[key]) if len(given[key]) == axes else list(given[key]) * axes
            for key in ("stride", "padding", "dilation", "output_padding")
        )
        run = partial(
            _convolution, stride=stride, dilation=dilation, transposed=transposed,
            groups=given["groups"],
        )  # fmt: skip

        def dense(x: Tensor, weight: Tensor) -> int:
            one = ones(x[:1])
            if not transposed:  # padding is dense work; transposed, every tap of every input
                one = F.pad(one, [size for size in reversed(padding) for _ in range(2)], value=1.0)
            return run(one, ones(weight), padding=[0] * axes, extra=[0] * axes) * len(x)

        self._add("convolution", x, weight, partial(run, padding=padding, extra=extra), dense)

    def _convolution_over_time(self, given: Mapping[str, Any]) -> None:
        """Input ``[T, B, C]``, weight ``[K, C, C_out]``."""
        self._convolution(
            {
                "input": given["self"].permute(1, 2, 0),
                "weight": given["weight"].permute(2, 1, 0),
                "transposed": False,
                "groups": 1,
                "stride": [1],
                "padding": [given.get("pad", 0)],
                "dilation": [1],
                "output_padding": [0],
            }
        )

    def _attention(self, given: Mapping[str, Any]) -> None:
        mask = given.get("attn_mask", given.get("attn_bias"))
        q, *few = (given[key] for key in ("query", "key", "value"))
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], dim=-3) for x in few)
        for repeated, once in zip((k, v), few, strict=True):
            self._pass_on([once], [repeated])
        self._product(q, k.mT)
        weights = torch.ones(*q.shape[:-1], k.shape[-2], dtype=torch.float64, device=q.device)
        if mask is not None:  # an additive one hides what it makes vanish
            weights = weights * (mask if mask.dtype == torch.bool else mask > _LEAST_BIAS)
        if given.get("is_causal"):
            weights = weights.tril()
        self._pass_on(_strided([q, k, mask]), [weights])
        self._add("product", weights, v, _matrix_product, _dense_product, softmax=True)

    def _unscaled(
        self, kind: Kind, sides: tuple[Tensor, Tensor], which: int
    ) -> tuple[Tensor, Tensor]:
        """The operands of a layer, its activation before fixed factors that fold into weights."""
        x = sides[which]
        scale = self._scales.get(x.untyped_storage())
        axis = 1 if kind == "convolution" else -1 - which
        if scale is None or not scale.folds(x, axis, self._layouts.timesteps):
            return sides
        before = scale.undone(x)
        return (before, sides[1]) if which == 0 else (sides[0], before)

    def _add(
        self,
        kind: Kind,
        lhs: Tensor,
        rhs: Tensor,
        run: Total,
        dense: Total,
        *,
        softmax: bool = False,
    ) -> None:
        sides = (lhs, rhs)
        origins = [self._origin(side) for side in sides]
        weight = [_is_weight(mine, other) for mine, other in (origins, origins[::-1])]
        fixed = all(origin and "created" not in origin for origin in origins)
        active = [] if fixed else [i for i in (0, 1) if not weight[i]]
        step = self.runs - 1 if self._loop else None
        if self._steps is not None and not self._loop:
            step = self._steps.of(sides)
        if active in ([0], [1]) and not softmax:
            sides = self._unscaled(kind, sides, active[0])
        operation = Operation(self.module, kind, run, dense, tuple(active), softmax)
        seen = operation.seen(sides) if all(origins) else operation.over_time(sides, self._cut)
        self.found.seen.append(replace(seen, constant=all(origins), step=step))

    def _cut(self, kind: Kind, x: Tensor) -> tuple[int, int] | None:
        """Timesteps along the first axis of an operand and how often they follow one another."""
        if self._layouts.timesteps < 2:
            return None
        given = next(_tensors(self.arguments), None)
        orders = {
            self._layouts.time_order(name, given, self._samples)
            if self.arguments is not None
            else ""
            for name in self._names[self.module]
        }
        if len(orders) != 1:  # the module stands in several places, whose layouts differ
            return None
        cut = self._layouts.steps(orders.pop(), kind, x.shape, self._samples)
        return cut if cut[0] > 1 else None

    def _origin(self, tensor: Tensor) -> frozenset[str]:
        """What a tensor that does not depend on the input was made of; empty if it does."""
        known = self._origins.get(tensor.untyped_storage())
        if known:
            return known
        # A parameter may also be fetched from elsewhere when its layer runs.
        fetched = isinstance(base_of(tensor), nn.Parameter)
        return frozenset({"parameter", "created"} if fetched else ())

    def _set_origin(self, tensor: Tensor, origin: frozenset[str]) -> None:
        if tensor.layout == torch.strided:
            self._origins[tensor.untyped_storage()] = origin

    def _trace(self, func: Any, given: Mapping[str, Any], out: Any) -> None:
        if func is torch.ops.aten.lift_fresh.default:  # a literal, such as torch.tensor(1)
            given = {}
        written = [given.get(name) for _, name in written_arguments(func)]
        sources = list(_strided(list(given.values())))
        for tensor in _strided(written):
            self._scales.pop(tensor.untyped_storage(), None)
        if short_name(func) in ("mul", "div") and len(given) == 2 and len(sources) == 2:
            fixed = [self._origin(x) in _FIXED for x in sources]
            scale = Scale.of(short_name(func), tuple(given.values()), fixed, out)
            if scale is not None:
                self._scales[out.untyped_storage()] = scale
        self._pass_on(sources, _strided([out]), _strided(written))
        if self._steps is not None:
            self._steps.ran(sources, _strided([out]))

    def _pass_on(
        self, sources: Iterable[Tensor], results: Iterable[Tensor], written: Iterable[Tensor] = ()
    ) -> None:
        """Results come from all that their sources come from, numbers made on the spot aside."""
        origins = [(x.ndim, self._origin(x)) for x in sources]
        if not all(origin for _, origin in origins):  # some operand depends on the input
            for tensor in written:
                self._origins.pop(tensor.untyped_storage(), None)
            return
        sized = [origin for axes, origin in origins if axes or origin != {"created"}]
        for tensor in results:
            self._set_origin(tensor, frozenset().union(*sized) or frozenset({"created"}))


def _is_weight(origin: frozenset[str], other: frozenset[str]) -> bool:
    """A weight comes from parameters, or alone does not depend on the input."""
    return "parameter" in origin or (bool(origin) and not other)


def _matrix_product(lhs: Tensor, rhs: Tensor) -> int:
    """``[*batch, n, k] @ [*batch, k, m]`` summed, some rows at a time."""
    rows = max(1, _CHUNK // max(1, lhs[..., :1, :1].numel() * rhs.shape[-1]))
    return sum(int((some @ rhs).sum()) for some in lhs.split(rows, dim=-2))


def _dense_product(lhs: Tensor, rhs: Tensor) -> int:
    return _matrix_product(ones(lhs), ones(rhs))


def _convolution(
    x: Tensor,
    weight: Tensor,
    *,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    extra: list[int],
    groups: int,
) -> int:
    """A convolution summed, one sample at a time."""
    run = torch.ops.aten.convolution
    settings = (None, stride, padding, dilation, transposed, extra, groups)
    return sum(int(run(one, weight, *settings).sum()) for one in x.split(1))


def _by_name(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an ATen operation by the names in its schema."""
    names = argument_names(func)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _tensors(values: Any) -> Iterator[Tensor]:
    return (x for x in tree_leaves(values) if isinstance(x, Tensor))


def _strided(values: Any) -> Iterator[Tensor]:
    return (x for x in _tensors(values) if x.layout == torch.strided)
