"""Multiply-accumulates of operations from the shapes of their arguments.

For :func:`analyzer.verify`: fvcore and PyTorch's counter leave some operations out. Here is what
they should have counted, written apart from the rules of the package, so that a mistake there is
not repeated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.torch_private import DispatchMode, schema_of

__all__ = ["MACS", "Calls", "MacRule", "Shape", "macs_of_parts", "shapes_of", "size_of"]


class Shape(tuple[int, ...]):
    """The shape of a tensor among arguments."""

    __slots__ = ()


Arguments = list[Any]
"""Arguments with a :class:`Shape` in place of each tensor."""


MacRule = Callable[[Arguments, Shape], int]


class Calls(DispatchMode):
    """Calls a function in the place of every operation, with that operation and its arguments."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._watch(func, args, kwargs or {})


def shapes_of(args: Any) -> Arguments:
    """The arguments of a call with a shape in place of each tensor, also within lists."""
    return [
        Shape(x.shape)
        if isinstance(x, Tensor)
        else shapes_of(x)
        if isinstance(x, (list, tuple))
        else x
        for x in args
    ]


def size_of(shape: Iterable[int]) -> int:
    """Number of elements of a shape, or of part of one."""
    return math.prod(shape)


def _pair(lhs: int, rhs: int) -> MacRule:
    """A product of the matrices (or vectors) at these positions among the arguments."""

    def rule(given: Arguments, out: Shape) -> int:
        columns = given[rhs][-1:] if len(given[rhs]) > 1 else ()
        return size_of(given[lhs]) * size_of(columns)

    return rule


def _attention(given: Arguments, out: Shape) -> int:
    """Queries times keys, then weights times values."""
    q, k, v = given[:3]
    return size_of(q[:-1]) * int(k[-2]) * int(q[-1] + v[-1])


def _word_padded(given: Arguments, out: Shape) -> int:
    return size_of(out) * size_of(given[1][1:])


def _over_time(given: Arguments, out: Shape) -> int:
    return size_of(out) * size_of(given[1][:2])


def _bilinear(given: Arguments, out: Shape) -> int:
    """Inputs ``[*, I]`` and ``[*, J]``, weight ``[O, I, J]``, contracted one by one."""
    rows, weight = size_of(given[0][:-1]), given[2]
    return rows * (size_of(weight) + size_of((weight[0], weight[2])))


def _trilinear(given: Arguments, out: Shape) -> int:
    return _bilinear([given[0], given[2], given[1]], out)


def _distances(given: Arguments, out: Shape) -> int:
    return size_of(out) * size_of(given[0][-1:])


def _pairwise(given: Arguments, out: Shape) -> int:
    """Euclidean distances are products of matrices where there are many, or where asked for."""
    power, mode = (*given[2:], None, None)[:2]
    many = max(given[0][-2], given[1][-2]) > 25
    return _distances(given, out) if power == 2 and (mode == 1 or (many and not mode)) else 0


def _recurrent(given: Arguments, out: Shape) -> int:
    """Every weight matrix of every layer and direction, once a step and sample."""
    weights = [w for x in given if isinstance(x, list) for w in x if isinstance(w, Shape)]
    return size_of(given[0][:-1]) * sum(size_of(w) for w in weights if len(w) == 2)


def _recurrent_layer(given: Arguments, out: Shape) -> int:
    return size_of(given[0][:-1]) * (size_of(given[1]) + size_of(given[2]))


def _multi_head(given: Arguments, out: Shape) -> int:
    """Projections in and out, and the two products between them."""
    x, qkv, project = given[0], given[5], given[7]
    return _attention_layer(x, qkv, project)


def _encoder_layer(given: Arguments, out: Shape) -> int:
    x, qkv, project, up, down = (given[i] for i in (0, 3, 5, 14, 16))
    rows = size_of(x[:-1])
    return _attention_layer(x, qkv, project) + rows * (size_of(up) + size_of(down))


def _attention_layer(x: Shape, qkv: Shape, project: Shape) -> int:
    rows = size_of(x[:-1])
    return rows * (size_of(qkv) + size_of(project)) + 2 * rows * x[-2] * x[-1]


def _replay(name: str) -> MacRule:
    return lambda given, out: macs_of_parts(name, given)


def macs_of_parts(name: str, given: Arguments) -> int:
    """Multiply-accumulates of an operation made of matrix products, run on shapes alone."""

    def tensors(value: Any) -> Any:
        if isinstance(value, Shape):
            return torch.empty(value, device="meta")
        return [tensors(x) for x in value] if isinstance(value, list) else value

    total: Counter[str] = Counter()

    def watch(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        op = schema_of(func).name.split("::")[1]
        if op in ("mm", "bmm"):
            total["macs"] += _pair(0, 1)(shapes_of(args), Shape())
        elif op in MACS:
            total["macs"] += MACS[op](shapes_of(args), Shape())
        return func(*args, **kwargs)

    func = getattr(torch.ops.aten, name)
    names = schema_of(func.default).arguments
    keywords = {a.name: tensors(x) for a, x in zip(names, given, strict=True) if a.kwarg_only}
    with torch.no_grad(), Calls(watch):
        func(*tensors(given)[: len(given) - len(keywords)], **keywords)
    return total["macs"]


MACS: Mapping[str, MacRule] = MappingProxyType(
    {
        "mv": _pair(0, 1),
        "dot": _pair(0, 1),
        "vdot": _pair(0, 1),
        "addmv": _pair(1, 2),
        "addbmm": _pair(1, 2),
        "baddbmm": _pair(1, 2),
        "_addmm_activation": _pair(1, 2),
        "inner": _replay("inner"),
        "tensordot": _replay("tensordot"),
        "linalg_multi_dot": _replay("linalg_multi_dot"),
        "chain_matmul": _replay("chain_matmul"),
        "_int_mm": _pair(0, 1),
        "bilinear": _bilinear,
        "_trilinear": _trilinear,
        "cdist": _pairwise,
        "_euclidean_dist": _distances,
        "conv_tbc": _over_time,
        "_convolution_mode": _word_padded,
        "scaled_dot_product_attention": _attention,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_fused_attention_overrideable": _attention,
        "lstm": _recurrent,
        "gru": _recurrent,
        "rnn_tanh": _recurrent,
        "rnn_relu": _recurrent,
        "_cudnn_rnn": _recurrent,
        "mkldnn_rnn_layer": _recurrent_layer,
        "_native_multi_head_attention": _multi_head,
        "_transformer_encoder_layer_fwd": _encoder_layer,
    }
)
"""Operations that a reference is known to skip, and what they would have counted."""
