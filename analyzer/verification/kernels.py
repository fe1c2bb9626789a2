"""Kernels that hold several products, taken apart into operations that brute force can see.

Written apart from the rules of the package, so that a mistake there is not repeated. Recurrent
kernels are PyTorch's own other implementation of them, step by step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TAKEN_APART"]

Given = Mapping[str, Any]
"""The arguments of a call by the names in its schema."""


def _attention(given: Given) -> Tensor:
    return _attend([given[name] for name in ("query", "key", "value")], given)


def _encoder_layer(given: Given) -> Tensor:
    """A layer of nn.TransformerEncoder; of nested tensors, only what is not padding."""
    src = given["src"]
    width = (given["embed_dim"],)
    norms = [(given[f"norm_weight_{i}"], given[f"norm_bias_{i}"], given["eps"]) for i in (1, 2)]
    activation = F.gelu if given["use_gelu"] else F.relu
    sizes = _lengths(src)

    def attend(x: Tensor) -> Tensor:
        return _attend([x, x, x], given, sizes)

    def feed_forward(x: Tensor) -> Tensor:
        hidden = activation(F.linear(x, given["ffn_weight_1"], given["ffn_bias_1"]))
        return F.linear(hidden, given["ffn_weight_2"], given["ffn_bias_2"])

    x = _tokens(src)
    for (weight, bias, eps), part in zip(norms, (attend, feed_forward), strict=True):
        if given["norm_first"]:
            x = x + part(F.layer_norm(x, width, weight, bias, eps))
        else:
            x = F.layer_norm(x + part(x), width, weight, bias, eps)
    return x


def _attend(qkv: list[Tensor], given: Given, sizes: list[int] | None = None) -> Tensor:
    """Multi-head attention of queries, keys and values ``[B, N, D]``, or of nested tensors.

    Args:
        qkv: What is projected.
        given: Weights, number of heads and mask.
        sizes: Tokens of each sequence, where ``qkv`` holds them one after another.
    """
    sizes = sizes or _lengths(qkv[0])
    heads = given.get("num_heads") or given["num_head"]
    weights = given["qkv_weight"].chunk(3)
    biases = (None,) * 3 if given["qkv_bias"] is None else given["qkv_bias"].chunk(3)
    q, k, v = (
        _split(_sequences(F.linear(_tokens(x), w, b), sizes), heads)
        for x, w, b in zip(qkv, weights, biases, strict=True)
    )
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    hidden = _hidden(given.get("mask"), given.get("mask_type"))
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    if sizes is not None:
        places = torch.arange(max(sizes), device=scores.device)
        for scored, size in zip(scores, sizes, strict=True):
            scored.masked_fill_(places >= size, -torch.inf)
    mixed = (scores.softmax(-1).nan_to_num() @ v).transpose(1, 2).flatten(2)
    if sizes is not None:
        mixed = torch.cat([one[:size] for one, size in zip(mixed, sizes, strict=True)])
    return F.linear(mixed, given["proj_weight"], given["proj_bias"])


def _split(x: Tensor, heads: int) -> Tensor:
    """``[B, heads, N, D / heads]``."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def _lengths(x: Tensor) -> list[int] | None:
    """Of a nested tensor the length of each sequence."""
    return [len(one) for one in x.unbind()] if x.is_nested else None


def _tokens(x: Tensor) -> Tensor:
    """Of a nested tensor all tokens, one after another."""
    return torch.cat(x.unbind()) if x.is_nested else x


def _sequences(tokens: Tensor, sizes: list[int] | None) -> Tensor:
    """Sequences ``[B, N, D]``, padded with zeros where they came one after another."""
    if sizes is None:
        return tokens
    padded = tokens.new_zeros(len(sizes), max(sizes), tokens.shape[-1])
    for one, sequence in zip(padded, tokens.split(sizes), strict=True):
        one[: len(sequence)] = sequence
    return padded


def _hidden(mask: Tensor | None, kind: int | None) -> Tensor | None:
    """Where not to attend: a mask of kind 1 is one of keys ``[B, N]``."""
    if mask is None:
        return None
    return (mask[:, None, None] if kind == 1 else mask).bool()


def _trilinear(given: Given) -> Tensor:
    """A bilinear layer's kernel: a contraction of two operands, then of the result with a third."""
    operands = [given[name] for name in ("i1", "i2", "i3")]
    lacks = [given[name] for name in ("expand1", "expand2", "expand3")]
    summed = set(given["sumdim"])
    letters = "abcdefghij"[: operands[0].ndim + len(lacks[0])]
    a, b, c = ("".join(x for i, x in enumerate(letters) if i not in lack) for lack in lacks)
    met = "".join(x for i, x in enumerate(letters) if x in a + b and (x in c or i not in summed))
    kept = "".join(x for i, x in enumerate(letters) if i not in summed)
    both = torch.einsum(f"{a},{b}->{met}", *operands[:2])
    return torch.einsum(f"{met},{c}->{kept}", both, operands[2])


def _distances(given: Given) -> Tensor:
    product: Tensor = given["x1"] @ given["x2"].mT
    return product


def _grouped(given: Given) -> list[Tensor]:
    """One product for each group; groups lie one after another along the axis that has no own."""
    lhs, rhs, ends = given["self"], given["mat2"], given.get("offs")
    if ends is None:
        return [lhs @ rhs]
    stops = ends.tolist()
    spans = [slice(a, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)]
    if lhs.ndim == rhs.ndim:  # both 2-D: the inner axis
        return [lhs[:, span] @ rhs[span] for span in spans]
    if lhs.ndim == 2:
        return [lhs[span] @ one for span, one in zip(spans, rhs, strict=True)]
    return [one @ rhs[:, span] for span, one in zip(spans, lhs, strict=True)]


_CELLS = ("rnn_relu", "rnn_tanh", "lstm", "gru")
"""Kinds of cells by the numbers that kernels give them."""


def _recurrent(given: Given) -> Any:
    """All layers and directions of a recurrent network."""
    states = given["hx"] if given["cx"] is None else [given["hx"], given["cx"]]
    x, sizes = given["input"], given["batch_sizes"]
    run = getattr(torch, _CELLS[given["mode"]])
    weights, biased = given["weight"], given["weight_stride0"] >= 4
    layers = (given["num_layers"], 0.0, False, given["bidirectional"])
    with _step_by_step():
        if sizes:
            lengths = torch.tensor(sizes)
            return run(x, lengths, states, weights, biased, *layers)
        return run(x, states, weights, biased, *layers, given["batch_first"])


def _recurrent_layer(given: Given) -> Any:
    """One layer of an LSTM in one direction, time first."""
    x = given["input"].flip(0) if given["reverse"] else given["input"]
    biased = given["has_biases"]
    weights = [given[name] for name in ("weight0", "weight1", "weight2", "weight3")]
    states = [x[None] if x.ndim == 2 else x for x in (given["hx_"], given["cx_"])]
    run = getattr(torch, _CELLS[given["mode"]])
    with _step_by_step():
        return run(
            x, states, weights if biased else weights[:2], biased, 1, 0.0, False, False, False
        )


@contextmanager
def _step_by_step() -> Iterator[None]:
    """In the block PyTorch runs recurrent layers in operations of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an option for other hardware
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield


TAKEN_APART: Mapping[str, Callable[[Given], object]] = MappingProxyType(
    {
        "_native_multi_head_attention": _attention,
        "_transformer_encoder_layer_fwd": _encoder_layer,
        "_trilinear": _trilinear,
        "_euclidean_dist": _distances,
        "_grouped_mm": _grouped,
        "mkldnn_rnn_layer": _recurrent_layer,
        "_cudnn_rnn": _recurrent,
        "miopen_rnn": _recurrent,
    }
)
"""Functions of the named arguments of each kernel."""
