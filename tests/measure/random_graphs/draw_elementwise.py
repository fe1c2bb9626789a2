"""Proposals without a contraction: arithmetic, writes, views, sums, joins and casts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from random_graphs.draft import Draft, is_float
from random_graphs.graph import Node
from random_graphs.oracle import storage
from random_graphs.values import DTYPES


def fork(d: Draft) -> None:
    i = d.pick(is_float)
    if i is not None:
        d.try_node(Node("fork", (i,)))


def elementwise(d: Draft) -> None:
    i = d.pick()
    if i is None:
        return
    x = d.values[i]
    exact = ["relu", "spike", "sign", "neg", "scale", "shift", "quantize", "clamp"]
    op = d.choose(exact if d.per_sample else [*exact, "sigmoid", "softmax"])
    integral = not x.is_floating_point()
    settings: tuple[Any, ...] = {
        "spike": (d.choose((0, 0 if integral else 0.25)),),
        "scale": (d.choose((2, -1, 3) if integral or d.per_sample else (0.5, 2, 1 / 3, 0.1)),),
        "shift": (d.choose((1, -1)),),
        "quantize": (d.choose((2, 4) if d.per_sample else (1, 2, 3, 7)),),
        "clamp": (d.choose((-1, 0)),),
        "softmax": (-1,),
    }.get(op, ())
    d.try_node(Node(op, (i,), settings))


def pairwise(d: Draft) -> None:
    """Residual sums and the like of two values of one shape."""
    i = d.pick()
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.shape == a.shape and b.dtype == a.dtype)
    d.try_node(Node(d.choose(("add", "sub", "mul", "where")), (i, j)))


def in_place(d: Draft) -> None:
    i = d.pick(lambda x: storage(x) not in d.fixed and x.ndim > 0)
    if i is None:
        return
    x = d.values[i]
    op = d.choose(
        ("relu_", "mul_", "shift_", "zero_", "clamp_", "write_slice_", "write_data_", "add_",
         "copy_")
    )  # fmt: skip
    if op in ("add_", "copy_"):
        j = d.pick(lambda y: y.shape == x.shape and y.dtype == x.dtype)
        d.try_node(Node(op, (i, j)))
        return
    settings = {
        "mul_": (2,), "shift_": (1,), "clamp_": (d.choose((-1, 0)),), "write_data_": (2,),
    }.get(op, ())  # fmt: skip
    if op == "write_slice_":
        if x.ndim <= d.per_sample:
            return
        settings = (d.axis(x), d.choose((0, 1, 2)))
    d.try_node(Node(op, (i,), settings))


def view(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    first = int(d.per_sample)
    op = d.choose(
        ("transpose", "slice", "select", "expand", "unsqueeze", "flatten", "squeeze", "contiguous",
         "clone", "detach", "flip", "unfold", "permute", "channels_last", "diagonal")
    )  # fmt: skip
    if d.per_sample and op in ("diagonal",):
        return
    axis = d.axis(x)
    order = [*range(first), *d.draw(st.permutations(range(first, x.ndim)))]
    start = d.integer(0, 2)
    settings: tuple[Any, ...] = {
        "transpose": (axis, d.axis(x)),
        "slice": (axis, start, start + d.integer(1, 4), d.integer(1, 2)),
        "select": (axis, d.integer(0, 1)),
        "expand": (d.integer(first, x.ndim), d.integer(1, 3)),
        "unsqueeze": (axis,),
        "flatten": (first, -1),
        "squeeze": (axis,),
        "flip": (axis,),
        "unfold": (axis, 2, 1),
        "permute": tuple(order),
    }.get(op, ())
    if op == "squeeze" and x.shape[axis] != 1:
        return
    d.try_node(Node(op, (i,), settings))


def reduction(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is not None:
        d.try_node(Node("sum", (i,), (d.axis(d.values[i]),)))


def joined(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim > d.per_sample)
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.shape == a.shape and b.dtype == a.dtype)
    if d.per_sample or d.flag():
        d.try_node(Node("cat", (i, j), (d.axis(a),)))
    else:
        d.try_node(Node("stack", (i, j)))


def cast(d: Draft) -> None:
    i = d.pick()
    if i is not None:
        d.try_node(Node("to", (i,), (d.choose(("float32",) if d.per_sample else DTYPES),)))
