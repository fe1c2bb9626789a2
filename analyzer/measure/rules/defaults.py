"""The rules for PyTorch's own operations: contractions, element-wise work, and what is free.

``default_rules`` is what a profile counts with. Operations that are in none of its four tables are
listed in ``profile.uncovered``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from torch import Tensor

from analyzer.measure.rules.attention import attention_products, attention_works
from analyzer.measure.rules.complex_numbers import with_complex_numbers
from analyzer.measure.rules.elementwise import elementwise_rules
from analyzer.measure.rules.fused import WRITTEN_OUT, WrittenOut
from analyzer.measure.rules.matrices import MatMul
from analyzer.measure.rules.normalisation import normalisation_rules
from analyzer.measure.rules.pooling import window_rules
from analyzer.measure.rules.products import Product, ProductRule, convolution, require_dense
from analyzer.measure.rules.reductions import reduction_rules
from analyzer.measure.rules.registry import RuleRegistry, rule
from analyzer.measure.rules.work import Arguments, WorkRule, at

__all__ = [
    "CREATES",
    "FREE",
    "VALUE_DEPENDENT",
    "Rules",
    "default_rules",
]


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What the counter knows, by the base name of an operation (see :func:`base_name`).

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


def default_rules(taught: RuleRegistry = rule) -> Rules:
    """The rules for PyTorch's own operations, and before them those that users taught."""
    own, known = taught.answers(), _pytorch_rules()
    if not own:
        return known
    return Rules(
        products=MappingProxyType({**known.products, **{n: a.products for n, a in own.items()}}),
        works=MappingProxyType({**known.works, **{n: a.work for n, a in own.items()}}),
        free=MappingProxyType({n: why for n, why in known.free.items() if n not in own}),
        fused=MappingProxyType({n: layer for n, layer in known.fused.items() if n not in own}),
    )


@cache
def _pytorch_rules() -> Rules:
    return Rules(
        products=MappingProxyType(_product_rules()),
        works=MappingProxyType(_work_rules()),
        free=FREE,
        fused=WRITTEN_OUT,
    )


def _work_rules() -> dict[str, WorkRule]:
    on_elements = elementwise_rules() | reduction_rules() | normalisation_rules() | window_rules()
    return with_complex_numbers(on_elements) | attention_works()


def _product_rules() -> dict[str, ProductRule]:
    return attention_products() | {
        "mm": lambda a, k, out: [_matmul(a[0], a[1])],
        "bmm": lambda a, k, out: [_matmul(a[0], a[1])],
        "_int_mm": lambda a, k, out: [_matmul(a[0], a[1])],
        "_scaled_mm": lambda a, k, out: [_matmul(a[0], a[1])],
        "_scaled_mm_v2": lambda a, k, out: [_matmul(a[0], a[1])],
        "_weight_int8pack_mm": lambda a, k, out: [_matmul(a[0], a[1].t())],
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
        "convolution_overrideable": _convolution,
        "conv_tbc": _convolution_tbc,
    }


def _matmul(lhs: Tensor, rhs: Tensor) -> Product:
    require_dense(lhs, rhs)
    return Product("matmul", lhs, rhs, MatMul())


def _dot(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
    return [_matmul(args[0].unsqueeze(0), args[1].unsqueeze(-1))]


def _linear(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
    x, weight = args[0], args[1]
    require_dense(x)
    return [_matmul(x.reshape(-1, x.shape[-1]), weight.t())._replace(lhs_from=(x,))]


def _convolution(args: Arguments, kwargs: Mapping[str, Any], out: Tensor) -> list[Product]:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    return [
        convolution(
            x, weight, out, stride=stride, padding=padding, dilation=dilation, groups=groups,
            transposed=transposed,
        )
    ]  # fmt: skip


def _convolution_tbc(args: Arguments, kwargs: Mapping[str, Any], out: Tensor) -> list[Product]:
    """Input ``[T, B, C_in]``, weight ``[K, C_in, C_out]``."""
    x, weight, result = args[0].permute(1, 2, 0), args[1].permute(2, 1, 0), out.permute(1, 2, 0)
    return [convolution(x, weight, result, padding=at(args, 3) or 0)]


_CREATES = "creates a tensor"


def _reasons() -> dict[str, str]:
    reasons = {
        "only another view of the same elements": (
            "view _unsafe_view reshape _reshape_alias expand expand_as permute transpose t "
            "squeeze unsqueeze slice select split split_with_sizes chunk unbind unfold alias "
            "detach view_as_real view_as_complex _conj _neg_view as_strided diagonal movedim "
            "narrow flatten unflatten view_as real imag "
            "_reshape_copy lift_fresh lift numpy_T mT swapaxes unsafe_split "
            "unsafe_split_with_sizes unsafe_chunk"
        ),
        "moves or copies elements": (
            "clone copy contiguous _to_copy to cat stack repeat repeat_interleave index "
            "_unsafe_index index_select index_copy index_fill gather masked_fill "
            "masked_scatter masked_select where roll flip "
            "rot90 constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
            "replication_pad1d replication_pad2d replication_pad3d tril triu im2col "
            "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle embedding "
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
            "_upsample_nearest_exact2d _upsample_nearest_exact3d max_unpool2d max_unpool3d "
            "slice_scatter select_scatter diagonal_scatter as_strided_scatter diag_embed "
            "block_diag complex resize set fill zero take one_hot "
            "nonzero nonzero_static _pack_padded_sequence int_repr resolve_conj resolve_neg "
            "to_padded_tensor _nested_tensor_from_mask _to_sparse _to_dense to_dense"
        ),
        _CREATES: (
            "empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like "
            "new_zeros ones ones_like new_ones full full_like new_full arange linspace logspace "
            "range eye scalar_tensor rand rand_like randn randn_like randint randint_like randperm "
            "bernoulli uniform normal multinomial exponential geometric cauchy log_normal random "
            "tril_indices triu_indices"
        ),
        "flips or reads a sign bit, or the bits of an exponent": (
            "neg conj_physical signbit copysign frexp"
        ),
        "reads a value into Python": (
            "_local_scalar_dense item is_same_size equal is_nonzero _assert_async sym_size "
            "sym_numel sym_stride size stride"
        ),
        "dropout is off at inference": "native_dropout dropout _fused_dropout",
    }
    return {name: reason for reason, names in reasons.items() for name in names.split()}


FREE: Mapping[str, str] = MappingProxyType(_reasons())
"""Operations that do no arithmetic, and why."""

CREATES = frozenset(name for name, reason in FREE.items() if reason == _CREATES)
"""Those that make a tensor of new values, and no copy of what they are given."""

VALUE_DEPENDENT = frozenset({"_embedding_bag", "_embedding_bag_forward_only"})
"""Operations whose work depends on the values of their operands, and not on shapes alone."""
