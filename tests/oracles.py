"""A second opinion on counts: every contraction run again in float64 on masks.

Shares no code with the package. Slow and obvious on purpose: dense work is the operation on ones
(padding too), events are the operation on 0/1 masks, unary events the operation on levels, and the
class of an operand is that of the set of all its values.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product as grid

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DRIVING = ("zero", "binary", "ternary")
LARGEST_LEVEL = 255
ARITHMETIC = 1e-15
"""Relative error that the arithmetic that made the values is allowed beside their rounding."""


class UndecidedError(Exception):
    """Values lie so near the border of a class that rounding of the arithmetic would decide."""


@dataclass
class Seen:
    """One contraction of a forward: its operands, and how to run it again.

    Attributes:
        weights: Which of the operands are weights.
        softmax_lhs: Whether the first operand is what a softmax gave: real whatever its values.
        dense: Multiply-accumulates when nothing is zero, padding included.
        times: How often it counts: once for every sample where it is one for all of them.
    """

    module: str
    op: str
    lhs: Tensor
    rhs: Tensor
    weights: tuple[bool, bool]
    run: Callable[[Tensor, Tensor], Tensor]
    dense: int
    softmax_lhs: bool = False
    times: int = 1

    @property
    def active(self) -> list[Tensor]:
        """The operands that are not weights."""
        both = zip((self.lhs, self.rhs), self.weights, strict=True)
        return [x for x, weight in both if not weight]

    def classes(self, *others: Seen) -> list[tuple[str, float]]:
        """Class and step of each active operand: those of its values here and in others."""
        seen = (self, *others)
        found = [value_class(*same) for same in zip(*(s.active for s in seen), strict=True)]
        softmax = self.softmax_lhs and not self.weights[0] and found
        return [("real", 0.0), *found[1:]] if softmax else found

    @property
    def events(self) -> int:
        """Events of this contraction alone."""
        return self.events_of(self.classes())

    def events_of(self, classes: list[tuple[str, float]]) -> int:
        """Events where the operands' classes are these, as more data may have decided."""
        driving = [kind in DRIVING for kind, _ in classes]
        counted = driving if sum(driving) == 1 else [True] * len(driving)
        return self.run_on(
            [
                (x != 0).double() if of_this else torch.ones_like(x, dtype=torch.float64)
                for x, of_this in zip(self.active, counted, strict=True)
            ]
        )

    def unary_events_of(self, classes: list[tuple[str, float]]) -> int:
        """The sum of levels times fan-out; real operands count one for each element."""
        if all(kind == "real" for kind, _ in classes):
            return 0
        return self.run_on(
            [
                torch.ones_like(x, dtype=torch.float64) if kind == "real" else levels(x, step)
                for x, (kind, step) in zip(self.active, classes, strict=True)
            ]
        )

    def run_on(self, active: list[Tensor]) -> int:
        """The sum of the operation on other values of the active operands, and ones as weights."""
        values = iter(active)
        operands = [
            torch.ones_like(x, dtype=torch.float64) if weight else next(values)
            for x, weight in zip((self.lhs, self.rhs), self.weights, strict=True)
        ]
        return total(self.run(*operands))


def total(x: Tensor) -> int:
    assert x.dtype == torch.float64
    return round(x.sum().item())


def levels(x: Tensor, step: float) -> Tensor:
    x = x.double().abs()
    return (x / step).round() if step else x


def value_class(*tensors: Tensor) -> tuple[str, float]:
    """Class of all values of some tensors, by set logic, and their step: the largest that fits.

    A value fits a step where it is a whole number of steps up to twice the relative rounding of
    its dtype (which in 16 bits would blur neighbouring levels, and is not allowed for there), and
    never further off than a sixteenth of a step. No step is larger than the
    smallest value calls for: of 1 and 255 it is 1, also where rounding could hide the difference.
    """
    present = {v for x in tensors for v in x.detach().flatten().unique().tolist()}
    sizes = sorted({abs(v) for v in present} - {0})
    if not sizes:
        return "zero", 0.0
    wide = [x.dtype for x in tensors if x.dtype in (torch.float32, torch.float64)]
    top = number_of_levels(sizes, max((torch.finfo(d).eps for d in wide), default=0.0))
    if top is None:
        return "real", 0.0
    if len(tensors) > 1 and any(value_class(x)[0] == "real" for x in tensors):
        raise UndecidedError(sizes)  # part of what fits a step fits it, but for rounding
    step = sizes[-1] / top
    if top > 1:
        return "graded", step
    return ("ternary" if min(present) < 0 < max(present) else "binary"), step


def number_of_levels(sizes: list[float], epsilon: float) -> int | None:
    """Fewest steps that the largest size may have if all are whole numbers of steps."""
    if all(isinstance(s, int) for s in sizes):
        tops = range(1, LARGEST_LEVEL + 1)
        return next((n for n in tops if all(s * n % sizes[-1] == 0 for s in sizes)), None)
    # 64 bits of precision: the quotients of float64 values are wrong by far less than they are.
    ratios = np.array(sizes, dtype=np.longdouble) / np.longdouble(sizes[-1])
    if LARGEST_LEVEL * ratios[0] < 0.5:
        return None
    quotient = float(1 / ratios[0])
    start = math.floor(quotient + 0.5 - 1e-9)
    for n in range(max(start, 1), LARGEST_LEVEL + 1):
        places = ratios * n
        nearest = np.round(places)
        off = np.abs(places - nearest)
        allowed = 2 * epsilon + ARITHMETIC
        surely = np.minimum((allowed - 4e-16) * nearest, 1 / 16 - 1e-9)
        hardly = np.minimum((allowed + 4e-16) * nearest, 1 / 16 + 1e-9)
        fits, may_fit = (
            bool(np.all(off <= limit) and nearest[0] >= 1) for limit in (surely, hardly)
        )
        if (may_fit and not fits) or (fits and n == start != round(quotient + 1e-9)):
            raise UndecidedError(sizes)
        if fits:
            return n
    return None


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


def rows(*passes: Iterable[Seen]) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """(dense_macs, events, unary_events) by module, op and input class, over forward passes.

    The class of an operand is that of all the values that it held in the n-th call of an operation
    by a module, over all passes. A weight may be the first or the second operand.
    """
    sites: dict[tuple[object, ...], list[Seen]] = defaultdict(list)
    for one_pass in passes:
        calls: Counter[tuple[str, str]] = Counter()
        for seen in one_pass:
            name = seen.module, seen.op
            sites[*name, calls[name], len(seen.active)].append(seen)
            calls[name] += 1
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for (module, op, *_), same in sites.items():
        classes = same[0].classes(*same[1:])
        row = sums[module, op, "*".join(kind for kind, _ in classes)]
        for s in same:
            row[0] += s.dense * s.times
            row[1] += s.events_of(classes) * s.times
            row[2] += s.unary_events_of(classes) * s.times
    return {key: tuple(row) for key, row in sums.items()}


def counted(profile) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """The same of a profile's contractions, each classed by all that it read in all timesteps."""
    sums: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for site in profile.contractions:
        key = site.module, site.op, site.input_class
        figures = (site.dense_macs, site.events, site.unary_events)
        sums[key] = tuple(a + b for a, b in zip(figures, sums.get(key, (0, 0, 0)), strict=True))
    return sums


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
