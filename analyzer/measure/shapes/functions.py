"""Functions that go another way on the meta device than in a run, put back on the way of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from analyzer.measure.torch_private.kernels import cpu_attention

__all__ = ["Functions"]


class Functions(TorchFunctionMode):
    """Takes functions as a run on the CPU does.

    Tensors made of Python's numbers keep them: on the meta device, ``torch.tensor([1, 2])`` drops
    its numbers before any operation runs. Attention is one kernel wherever it is one in a run: on
    the meta device PyTorch writes it out, with all its scores in memory.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in _FROM_NUMBERS and not isinstance(args[-1] if args else None, Tensor):
            return func(*args, **{**kwargs, "device": torch.device("cpu")})
        return func(*args, **kwargs)


_FROM_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``F.scaled_dot_product_attention``, in one kernel where PyTorch has one on the CPU."""
    out = None
    if not dropout_p and _in_one_kernel(query, key, value, attn_mask, enable_gqa):
        mask = attn_mask
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.where(
                mask, 0.0, torch.scalar_tensor(-torch.inf, dtype=query.dtype, device=query.device)
            )
        out = cpu_attention(query, key, value, mask, is_causal, scale)
    if out is not None:
        return out
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def _in_one_kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, grouped: bool) -> bool:
    """Whether the fused kernel of the CPU takes these; it is its own list of conditions."""
    qkv = (q, k, v)
    plain = all(x.ndim == 4 and x.numel() and x.stride(-1) == 1 for x in qkv)
    if not plain or not q.is_floating_point() or not q.shape[-1] == k.shape[-1] == v.shape[-1]:
        return False
    heads = (q.shape[1], k.shape[1], v.shape[1])
    alike = len(set(heads)) == 1 or (grouped and heads[1] == heads[2] and not heads[0] % heads[1])
    if not alike or not q.shape[0] == k.shape[0] == v.shape[0] or k.shape[2] != v.shape[2]:
        return False
    if mask is None:
        return True
    whole = (*q.shape[:3], k.shape[2])
    sizes = zip(reversed(mask.shape), reversed(whole), strict=False)
    return mask.ndim in (2, 4) and all(own in (1, size) for own, size in sizes)
