"""Proposals that add a contraction without a submodule: each tries to add one node to a draft."""

from __future__ import annotations

from random_graphs.draft import Draft, float_with, is_float
from random_graphs.graph import Node

EINSUMS = {
    2: ("ij,jk->ik", "ij,kj->ik"),
    3: ("bij,jk->bik", "bij,bjk->bik", "bij,bkj->bik", "bij,bkj->bki", "bij,kij->bk", "bij,bij->b"),
    4: ("bhnd,bhmd->bhnm", "bhnd,bhdm->bhnm", "tbcn,dc->tbdn", "bhnd,hde->bhne", "bhnd,bhne->bhde"),
}


def either_side(d: Draft) -> None:
    i = d.pick(float_with(2))
    if i is None:
        return
    x = d.values[i]
    w = d.operand((x.shape[-1],) * 2, x.dtype)
    if w is not None:
        d.try_node(Node("either_side", (i, w)))


def functional_linear(d: Draft) -> None:
    i = d.pick(lambda x: is_float(x) and x.ndim > d.per_sample)
    if i is None:
        return
    x = d.values[i]
    w = d.operand((d.integer(1, 4), x.shape[-1]), x.dtype)
    if w is not None:
        d.try_node(Node("linear", (i, w)))


def product(d: Draft) -> None:
    """``a @ b`` of any rank with broadcasting, or a named product of a fixed rank."""
    i = d.pick(lambda x: 0 < x.ndim < 5 and x.ndim > d.per_sample)
    if i is None:
        return
    a = d.values[i]
    names = ["matmul", "matmul", "squared"] if a.ndim > 1 + d.per_sample else ["matmul"]
    if not d.per_sample:
        names += {1: ["dot"], 2: ["mm", "addmm", "mv"], 3: ["bmm", "baddbmm"]}.get(a.ndim, [])
    op = d.choose(names)
    if op == "squared":
        d.try_node(Node(op, (i,)))
        return
    k, m = a.shape[-1], d.integer(1, 4)
    shapes: list[tuple[int, ...]] = {
        "mm": [(k, m)], "addmm": [(k, m)], "mv": [(k,)], "dot": [(k,)],
        "bmm": [(a.shape[0], k, m)], "baddbmm": [(a.shape[0], k, m)],
    }.get(op, [(k, m)])  # fmt: skip
    if op == "matmul" and not d.per_sample:
        batch = tuple(d.choose((1, n)) for n in a.shape[:-2])
        shapes = [(k, m), (k,), (*batch, k, m), (2, *(1 for _ in batch), k, m)]
    b = d.operand(d.choose(shapes), a.dtype)
    if b is None:
        return
    if op in ("addmm", "baddbmm"):
        c = d.operand((*a.shape[:-1], m), a.dtype)
        if c is not None:
            d.try_node(Node(op, (c, i, b)))
        return
    left = op == "matmul" and a.ndim == 2 and d.values[b].ndim == 2 and d.flag()
    d.try_node(Node(op, (b, i) if left else (i, b)))


def any_two(d: Draft) -> None:
    """``a @ b`` of two values that happen to fit."""
    i = d.pick(lambda x: x.ndim > 1)
    if i is None:
        return
    a = d.values[i]
    j = d.pick(lambda b: b.ndim > 1 and b.shape[-2] == a.shape[-1] and b.dtype == a.dtype)
    if j is not None and not d.per_sample:
        d.try_node(Node("matmul", (i, j)))


def einsum(d: Draft) -> None:
    i = d.pick(lambda x: x.ndim in EINSUMS)
    if i is None or d.per_sample:
        return
    a = d.values[i]
    pattern = d.choose(EINSUMS[a.ndim])
    left, right = pattern.split("->")[0].split(",")
    sizes = dict(zip(left, a.shape, strict=True))
    shape = tuple(sizes.setdefault(axis, d.integer(1, 4)) for axis in right)
    summed = set(left) - set(pattern.split("->")[1])
    if any(sizes[axis] == 1 for axis in summed):  # torch multiplies there and sums nothing
        return
    b = d.operand(shape, a.dtype)
    if b is not None:
        d.try_node(Node("einsum", (i, b), (pattern,)))


def functional_convolution(d: Draft) -> None:
    i = d.pick(float_with(3, 4, 5))
    if i is None:
        return
    x = d.values[i]
    axes, channels = x.ndim - 2, x.shape[1]
    groups = d.choose([g for g in (1, 2, 3) if channels % g == 0] or [1])
    shape = (groups * d.integer(1, 2), channels // groups, *d.per_axis(axes, 1, 3))
    w = d.operand(shape, x.dtype)
    if w is not None:
        settings = (axes, d.per_axis(axes, 1, 2), d.per_axis(axes, 0, 2), d.per_axis(axes, 1, 2))
        d.try_node(Node("convolve", (i, w), (*settings, groups)))


def attention(d: Draft) -> None:
    i = d.pick(lambda x: float_with(4)(x) and min(x.shape) > 0 and x.shape[-2] > 1)
    if i is None:
        return
    q = d.values[i]
    B, H, N, D = q.shape
    heads = d.choose([h for h in range(1, H + 1) if H % h == 0])
    keys = N if d.flag() else d.integer(2, 4)
    k = d.operand((B, heads, keys, D), q.dtype)
    v = d.operand((B, heads, keys, D), q.dtype)
    if k is None or v is None:
        return
    causal = d.flag()
    mask = ()
    if not causal and d.flag():
        shape = d.choose(((N, keys), (B, H, N, keys), (B, 1, 1, keys)))
        found = d.leaf(shape, q.dtype)
        mask = () if found is None else (found,)
    d.try_node(Node("attention", (i, k, v, *mask), (causal, heads != H)))
