"""Fused kernels whose inner products can not be seen: the same layers written out.

The kernel itself computes the result; what is written out here runs beside it, only to be counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["WRITTEN_OUT", "WrittenOut"]

WrittenOut = Callable[..., object]


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
    """``aten::_native_multi_head_attention`` on ``[B, N, D]``."""
    weights = qkv_weight.chunk(3)
    biases = (None,) * 3 if qkv_bias is None else qkv_bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(embed_dim // num_heads))
    if mask is not None:
        scores = scores.masked_fill(_broadcast(mask, mask_type), -torch.inf)
    mixed = scores.softmax(-1) @ v
    return F.linear(mixed.transpose(1, 2).flatten(2), proj_weight, proj_bias)


def _broadcast(mask: Tensor, mask_type: int | None) -> Tensor:
    """A mask of any kind as ``[B, heads, queries, keys]``: 0 is N×N, 1 is B×keys, 2 is whole."""
    if mask_type == 1:
        return mask[:, None, None, :].bool()
    return mask.bool()


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
    """``aten::_transformer_encoder_layer_fwd`` on ``[B, N, D]``."""

    def attend(x: Tensor) -> Tensor:
        return _multi_head_attention(
            x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias,
            mask, mask_type=mask_type,
        )  # fmt: skip

    def feed_forward(x: Tensor) -> Tensor:
        hidden = F.linear(x, ffn_weight_1, ffn_bias_1)
        hidden = F.gelu(hidden) if use_gelu else F.relu(hidden)
        return F.linear(hidden, ffn_weight_2, ffn_bias_2)

    def norm_1(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def norm_2(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    if norm_first:
        x = src + attend(norm_1(src))
        return x + feed_forward(norm_2(x))
    x = norm_1(src + attend(src))
    return norm_2(x + feed_forward(x))


WRITTEN_OUT: Mapping[str, WrittenOut] = MappingProxyType(
    {
        "_native_multi_head_attention": _multi_head_attention,
        "_transformer_encoder_layer_fwd": _encoder_layer,
    }
)
"""The written-out layer for the base name of each fused kernel, called with its arguments."""
