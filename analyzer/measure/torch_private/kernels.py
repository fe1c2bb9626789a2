"""Kernels of operators, called by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.trees import tree_leaves

__all__ = ["cpu_attention", "kernel_of", "run_kernel", "safe_softmax"]


def kernel_of(operator: Any) -> Callable[..., Any]:
    """What a higher-order operator runs on tensors with values.

    Raises:
        AnalyzerError: Where it has nothing of the kind.
    """
    kernel: Callable[..., Any] | None = operator.py_kernels.get(
        torch._C.DispatchKey.CompositeExplicitAutograd
    )
    if kernel is None:
        raise AnalyzerError(
            f"the operator {operator.name()} runs in a way of its own, in which its operations "
            "can not be counted: write it as plain operations."
        )
    return kernel


def run_kernel(func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Runs an operation's kernel past all modes, which then see what the kernel itself calls.

    NotImplemented where PyTorch has no way to, or the tensors do not tell the kernel.
    """
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ordinary = tensors and all(x.layout is torch.strided and not x.is_nested for x in tensors)
    key_of = getattr(torch._C, "_dispatch_key_for_device", None)
    if not ordinary or key_of is None or not hasattr(func, "redispatch"):
        return NotImplemented
    key: Any = torch._C._parse_dispatch_key(key_of(tensors[0].device.type))
    return func.redispatch(torch._C.DispatchKeySet(key), *args, **kwargs)


def safe_softmax(scores: Tensor, dim: int) -> Tensor:
    """A softmax that is zero where all scores are minus infinity."""
    own = getattr(torch, "_safe_softmax", None)
    if own is not None:
        result: Tensor = own(scores, dim)
        return result
    return scores.softmax(dim).nan_to_num(0.0)


def cpu_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> Tensor | None:
    """Attention in the one kernel that the CPU has for it; None where PyTorch has none."""
    own = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if own is None:
        return None
    result: Tensor = own(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return result
