"""Proposals that add a call of a submodule: each tries to add one node to a draft."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from random_graphs.draft import Draft, float_with, is_float
from random_graphs.graph import Layer, Node
from random_graphs.oracle import storage

HOMES = ("attribute", "list", "dict")
"""Where a parent may keep its submodule."""


def linear_layer(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    settings = [("in_features", x.shape[-1]), ("out_features", d.integer(1, 5))]
    tied = [
        j for j, other in enumerate(d.layers)
        if other.kind == "Linear" and other.settings[:1] == tuple(settings[:1])
        and ("dtype", x.dtype) in other.settings
    ]  # fmt: skip
    tie = None
    if tied and d.flag():
        tie = d.choose(tied)
        settings = list(d.layers[tie].settings[:2])
    settings += [("bias", d.flag()), ("dtype", x.dtype)]
    d.try_node(
        Node("layer", (i,)), Layer("Linear", tuple(settings), d.kind(), d.choose(HOMES), tie)
    )


def convolution_layer(d: Draft) -> None:
    i = d.pick(float_with(*((3, 4, 5) if d.per_sample else (2, 3, 4, 5))))
    if i is None:
        return
    x = d.values[i]
    batched = x.ndim > 2 and (d.per_sample or x.ndim == 5 or d.integer(0, 5) > 0)
    axes = x.ndim - (2 if batched else 1)
    channels = x.shape[1 if batched else 0]
    transposed = d.integer(0, 3) == 0
    groups = d.choose([g for g in (1, 2, 3, 4) if channels % g == 0] or [1])
    stride, dilation = d.per_axis(axes, 1, 3), d.per_axis(axes, 1, 2)
    settings: list[tuple[str, Any]] = [
        ("in_channels", channels),
        ("out_channels", groups * d.integer(1, 3)),
        ("kernel_size", d.per_axis(axes, 1, 3)),
        ("stride", stride),
        ("padding", d.per_axis(axes, 0, 2)),
        ("dilation", dilation),
        ("groups", groups),
        ("bias", d.flag()),
        ("dtype", x.dtype),
    ]
    if transposed:
        settings.append(("output_padding", d.per_axis(axes, 0, 1)))
    else:
        if d.integer(0, 4) == 0:
            settings[3:5] = [("stride", (1,) * axes), ("padding", d.choose(("same", "valid")))]
        mode = d.choose(("zeros", "zeros", "zeros", "circular", "reflect", "replicate"))
        settings.append(("padding_mode", mode))
    kind = f"Conv{'Transpose' if transposed else ''}{axes}d"
    d.try_node(Node("layer", (i,)), Layer(kind, tuple(settings), d.kind(), d.choose(HOMES)))


def other_layer(d: Draft) -> None:
    i = d.pick(is_float)
    if i is None:
        return
    x = d.values[i]
    size, dtype = x.shape[-1], ("dtype", x.dtype)
    layers = [Layer("ReLU"), Layer("Identity"), Layer("ReLU", (("inplace", True),))]
    if storage(x) in d.fixed:
        layers.pop()
    if x.ndim > 2:
        axes = min(x.ndim - 2, 3)
        window = (("kernel_size", (2,) * axes), ("stride", (1,) * axes))
        layers += [Layer(f"AvgPool{axes}d", window), Layer(f"MaxPool{axes}d", window)]
    if not d.per_sample:
        layers.append(Layer("LayerNorm", (("normalized_shape", size), dtype)))
        if x.ndim in (2, 3, 4, 5):
            axes = max(x.ndim - 2, 1)
            layers.append(Layer(f"BatchNorm{axes}d", (("num_features", x.shape[1]), dtype)))
        layers.append(Layer("Softmax", (("dim", -1),)))
        layers.append(Layer("GELU"))
    d.try_node(Node("layer", (i,)), d.choose(layers))


def again(d: Draft) -> None:
    """A layer that was called before, on another value or the same one."""
    callable_ = [j for j, n in enumerate(d.nodes) if n.op == "layer"]
    if not callable_:
        return
    node = d.nodes[d.choose(callable_)]
    taken = d.values[node.inputs[0]]
    i = d.pick(lambda x: x.ndim == taken.ndim and x.dtype == taken.dtype and is_float(x))
    writes = ("inplace", True) in d.layers[node.layers[0]].settings
    if i is not None and not (writes and storage(d.values[i]) in d.fixed):
        d.try_node(Node("layer", (i,), (), node.layers))


def nested(d: Draft) -> None:
    """A graph inside of the graph, up to two levels deep."""
    if d.depth >= 2 or len(d.values) == 0:
        return
    chosen = tuple(d.pick() for _ in range(d.integer(1, 2)))
    layer_seed = d.seed + 1000 * len(d.layers)
    values = d.values
    kept = [(x, x.detach().clone()) for x in values]
    inner = Draft(
        d.draw,
        [values[i] for i in chosen],
        d.proposals,
        d.per_sample,
        d.fixed,
        layer_seed,
        d.depth + 1,
    )
    inner.grow(4)
    for x, before in kept:
        if not torch.equal(x, before):
            x.copy_(before)
    if inner.nodes:
        d.try_node(Node("Graph", chosen), Layer("Graph", home=d.choose(HOMES), graph=inner.graph))


def embedding(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > 0)
    if i is not None:
        settings = (("num_embeddings", 6), ("embedding_dim", d.integer(1, 4)))
        d.try_node(Node("embedding", (i,), (6,)), Layer("Embedding", settings, d.kind()))


def self_attention(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim == 3 and x.dtype == torch.float32 and min(x.shape) > 1)
    if i is None:
        return
    size = d.values[i].shape[-1]
    settings = (
        ("embed_dim", size),
        ("num_heads", 2 if size % 2 == 0 and d.flag() else 1),
        ("bias", d.flag()),
        ("batch_first", d.flag()),
    )
    layer = Layer("MultiheadAttention", settings, home=d.choose(HOMES))
    d.try_node(Node("self_attention", (i,), (d.flag(),)), layer)


def square_layer(d: Draft, x: Tensor) -> Layer:
    size = x.shape[-1]
    settings = (("in_features", size), ("out_features", size), ("dtype", x.dtype))
    return Layer("Linear", settings, d.kind(), d.choose(HOMES))


def loop(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > 1)
    if i is not None:
        x, how = d.values[i], d.choose(("same", "slices", "feedback"))
        if how != "slices" or (x.ndim > 2 and x.shape[1] > 0):
            d.try_node(Node("loop", (i,), (d.integer(1, 4), how)), square_layer(d, x))


def branch(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > 1)
    if i is not None:
        one = square_layer(d, d.values[i])
        d.try_node(Node("branch", (i,)), one, d.choose((one, Layer("ReLU"))))
