"""Whole layers that PyTorch computes in one kernel, written out in operations that have rules.

Inside a kernel no product can be seen. The kernel still computes the result; the function written
out here runs next to it on the same arguments, and only its operations are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.measure.rules.recurrent import cudnn_rnn, miopen_rnn, mkldnn_rnn_layer
from analyzer.measure.torch_private.kernels import safe_softmax

__all__ = [
    "COMPUTE_FOR_PARTS", "WRITTEN_OUT", "Part", "WrittenOut", "grouped_products", "part_running",
]  # fmt: skip

WrittenOut = Callable[..., object]

COMPUTE_FOR_PARTS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Modules that may do the work of modules in them without calling these."""


class Part(NamedTuple):
    """A named part of a written-out layer.

    Attributes:
        op: What tables call its products.
        module: Path of the module that computes it where the kernel is not used, from the module
            that called the kernel; empty where these are one.
    """

    op: str
    module: str


_RUNNING: ContextVar[Part | None] = ContextVar("part", default=None)


def part_running() -> Part | None:
    """The part of a written-out layer that runs now, None where it has no name."""
    return _RUNNING.get()


@contextmanager
def _part(op: str, module: str) -> Iterator[None]:
    token = _RUNNING.set(Part(op, module))
    try:
        yield
    finally:
        _RUNNING.reset(token)


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    proj_weight: Tensor,
    proj_bias: Tensor | None,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_weights: bool = True,
    mask_type: int | None = None,
) -> Tensor:
    """``aten::_native_multi_head_attention`` on ``[B, N, D]``, or on nested tensors."""
    present = _present(query) if query.is_nested else None
    alike = query is key is value
    qkv = [_tokens(query)] if alike else [_tokens(x) for x in (query, key, value)]
    return _attend(
        qkv, embed_dim, num_heads, (qkv_weight, qkv_bias), (proj_weight, proj_bias),
        mask, mask_type, present, "",
    )  # fmt: skip


def _attend(
    inputs: Sequence[Tensor],
    embed_dim: int,
    num_heads: int,
    project_in: tuple[Tensor, Tensor | None],
    project_out: tuple[Tensor, Tensor | None],
    mask: Tensor | None,
    mask_type: int | None,
    present: Tensor | None,
    module: str,
) -> Tensor:
    """Attention with all three projections in one weight, as ``nn.MultiheadAttention`` has it.

    ``inputs`` are what queries, keys and values are made of, or the one tensor that all are made
    of. ``module`` is the path of the attention from the module that called the kernel.

    Sequences of a nested tensor are projected token by token, ``[sum of N, D]`` in place of
    ``[B, N, D]``, and padded to attend to each other, as the kernel does; ``present`` says which
    places ``[B, N]`` hold a token.
    """
    if len(inputs) == 1:
        projected = F.linear(inputs[0], *project_in).chunk(3, dim=-1)
    else:
        weights = project_in[0].chunk(3)
        biases = (None,) * 3 if project_in[1] is None else project_in[1].chunk(3)
        projected = tuple(map(F.linear, inputs, weights, biases))
    q, k, v = (
        _padded(x, present).unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in projected
    )
    with _part("attention_qk", module):
        scores = q @ k.transpose(-2, -1)
    scores = scores * (1 / math.sqrt(embed_dim // num_heads))
    if mask is not None:
        scores = scores.masked_fill(_broadcast(mask, mask_type), -torch.inf)
    if present is not None:
        scores = scores.masked_fill(~present[:, None, None, :], -torch.inf)
    masked = mask is not None or present is not None
    shares = safe_softmax(scores, -1) if masked else scores.softmax(-1)
    with _part("attention_av", module):
        mixed = shares @ v
    joined = mixed.transpose(1, 2).flatten(2)
    return F.linear(joined if present is None else joined[present], *project_out)


def _broadcast(mask: Tensor, mask_type: int | None) -> Tensor:
    """A mask of any kind as ``[B, heads, queries, keys]``: 0 is N×N, 1 is B×keys, 2 is whole."""
    if mask_type == 1:
        return mask[:, None, None, :].bool()
    return mask.bool()


def _tokens(x: Tensor) -> Tensor:
    """The tokens of a nested tensor ``[sum of N, D]``; any other as it is."""
    return torch.cat(x.unbind()) if x.is_nested else x


def _present(x: Tensor) -> Tensor:
    """Which places of a nested tensor, padded to its longest sequence, hold a token."""
    lengths = torch.tensor([len(sequence) for sequence in x.unbind()], device=x.device)
    return torch.arange(int(lengths.max()), device=x.device) < lengths[:, None]


def _padded(tokens: Tensor, present: Tensor | None) -> Tensor:
    if present is None:
        return tokens
    padded = tokens.new_zeros(*present.shape, tokens.shape[-1])
    padded[present] = tokens
    return padded


def _encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """``aten::_transformer_encoder_layer_fwd`` on ``[B, N, D]``, or on a nested tensor."""

    def attend(x: Tensor) -> Tensor:
        return _attend(
            [x], embed_dim, num_heads, (qkv_weight, qkv_bias), (proj_weight, proj_bias),
            mask, mask_type, present, "self_attn",
        )  # fmt: skip

    def feed_forward(x: Tensor) -> Tensor:
        hidden = F.linear(x, ffn_weight_1, ffn_bias_1)
        hidden = F.gelu(hidden) if use_gelu else F.relu(hidden)
        return F.linear(hidden, ffn_weight_2, ffn_bias_2)

    def norm_1(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def norm_2(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    present = _present(src) if src.is_nested else None
    x = _tokens(src)
    if norm_first:
        x = x + attend(norm_1(x))
        return x + feed_forward(norm_2(x))
    x = norm_1(x + attend(x))
    return norm_2(x + feed_forward(x))


def _trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """``aten::_trilinear``, inside nn.Bilinear: the first two are contracted, then the third.

    Each operand lacks the axes of the common shape that it is expanded along. The axis that the
    kernel loops over changes no count.
    """
    axes = range(i1.ndim + len(expand1))
    has = [[a for a in axes if a not in lacks] for lacks in (expand1, expand2, expand3)]
    both = [
        a for a in axes if (a in has[0] or a in has[1]) and not (a in sumdim and a not in has[2])
    ]
    kept = [a for a in axes if a not in sumdim]
    product = torch.einsum(i1, has[0], i2, has[1], both)
    out: Tensor = torch.einsum(product, both, i3, has[2], kept)
    return out


def _euclidean_distances(x1: Tensor, x2: Tensor) -> Tensor:
    """``aten::_euclidean_dist``, inside torch.cdist: √(|a|² + |b|² - 2 a·b)."""
    square1, square2 = (x.square().sum(-1) for x in (x1, x2))
    crossed = -2 * (x1 @ x2.transpose(-2, -1))
    return (crossed + square1.unsqueeze(-1) + square2.unsqueeze(-2)).clamp_min(0).sqrt()


def _grouped_mm(
    lhs: Tensor,
    rhs: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """``aten::_grouped_mm``: one product a group; ``offs`` are the ends of groups along an axis.

    That axis is the rows of ``lhs [S, k]`` against ``rhs [G, k, m]``, the columns of
    ``rhs [k, S]`` against ``lhs [G, n, k]``, or between ``lhs [n, S]`` and ``rhs [S, m]`` the inner
    one.
    """
    return grouped_products(lhs, rhs, None if offs is None else offs.tolist())


def grouped_products(lhs: Tensor, rhs: Tensor, ends: Sequence[int] | None) -> list[Tensor]:
    """The products of ``aten::_grouped_mm`` with the ends of its groups as numbers."""
    if ends is None:
        return [lhs @ rhs]
    groups = list(zip([0, *ends], ends, strict=False))
    if rhs.ndim == 3:
        return [lhs[a:b] @ rhs[g] for g, (a, b) in enumerate(groups)]
    if lhs.ndim == 3:
        return [lhs[g] @ rhs[:, a:b] for g, (a, b) in enumerate(groups)]
    return [lhs[:, a:b] @ rhs[a:b] for a, b in groups]


WRITTEN_OUT: Mapping[str, WrittenOut] = MappingProxyType(
    {
        "_native_multi_head_attention": _multi_head_attention,
        "_transformer_encoder_layer_fwd": _encoder_layer,
        "mkldnn_rnn_layer": mkldnn_rnn_layer,
        "_cudnn_rnn": cudnn_rnn,
        "miopen_rnn": miopen_rnn,
        "_trilinear": _trilinear,
        "_euclidean_dist": _euclidean_distances,
        "_grouped_mm": _grouped_mm,
    }
)
"""The written-out layer for the base name of each fused kernel, called with its arguments."""
