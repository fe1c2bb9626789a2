"""Which operation is which contraction, which are element-wise, and which are free (and why)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.contraction import Attended, Convolution, Geometry, MatMul
from analyzer.measure.fused import WRITTEN_OUT, WrittenOut

__all__ = ["FREE", "Product", "Rules", "Work", "WorkRule", "base_name", "default_rules"]

Arguments = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One contraction that an operation performs.

    Attributes:
        op: ``linear`` and the like; ``matmul`` becomes ``linear`` where one operand is a parameter.
        lhs: First operand; for attention weights a stand-in that has only their shape.
        rhs: Second operand.
        geometry: How they meet.
        implicit: Whether ``lhs`` is such a stand-in.
    """

    op: str
    lhs: Tensor
    rhs: Tensor
    geometry: Geometry
    implicit: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Element-wise operations of one call, by kind."""

    adds: int = 0
    multiplies: int = 0
    compares: int = 0
    specials: int = 0

    def times(self, n: int) -> Work:
        """The same work done n times."""
        return Work(self.adds * n, self.multiplies * n, self.compares * n, self.specials * n)


ProductRule = Callable[[Arguments, Mapping[str, Any], Any], list[Product]]
WorkRule = Callable[[Arguments, Any], Work]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the counter knows, by the base name of an ATen operation (no namespace, no overload).

    Attributes:
        products: Operations that are contractions.
        works: Operations on single elements, reductions, normalisation and pooling.
        free: Operations that do no arithmetic, with the reason.
        fused: Whole layers in one kernel, as functions that do the same in operations with rules.
    """

    products: Mapping[str, ProductRule]
    works: Mapping[str, WorkRule]
    free: Mapping[str, str]
    fused: Mapping[str, WrittenOut]


def base_name(func: torch._ops.OpOverload) -> str:
    """``add`` for ``aten::add_.Tensor``."""
    name: str = func._schema.name.split("::", 1)[1]
    return name if name.startswith("__") else name.removesuffix("_")


def default_rules() -> Rules:
    """The rules for PyTorch's own operations."""
    return Rules(
        products=MappingProxyType(_products()),
        works=MappingProxyType(_works()),
        free=FREE,
        fused=WRITTEN_OUT,
    )


_ATTENTION: Mapping[str, tuple[int | None, int]] = MappingProxyType(
    {
        "_scaled_dot_product_flash_attention_for_cpu": (None, 4),
        "_scaled_dot_product_flash_attention": (None, 4),
        "_scaled_dot_product_efficient_attention": (3, 6),
        "_scaled_dot_product_cudnn_attention": (3, 6),
        "_scaled_dot_product_fused_attention_overrideable": (3, 5),
    }
)
"""Fused kernels, each with the positions of its mask (None: a keyword) and its causal flag."""


def _products() -> dict[str, ProductRule]:
    attention = {name: _attention(*where) for name, where in _ATTENTION.items()}
    return attention | {
        "mm": lambda a, k, out: [_matmul(a[0], a[1])],
        "bmm": lambda a, k, out: [_matmul(a[0], a[1])],
        "addmm": lambda a, k, out: [_matmul(a[1], a[2])],
        "baddbmm": lambda a, k, out: [_matmul(a[1], a[2])],
        "addbmm": lambda a, k, out: [_matmul(a[1], a[2])],
        "mv": lambda a, k, out: [_matmul(a[0], a[1].unsqueeze(-1))],
        "addmv": lambda a, k, out: [_matmul(a[1], a[2].unsqueeze(-1))],
        "dot": _dot,
        "vdot": _dot,
        "_addmm_activation": lambda a, k, out: [_matmul(a[1], a[2])],
        "linear": _linear,
        "convolution": _convolution,
        "_convolution": _convolution,
    }


def _matmul(lhs: Tensor, rhs: Tensor) -> Product:
    return Product("matmul", lhs, rhs, MatMul())


def _dot(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
    return [_matmul(args[0].unsqueeze(0), args[1].unsqueeze(-1))]


def _linear(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
    x, weight = args[0], args[1]
    return [_matmul(x.reshape(-1, x.shape[-1]), weight.t())]


def _convolution(args: Arguments, kwargs: Mapping[str, Any], out: Tensor) -> list[Product]:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    axes = weight.ndim - 2

    def per_axis(setting: list[int]) -> tuple[int, ...]:
        return tuple(setting) if len(setting) == axes else (setting[0],) * axes

    geometry = Convolution(
        output=tuple(out.shape[-axes:]),
        stride=per_axis(stride),
        padding=per_axis(padding),
        dilation=per_axis(dilation),
        groups=groups,
        transposed=transposed,
    )
    op = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    return [Product(op, x, weight, geometry)]


def _attention(mask: int | None, causal: int) -> ProductRule:
    """Scaled dot-product attention: two products around a softmax.

    Args:
        mask: Position of the additive mask, None where it is the keyword ``attn_mask``.
        causal: Position of the causal flag.
    """

    def rule(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
        q, k, v = args[:3]
        q, k, v = (x.unsqueeze(0) if x.ndim == 3 else x for x in (q, k, v))
        if k.shape[1] != q.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        bias = kwargs.get("attn_mask") if mask is None else _at(args, mask)
        is_causal = kwargs.get("is_causal", _at(args, causal)) or False
        queries, keys = q.shape[-2], k.shape[-2]
        allowed = None
        if bias is not None:
            # The usual "minus infinities" make a softmax give exact zeros.
            allowed = bias if bias.dtype == torch.bool else bias > -1e4
        if is_causal:
            triangle = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril()
            allowed = triangle if allowed is None else allowed & triangle
        weights = q.new_empty(()).expand(*q.shape[:-1], keys)
        return [
            Product("attention_qk", q, k.transpose(-2, -1), MatMul()),
            Product("attention_av", weights, v, Attended(allowed), implicit=True),
        ]

    return rule


def _at(args: Arguments, position: int) -> Any:
    return args[position] if len(args) > position else None


def _works() -> dict[str, WorkRule]:
    """Cost per element of the result, unless a rule says otherwise.

    Composite functions are charged as the elementary steps that they are defined by: sigmoid is
    an exponential, an addition and a division; GELU is x/2 · (1 + erf(x/√2)).
    """
    rules: dict[str, WorkRule] = {}
    for names, work in _PER_OUTPUT.items():
        rules |= dict.fromkeys(names.split(), _scaled(work, _size))
    rules |= dict.fromkeys(("sum", "nansum"), _reduction(Work(adds=1)))
    rules["index_put"] = _accumulating
    rules |= dict.fromkeys(("scatter_add", "scatter_reduce", "index_add"), _adding_source)
    rules["cumsum"] = _scan(Work(adds=1))
    rules["cumprod"] = _scan(Work(multiplies=1))
    rules |= dict.fromkeys(("sort", "topk", "unique", "_unique2"), _sorting)
    rules |= dict.fromkeys(_ATTENTION, _attention_softmax)
    rules |= dict.fromkeys(
        ("amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "median"),
        _reduction(Work(compares=1)),
    )
    rules["prod"] = _reduction(Work(multiplies=1))
    rules["mean"] = _mean
    rules |= dict.fromkeys(("var", "std", "var_mean", "std_mean"), _variance)
    rules |= dict.fromkeys(("linalg_vector_norm", "norm"), _norm)
    rules |= dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _softmax)
    rules["native_layer_norm"] = _layer_norm
    rules["native_group_norm"] = _layer_norm
    rules["_fused_rms_norm"] = _layer_norm
    rules |= dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "_batch_norm_with_update",
            "_batch_norm_no_update",
            "batch_norm_with_update",
        ),
        _scaled(Work(adds=1, multiplies=1), _size),
    )
    rules |= dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _max_pool)
    rules |= dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _avg_pool)
    rules |= dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _mean)
    return rules


_PER_OUTPUT: Mapping[str, Work] = MappingProxyType(
    {
        "add sub rsub": Work(adds=1),
        "mul square": Work(multiplies=1),
        "addcmul": Work(adds=1, multiplies=1),
        "addcdiv": Work(adds=1, multiplies=1, specials=1),
        "lerp": Work(adds=2, multiplies=1),
        "eq ne gt ge lt le maximum minimum relu threshold clamp_min clamp_max heaviside sign "
        "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not "
        "bitwise_xor floor ceil round trunc isnan isinf fmax fmin __and__ __or__ "
        "__xor__": Work(compares=1),
        "clamp hardtanh relu6": Work(compares=2),
        "leaky_relu _prelu_kernel prelu": Work(compares=1, multiplies=1),
        "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal div sin cos tan erf erfinv "
        "erfc pow floor_divide remainder fmod atan asin acos atan2": Work(specials=1),
        "sigmoid": Work(adds=1, specials=2),
        "silu": Work(adds=1, multiplies=1, specials=2),
        "tanh": Work(adds=2, specials=2),
        "gelu": Work(adds=1, multiplies=3, specials=1),
        "elu celu selu": Work(adds=1, multiplies=1, compares=1, specials=1),
        "softplus log_sigmoid_forward": Work(adds=1, specials=2),
        "mish": Work(adds=3, multiplies=1, specials=4),
        "hardsigmoid": Work(adds=1, multiplies=1, compares=2),
        "hardswish": Work(adds=1, multiplies=2, compares=2),
        "upsample_bilinear2d _upsample_bilinear2d_aa": Work(adds=3, multiplies=4),
    }
)


def _size(out: Any) -> int:
    first = out[0] if isinstance(out, (tuple, list)) else out
    return int(first.numel())


def _scaled(work: Work, size: Callable[[Any], int]) -> WorkRule:
    def rule(args: Arguments, out: Any) -> Work:
        return work.times(size(out))

    return rule


def _reduction(work: Work) -> WorkRule:
    """A reduction of n elements to m does n - m operations."""

    def rule(args: Arguments, out: Any) -> Work:
        if len(args) > 1 and isinstance(args[1], Tensor):  # max(a, b) of two tensors
            return work.times(_size(out))
        return work.times(max(args[0].numel() - _size(out), 0))

    return rule


def _scan(work: Work) -> WorkRule:
    """A running sum along one axis: one operation an element but the first of each row."""

    def rule(args: Arguments, out: Tensor) -> Work:
        length = args[0].shape[args[1]] if args[0].ndim else 1
        return work.times(args[0].numel() - args[0].numel() // max(length, 1))

    return rule


def _accumulating(args: Arguments, out: Any) -> Work:
    """Writing at indices moves elements, unless they are added to what is there."""
    return Work(adds=args[2].numel() if _at(args, 3) else 0)


def _adding_source(args: Arguments, out: Any) -> Work:
    return Work(adds=args[3].numel())


def _sorting(args: Arguments, out: Any) -> Work:
    """Comparisons of a merge sort of each row: n · ⌈log2 n⌉."""
    length = args[0].shape[-1] if args[0].ndim else 1
    return Work(compares=args[0].numel() * math.ceil(math.log2(max(length, 1))))


def _attention_softmax(args: Arguments, out: Any) -> Work:
    """What lies between the two products of attention: scaling and softmax of the scores."""
    n = args[0].shape[:-1].numel() * args[1].shape[-2]
    return Work(adds=2 * n, multiplies=n, compares=n, specials=2 * n)


def _mean(args: Arguments, out: Any) -> Work:
    n, m = args[0].numel(), _size(out)
    return Work(adds=max(n - m, 0), multiplies=m)


def _variance(args: Arguments, out: Any) -> Work:
    n, m = args[0].numel(), _size(out)
    return Work(adds=3 * n - 2 * m, multiplies=n + 2 * m)


def _norm(args: Arguments, out: Any) -> Work:
    n, m = args[0].numel(), _size(out)
    return Work(adds=n - m, multiplies=n, specials=m)


def _softmax(args: Arguments, out: Tensor) -> Work:
    """Maximum, subtraction, exponential, sum, division: one each per element."""
    n = out.numel()
    return Work(adds=2 * n, compares=n, specials=2 * n)


def _layer_norm(args: Arguments, out: Any) -> Work:
    """Mean, centring, square, its mean, scaling, gain and bias; one root per row."""
    n, rows = out[0].numel(), out[-1].numel()
    return Work(adds=4 * n, multiplies=3 * n, specials=rows)


def _max_pool(args: Arguments, out: Any) -> Work:
    return Work(compares=out[0].numel() * (math.prod(args[1]) - 1))


def _avg_pool(args: Arguments, out: Tensor) -> Work:
    n = out.numel()
    return Work(adds=n * (math.prod(args[1]) - 1), multiplies=n)


def _reasons() -> dict[str, str]:
    reasons = {
        "only another view of the same elements": (
            "view _unsafe_view reshape _reshape_alias expand expand_as permute transpose t "
            "squeeze unsqueeze slice select split split_with_sizes chunk unbind unfold alias "
            "detach view_as_real view_as_complex as_strided diagonal movedim narrow flatten "
            "unflatten view_as real imag "
            "_reshape_copy lift_fresh lift numpy_T mT swapaxes unsafe_split"
        ),
        "moves or copies elements": (
            "clone copy contiguous _to_copy to cat stack repeat repeat_interleave index "
            "index_select gather scatter masked_fill masked_select where roll flip "
            "rot90 constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
            "replication_pad1d replication_pad2d replication_pad3d tril triu im2col col2im "
            "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle embedding "
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d "
            "slice_scatter select_scatter resize set fill zero take one_hot "
            "nonzero _pack_padded_sequence"
        ),
        "creates a tensor": (
            "empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like "
            "new_zeros ones ones_like new_ones full full_like new_full arange linspace eye "
            "scalar_tensor rand rand_like randn randn_like randint randperm bernoulli uniform "
            "normal multinomial"
        ),
        "flips a sign bit": "neg abs",
        "reads a value into Python": (
            "_local_scalar_dense item is_same_size equal is_nonzero _assert_async sym_size "
            "sym_numel sym_stride size stride"
        ),
        "dropout is off at inference": "native_dropout dropout _fused_dropout",
    }
    return {name: reason for reason, names in reasons.items() for name in names.split()}


FREE: Mapping[str, str] = MappingProxyType(_reasons())
"""Operations that do no arithmetic, and why."""
