"""A second opinion on counts: every contraction run again in float64 on masks.

Shares no code with the package. Slow and obvious on purpose: dense work is the operation on ones
(padding too), events are the operation on 0/1 masks, unary events the operation on levels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product as grid

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DRIVING = ("zero", "binary", "ternary")
FACTS = ("dense_macs", "events", "unary_events")


@dataclass
class Seen:
    """One contraction of a forward: its operands, and how to run it again."""

    module: str
    op: str
    lhs: Tensor
    rhs: Tensor
    weights: tuple[bool, bool]
    run: Callable[[Tensor, Tensor], Tensor]
    dense: int
    softmax_lhs: bool = False

    @property
    def classes(self) -> list[str]:
        kinds = ["real" if self.softmax_lhs else value_class(self.lhs)[0], value_class(self.rhs)[0]]
        return [k for k, weight in zip(kinds, self.weights, strict=True) if not weight]

    @property
    def events(self) -> int:
        masks = [(x != 0).double() for x in (self.lhs, self.rhs)]
        ones = [torch.ones_like(m) for m in masks]
        active = [i for i in (0, 1) if not self.weights[i]]
        driving = [i for i, kind in zip(active, self.classes, strict=True) if kind in DRIVING]
        counted = driving if len(driving) == 1 else active
        return total(self.run(*(masks[i] if i in counted else ones[i] for i in (0, 1))))

    @property
    def unary_events(self) -> int:
        active = [i for i in (0, 1) if not self.weights[i]]
        discrete = [i for i, k in zip(active, self.classes, strict=True) if k != "real"]
        operands = [torch.ones_like(x, dtype=torch.float64) for x in (self.lhs, self.rhs)]
        for i in discrete:
            x = (self.lhs, self.rhs)[i].double()
            step = value_class((self.lhs, self.rhs)[i])[1]
            operands[i] = (x / step).abs().round() if step else x
        return total(self.run(*operands)) if discrete else 0


def total(x: Tensor) -> int:
    assert x.dtype == torch.float64
    return round(x.sum().item())


def value_class(x: Tensor) -> tuple[str, float]:
    """Class by set logic, and the step: the largest that all values are multiples of."""
    eps = torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0
    values = np.unique(x.detach().double().numpy())
    sizes = np.unique(np.abs(values[values != 0]))
    if len(sizes) == 0:
        return "zero", 0.0
    if len(sizes) == 1:
        return ("ternary" if {-sizes[0], sizes[0]} <= set(values) else "binary"), sizes[0]
    for top in range(1, 256):
        levels = sizes / (sizes[-1] / top)
        if np.all(np.abs(levels - levels.round()) <= 2 * eps * levels) and levels[0] > 0.5:
            return ("binary" if top == 1 else "graded"), sizes[-1] / top
    return "real", 0.0


class Watch(TorchDispatchMode):
    """Records what reaches ATen, with module paths from hooks on every module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.paths = [""]
        self.muted = False
        self.storages = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def is_weight(self, x: Tensor) -> bool:
        return x.untyped_storage().data_ptr() in self.storages

    def add(self, op: str, lhs: Tensor, rhs: Tensor, run, dense: int | None = None, **more) -> None:
        weights = (self.is_weight(lhs), self.is_weight(rhs))
        if dense is None:
            dense = total(run(*(torch.ones_like(x, dtype=torch.float64) for x in (lhs, rhs))))
        op = "linear" if op == "matmul" and any(weights) else op
        lhs, rhs = lhs.detach().clone(), rhs.detach().clone()
        self.seen.append(Seen(self.paths[-1], op, lhs, rhs, weights, run, dense, **more))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not self.muted:
            name = func.name().split("::")[1].split(".")[0]
            if name in ("mm", "bmm", "mv", "dot"):
                self.add("matmul", args[0], args[1], torch.matmul)
            elif name in ("addmm", "baddbmm", "addmv", "addbmm"):
                self.add("matmul", args[1], args[2], torch.matmul)
            elif name == "convolution":
                self.convolution(*args)
        return out

    def convolution(self, x, w, _, stride, padding, dilation, transposed, extra, groups) -> None:
        n = w.ndim - 2
        call = [[], [], []]
        for i, setting in enumerate((stride, padding, dilation)):
            call[i] = list(setting) if len(setting) == n else list(setting) * n

        def run(a: Tensor, b: Tensor, padding=call[1], extra=extra) -> Tensor:
            return torch.ops.aten.convolution(
                a, b, None, call[0], padding, call[2], transposed, extra, groups
            )

        a, b = (torch.ones_like(t, dtype=torch.float64) for t in (x, w))
        if transposed:  # every input meets every tap, also those that land in the cropped border
            dense = run(a, b, padding=[0] * n, extra=[0] * n)
        else:
            pads = [p for p in reversed(call[1]) for _ in range(2)]
            dense = run(nn.functional.pad(a, pads, value=1.0), b, padding=[0] * n)
        self.add(f"conv{'_transpose' if transposed else ''}{n}d", x, w, run, total(dense))


class WatchAttention(TorchFunctionMode):
    """Takes attention as the user called it, before any backend: q·kᵀ, softmax, times v."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention or self.watch.muted:
            return func(*args, **kwargs)
        self.watch.muted = True
        try:
            self.attention(*args, **kwargs)
            return func(*args, **kwargs)
        finally:
            self.watch.muted = False

    def attention(self, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **_) -> None:
        self.watch.add("attention_qk", q, k.mT, torch.matmul)
        logits = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=torch.float64)
        if is_causal:
            logits.masked_fill_(~torch.ones(logits.shape[-2:]).tril().bool(), -torch.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            logits = logits + attn_mask
        weights = torch.softmax(logits, -1).nan_to_num()
        self.watch.add("attention_av", weights, v, torch.matmul, softmax_lhs=True)


def watch(model: nn.Module, *args: object, **kwargs: object) -> list[Seen]:
    """All contractions of one forward pass."""
    mode = Watch(model)
    handles = []
    for name, module in model.named_modules():
        handles += [
            module.register_forward_pre_hook(lambda m, a, name=name: mode.paths.append(name)),
            module.register_forward_hook(lambda m, a, o: mode.paths.pop() and None),
        ]
    try:
        with torch.no_grad(), WatchAttention(mode), mode:
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return mode.seen


def rows(seen: Iterable[Seen]) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """(dense_macs, events, unary_events) by module, op and input class."""
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for s in seen:
        row = sums[s.module, s.op, "*".join(s.classes)]
        for i, figure in enumerate((s.dense, s.events, s.unary_events)):
            row[i] += figure
    return {key: tuple(row) for key, row in sums.items()}


def counted(profile) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """The same of a profile's contractions."""
    table = profile.operations()
    return {
        (row.module, row.op, row.input_class): (row.dense_macs, row.events, row.unary_events)
        for row in table.itertuples()
    }


def matmul_by_loops(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Dense work and events (non-zeros of ``a``) of ``a[n, k] @ b[k, m]``."""
    (n, k), m = a.shape, b.shape[1]
    dense = events = 0
    for i, _, c in grid(range(n), range(m), range(k)):
        dense += 1
        events += a[i, c].item() != 0
    return dense, events


def conv2d_by_loops(x: Tensor, w: Tensor, stride, padding, dilation, groups) -> tuple[int, int]:
    """Dense work and events (non-zeros of ``x``, padding is none) of a 2-d convolution."""
    B, _, H, W = x.shape
    out, per_group, R, S = w.shape
    high, wide = (
        (size + 2 * p - d * (kernel - 1) - 1) // s + 1
        for size, kernel, s, p, d in zip((H, W), (R, S), stride, padding, dilation, strict=True)
    )
    dense = events = 0
    for b, o, i, j, c, r, s in grid(*map(range, (B, out, high, wide, per_group, R, S))):
        dense += 1
        channel = o // (out // groups) * per_group + c
        y = i * stride[0] - padding[0] + r * dilation[0]
        z = j * stride[1] - padding[1] + s * dilation[1]
        if 0 <= y < H and 0 <= z < W:
            events += x[b, channel, y, z].item() != 0
    return dense, events
