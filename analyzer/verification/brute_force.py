"""A second, independent count of one forward pass: every contraction run again in float64.

It shares no code with what it checks, but for what tells whether a constant has elements for each
sample, and by what fixed factors a tensor was multiplied. It is slow and obvious on purpose: dense
work is the operation on ones (padding too), events are the operation on masks of the non-zeros,
unary events the operation on levels, each summed over its whole output. Kernels that hide their
inner products are switched off, so that the products run one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from analyzer.measure.torch_private import (
    DispatchMode,
    argument_names,
    decomposes,
    short_name,
    storage_key,
    tree_leaves,
    written_arguments,
)
from analyzer.measure.watch.constants import Constant, Makes, SampleAxis
from analyzer.measure.watch.scales import Scale
from analyzer.measure.watch.scopes import Scopes, followed

__all__ = ["Seen", "brute_force"]

Kind = Literal["convolution", "product"]
Total = Callable[[Tensor, Tensor], int]
"""An operation on two float64 operands, summed over its output."""

_LARGEST_LEVEL = 255
_CHUNK = 1 << 22
_SPIKES = ("zero", "binary", "ternary")
_FIXED = tuple(frozenset(kinds) for kinds in (["buffer"], ["parameter"], ["buffer", "parameter"]))
"""Origins of what is of one value in every pass."""

_OPERANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "mm": ("self", "mat2"),
        "_int_mm": ("self", "mat2"),
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


_TRILINEAR = ("i1", "i2", "i3", "expand1", "expand2", "expand3", "sumdim")


@dataclass(frozen=True)
class Seen:
    """One contraction.

    Attributes:
        module: Canonical path of the module that ran it.
        kind: ``convolution`` or ``product`` (of matrices or vectors).
        input_class: Value class of the activation, or of both as ``first*second``.
        dense: Multiply-accumulates when nothing is zero.
        events: Products that event-driven hardware performs.
        unary: Accumulates if levels are sent as unit spikes.
        fixed: Whether neither operand depends on the input nor has elements for each sample, so
            that every inference repeats it.
    """

    module: str
    kind: Kind
    input_class: str
    dense: int
    events: int
    unary: int
    fixed: bool


def brute_force(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    samples: int = 1,
    timesteps: int = 1,
) -> list[Seen]:
    """All contractions of one forward pass, in order; the model starts in the state it is in."""
    with torch.no_grad(), _unfused(model), followed(model) as scopes:
        mode = _Watch(model, scopes, SampleAxis(samples, timesteps))
        with mode:
            model(*args, **(kwargs or {}))
    return mode.seen


class _Watch(DispatchMode):
    """Counts each contraction when it runs, and tracks what does not depend on the input."""

    def __init__(self, model: nn.Module, scopes: Scopes, axis: SampleAxis) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._axis = axis
        self._scopes = scopes
        self._origins: dict[int, tuple[StorageWeakRef, frozenset[str]]] = {}
        self._scales: dict[int, tuple[StorageWeakRef, Scale]] = {}
        for buffer in model.buffers():
            self._set_origin(buffer, frozenset({"buffer"}))
        for parameter in model.parameters():
            self._set_origin(parameter, frozenset({"parameter"}))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = short_name(func)
        given = _by_name(func, args, kwargs)
        if name in _OPERANDS:
            lhs, rhs = (given[operand] for operand in _OPERANDS[name])
            lhs = lhs.unsqueeze(0) if lhs.ndim == 1 else lhs
            rhs = rhs.unsqueeze(-1) if rhs.ndim == 1 else rhs
            self._product(lhs, rhs)
        elif name == "convolution":
            self._convolution(given)
        elif name == "conv_tbc":
            self._convolution_over_time(given)
        elif name == "_euclidean_dist":
            self._product(given["x1"], given["x2"].mT)
        elif name == "_trilinear":
            with self:
                _written_out_trilinear(*(given[key] for key in _TRILINEAR))
        elif name.startswith("_scaled_dot_product_") and "query" in given:
            self._attention(given)
        elif decomposes(func):  # composite operations that arrive whole
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        self._trace(func, given, out)
        return out

    def _product(self, lhs: Tensor, rhs: Tensor) -> None:
        once = partial(_matrix_product, _ones(lhs), _ones(rhs))
        self._add("product", lhs, rhs, _matrix_product, once())

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
        one = _ones(x[:1])
        if not transposed:  # padding is dense work; transposed, every tap of every input
            one = F.pad(one, [size for size in reversed(padding) for _ in range(2)], value=1.0)
        uncropped = partial(run, padding=[0] * axes, extra=[0] * axes)
        dense = uncropped(one, _ones(weight)) * len(x)
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
        logits = torch.zeros(*q.shape[:-1], k.shape[-2], device=q.device)
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits = logits + mask
        if given.get("is_causal"):
            later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        weights = logits.softmax(-1).nan_to_num()
        self._pass_on(list(_strided([q, k, mask])), [weights])
        dense = _matrix_product(_ones(weights), _ones(v))
        self._add("product", weights, v, _matrix_product, dense, softmax=True)

    def _unscaled(
        self, kind: Kind, sides: tuple[Tensor, Tensor], which: int
    ) -> tuple[Tensor, Tensor]:
        """The operands of a layer, its activation before fixed factors that fold into weights."""
        x = sides[which]
        entry = self._scales.get(storage_key(x))
        axis = 1 if kind == "convolution" else -1 - which
        if entry is None or not entry[1].folds(x, axis, self._axis.timesteps):
            return sides
        before = entry[1].undone(x)
        return (before, sides[1]) if which == 0 else (sides[0], before)

    def _add(
        self, kind: Kind, lhs: Tensor, rhs: Tensor, run: Total, dense: int, *, softmax: bool = False
    ) -> None:
        sides = (lhs, rhs)
        origins = [self._origin(side) for side in sides]
        weight = [_is_weight(mine, other) for mine, other in (origins, origins[::-1])]
        fixed = all(origin and "created" not in origin for origin in origins)
        alone = all(origins) and not self._by_sample(sides)
        active = [] if fixed else [i for i in (0, 1) if not weight[i]]
        if active in ([0], [1]) and not softmax:
            sides = self._unscaled(kind, sides, active[0])
        classes = {i: value_class(sides[i]) for i in active}
        if softmax:
            classes[0] = ("real", 0.0)
        masks = [(side != 0).double() if i in active else _ones(side) for i, side in _pairs(sides)]
        driving = [i for i in active if classes[i][0] in _SPIKES]
        counted = driving if len(driving) == 1 else active
        events = run(*(m if i in counted else _ones(m) for i, m in _pairs(masks)))
        discrete = [i for i in active if classes[i][0] != "real"]
        unary = 0
        if discrete and all(classes[i][0] in _SPIKES for i in discrete) and discrete == counted:
            unary = events
        elif discrete:
            levels = [
                _levels(side, classes[i][1]) if i in discrete else _ones(side)
                for i, side in _pairs(sides)
            ]
            unary = run(*levels)
        input_class = "*".join(classes[i][0] for i in active)
        self.seen.append(Seen(self._scopes.path, kind, input_class, dense, events, unary, alone))

    def _origin(self, tensor: Tensor) -> frozenset[str]:
        """What a tensor that does not depend on the input was made of; empty if it does."""
        entry = self._origins.get(storage_key(tensor))
        return entry[1] if entry else frozenset()

    def _set_origin(self, tensor: Tensor, origin: frozenset[str]) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        # The weak reference keeps the key from being used again.
        self._origins[storage_key(tensor)] = (StorageWeakRef(storage), origin)

    def _trace(self, func: Any, given: Mapping[str, Any], out: Any) -> None:
        if func.is_view:  # what is known of a storage holds of all its views
            return
        if func is torch.ops.aten.lift_fresh.default:  # a literal, such as torch.tensor(1)
            given = {}
        written = [given.get(name) for _, name in written_arguments(func)]
        sources, results = list(_strided(list(given.values()))), list(_strided([out]))
        makes, by_sample = Makes.of(short_name(func)) if not written else None, False
        if makes is not None and makes.is_new:  # its values come from no operand
            like = sources[:1] if makes is Makes.LIKE else []
            varies = any(not self._origin(x) for x in like)
            by_sample = self._axis.divides(like[0]) if varies else self._by_sample(like)
            sources = []
        if makes is not None and results and all(self._origin(x) for x in sources):
            by_sample |= self._axis.introduced(makes, tuple(given.values()), results)
        for tensor in _strided(written):
            self._scales.pop(storage_key(tensor), None)
        if short_name(func) in ("mul", "div") and len(given) == 2 and len(sources) == 2:
            fixed = [self._origin(x) in _FIXED for x in sources]
            scale = Scale.of(short_name(func), tuple(given.values()), fixed, out)
            if scale is not None:
                self._scales[storage_key(out)] = StorageWeakRef(out.untyped_storage()), scale
        aligned = torch.Tag.pointwise in func.tags or makes is Makes.JOINED
        self._pass_on(sources, results, _strided(written), by_sample, aligned)

    def _by_sample(self, sources: Iterable[Tensor], aligned: bool = False) -> bool:
        """Whether constants have elements for each sample."""
        constants = [
            Constant(x, "parameter" in self._origin(x), "samples" in self._origin(x))
            for x in sources
        ]
        return self._axis.held(constants, aligned=aligned)

    def _pass_on(
        self,
        sources: Sequence[Tensor],
        results: Iterable[Tensor],
        written: Iterable[Tensor] = (),
        by_sample: bool = False,
        aligned: bool = False,
    ) -> None:
        """Results come from all that their sources come from, numbers made on the spot aside."""
        origins = [(x.ndim, self._origin(x)) for x in sources]
        if not all(origin for _, origin in origins):  # some operand depends on the input
            for tensor in written:
                self._origins.pop(storage_key(tensor), None)
            return
        sized = [origin for axes, origin in origins if axes or origin != {"created"}]
        kinds = (frozenset[str]().union(*sized) - {"samples"}) or frozenset({"created"})
        if by_sample or self._by_sample(sources, aligned):
            kinds |= {"samples"}
        for tensor in results:
            self._set_origin(tensor, kinds)


def _written_out_trilinear(i1: Tensor, i2: Tensor, i3: Tensor, *rest: Sequence[int]) -> Tensor:
    """A bilinear layer's kernel: a contraction of two operands, then of the result with a third."""
    expanded, summed = rest[:-1], set(rest[-1])
    rank = i1.ndim + len(expanded[0])
    letters = "abcdefghij"[:rank]
    a, b, c = ("".join(x for i, x in enumerate(letters) if i not in lack) for lack in expanded)
    met = "".join(x for i, x in enumerate(letters) if x in a + b and (x in c or i not in summed))
    kept = "".join(x for i, x in enumerate(letters) if i not in summed)
    return torch.einsum(f"{met},{c}->{kept}", torch.einsum(f"{a},{b}->{met}", i1, i2), i3)


def _is_weight(origin: frozenset[str], other: frozenset[str]) -> bool:
    """A weight comes from parameters, or alone does not depend on the input."""
    return "parameter" in origin or (bool(origin) and not other)


def value_class(tensor: Tensor) -> tuple[str, float]:
    """Class of a tensor's values by set logic, and what one level is worth.

    The step is the largest of which all values are whole multiples, to the rounding of the dtype.
    """
    epsilon = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0
    values: set[float] = set()
    for chunk in tensor.reshape(-1).split(1 << 16):
        values.update(np.unique(chunk.double().cpu().numpy()).tolist())
        if len(values) > 2 * _LARGEST_LEVEL + 1:
            return "real", 0.0
    sizes = np.unique(np.abs([value for value in values if value]))
    if not len(sizes):
        return "zero", 0.0
    largest = float(sizes[-1])
    spikes = "ternary" if min(values) < 0 < max(values) else "binary"
    if len(sizes) == 1:
        return spikes, largest
    for top in range(1, _LARGEST_LEVEL + 1):  # 1 where sizes differ by rounding alone
        levels = sizes / largest * top
        # Rounding may not blur neighbouring levels, as it would for many levels in bfloat16.
        blur = np.minimum(2 * epsilon * levels + 1e-12, 1 / 16)
        if levels[0] > 0.5 and np.all(np.abs(levels - levels.round()) <= blur):
            return ("graded" if top > 1 else spikes), largest / top
    return "real", 0.0


def _levels(tensor: Tensor, step: float) -> Tensor:
    """Absolute levels, float64."""
    return (tensor.double() / step).abs().round() if step else _ones(tensor) * 0


def _matrix_product(lhs: Tensor, rhs: Tensor) -> int:
    """``[*batch, n, k] @ [*batch, k, m]`` summed, some rows at a time."""
    rows = max(1, _CHUNK // max(1, lhs[..., :1, :1].numel() * rhs.shape[-1]))
    return sum(int((some @ rhs).sum()) for some in lhs.split(rows, dim=-2))


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


def _ones(tensor: Tensor) -> Tensor:
    return torch.ones(tensor.shape, dtype=torch.float64, device=tensor.device)


def _pairs(sides: Any) -> Iterator[tuple[int, Tensor]]:
    return iter(enumerate(sides))


def _by_name(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an ATen operation by the names in its schema."""
    names = argument_names(func)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _strided(values: Any) -> Iterator[Tensor]:
    return (x for x in tree_leaves(values) if isinstance(x, Tensor) and x.layout == torch.strided)


@contextmanager
def _unfused(model: nn.Module) -> Iterator[None]:
    """Switches off the kernels that hold several products: attention and recurrent layers."""
    with ExitStack() as stack:
        stack.callback(
            torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled()
        )
        torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of an option for other hardware
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
