"""Attention in one kernel: two products, and between them a softmax whose result is never stored.

Which kernel PyTorch picks depends on device, dtype and shapes. All compute the same from arguments
of the same names, so one rule reads them by name and serves every kernel that this PyTorch has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.rules.products import Product, ProductRule, attention, require_dense
from analyzer.measure.rules.schema import exists, named_arguments
from analyzer.measure.rules.work import Arguments, Keywords, Work, WorkRule

__all__ = ["attention_products", "attention_works"]

_KERNELS = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
_LEAST_BIAS = -1e4
"""An additive mask below this is taken for minus infinity: the softmax gives an exact zero."""


def attention_products() -> dict[str, ProductRule]:
    """The contractions of each kernel, by its name."""
    return {name: _products_of(name) for name in _KERNELS if exists(name)}


def attention_works() -> dict[str, WorkRule]:
    """What each kernel does between its two products, by its name."""
    return {name: _work_of(name) for name in _KERNELS if exists(name)}


def _products_of(name: str) -> ProductRule:
    def rule(args: Arguments, kwargs: Mapping[str, Any], out: Any) -> list[Product]:
        given = named_arguments(name, args, kwargs)
        qkv = [given[operand] for operand in ("query", "key", "value")]
        require_dense(*qkv)
        q, k, v = (x.unsqueeze(0) if x.ndim == 3 else x for x in qkv)
        mask = _mask(given)
        allowed = mask
        if mask is not None and mask.dtype != torch.bool:
            allowed = mask > _LEAST_BIAS
        if given["is_causal"]:
            square = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
            allowed = square.tril() if allowed is None else allowed & square.tril()
        return attention(q, k, v, allowed, allowed_from=() if mask is None else (mask,))

    return rule


def _work_of(name: str) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        """Of each score: a scale, a mask, and its share of the softmax."""
        given = named_arguments(name, args, kwargs)
        rows = given["query"].shape[:-1].numel()
        n = rows * given["key"].shape[-2]
        rows = rows if n else 0
        masked = 0 if _mask(given) is None else n
        return Work(adds=2 * n - rows + masked, multiplies=n, compares=n - rows, specials=2 * n)

    return rule


def _mask(given: Mapping[str, Any]) -> Tensor | None:
    """The mask of a call, bool or additive; kernels that have none have no such argument."""
    mask: Tensor | None = given.get("attn_mask", given.get("attn_bias"))
    return mask
