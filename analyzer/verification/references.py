"""The same forward pass as fvcore and PyTorch's own flop counter count it, with their known faults.

Each reference reports calls: what it counted, what it should have counted, and the name of the
fault where those differ. What it should have counted follows from shapes alone.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from analyzer.measure.watch.scopes import followed

__all__ = ["Call", "Reference", "by_fvcore", "by_torch"]


@dataclass(frozen=True)
class Call:
    """What a reference makes of one operation.

    Attributes:
        module: Canonical path of the module that ran it.
        kind: ``convolution``, ``product``, or the operation's name where it is neither.
        counted: Multiply-accumulates that the reference reports.
        right: Multiply-accumulates that the operation has.
        fault: Why the two differ, empty where they do not.
    """

    module: str
    kind: str
    counted: int
    right: int
    fault: str = ""


@dataclass
class Reference:
    """All calls of one forward pass, or why there are none.

    Attributes:
        name: How tables call it.
        calls: In the order of the pass.
        failure: A sentence where the reference could not follow the model.
        fused: Modules that ran a whole encoder layer, their children included, in one kernel.
        unseen: Modules that it says were never called.
    """

    name: str
    calls: list[Call] = field(default_factory=list)
    failure: str = ""
    fused: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)


class _Shape(tuple[int, ...]):
    """The shape of a tensor among arguments."""

    __slots__ = ()


Arguments = list[Any]
"""Arguments with a :class:`_Shape` in place of each tensor."""
MacRule = Callable[[Arguments, _Shape], int]


def by_fvcore(model: nn.Module, args: tuple[Any, ...]) -> Reference:
    """What ``fvcore.nn.FlopCountAnalysis`` reports, which calls one multiply-accumulate a flop."""
    reference = Reference("fvcore")
    try:
        from fvcore.nn import FlopCountAnalysis

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            analysis = FlopCountAnalysis(model, args)
            analysis.unsupported_ops_warnings(False)
            analysis.uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            handles = dict(analysis._op_handles)
            for name in handles.keys() | {f"aten::{name}" for name in _MACS}:
                watched = partial(_watch_node, reference, name, handles.get(name))
                analysis.set_op_handle(name, watched)
            analysis.total()
            reference.unseen |= analysis.uncalled_modules()
    except Exception as error:  # a tracer may fail in any way on a model that runs
        reference.calls.clear()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        reference.failure = f"fvcore can not trace this model ({text[:120]})"
    return reference


def _watch_node(
    reference: Reference,
    name: str,
    handle: Callable[..., Any] | None,
    inputs: list[Any],
    outputs: list[Any],
) -> Any:
    """Lets fvcore's own rule count, if it has one, and notes what it says."""
    counts = Counter[str]() if handle is None else handle(inputs, outputs)
    counted = int(sum(counts.values()) if isinstance(counts, Counter) else counts)
    op = name.removeprefix("aten::")
    module = outputs[0].node().scopeName().split("/")[-1]
    given, out = [_shapes_of_value(x) for x in inputs], _Shape(_shapes_of_value(outputs[0]) or ())
    kind, right, fault = "product", counted, ""
    if handle is None:
        right = _MACS[op](given, out)
        kind = "convolution" if op.removeprefix("_").startswith("conv") else kind
        fault = _FVCORE_SKIPS.get(op, f"fvcore skips {op}")
    elif op == "_convolution":
        kind = "convolution"
    elif op == "matmul":
        right = _size(out) * int(given[0][-1])
        fault = "fvcore's matmul ignores broadcasting of the batch axes"
    elif op == "einsum":
        right = _replayed(op, given)
        fault = "fvcore takes an einsum's cost from NumPy's printed estimate"
    elif op not in ("addmm", "bmm", "mm", "linear"):
        kind, right, fault = op, 0, f"fvcore counts {op} as flops"
    reference.calls.append(Call(module, kind, counted, right, fault if counted != right else ""))
    return counts


def _shapes_of_value(value: Any) -> Any:
    if value.isCompleteTensor():
        return _Shape(value.type().sizes())
    if value.node().kind() in ("prim::ListConstruct", "prim::TupleConstruct"):
        return [_shapes_of_value(item) for item in value.node().inputs()]
    return value.toIValue()


def by_torch(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> Reference:
    """What ``torch.utils.flop_counter`` reports, halved: it calls a multiply-accumulate 2 flops."""
    reference = Reference("torch")
    try:
        with torch.no_grad(), followed(model) as scopes, FlopCounterMode(display=False) as counter:

            def watch(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
                before = counter.get_total_flops()
                out = func(*args, **kwargs)
                counted = (counter.get_total_flops() - before) // 2
                name = func._schema.name.split("::")[1].removesuffix("_")
                if name == "_transformer_encoder_layer_fwd":
                    reference.fused.add(scopes.path)
                right, fault = counted, ""
                if not counted and name in _MACS and not _nested(args):
                    right = _MACS[name](_shapes_of(args), _Shape(_first(out).shape))
                    fault = _TORCH_SKIPS.get(name, f"torch's counter has no rule for {name}")
                if counted or right:
                    conv = name.removeprefix("_").startswith("conv")
                    kind = "convolution" if conv else "product"
                    reference.calls.append(
                        Call(scopes.path, kind, counted, right, fault if counted != right else "")
                    )
                return out

            with _Calls(watch):
                model(*args, **(kwargs or {}))
    except Exception as error:  # its rules assert on shapes that they do not expect
        reference.calls.clear()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        reference.failure = f"torch's counter fails on this model ({text[:120]})"
    return reference


class _Calls(TorchDispatchMode):
    """Hands every operation to a function."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self._watch(func, args, kwargs or {})


def _nested(args: Any) -> bool:
    return any(isinstance(x, Tensor) and x.is_nested for x in args)


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, (tuple, list)) else out


def _shapes_of(args: Any) -> Arguments:
    return [
        _Shape(x.shape)
        if isinstance(x, Tensor)
        else _shapes_of(x)
        if isinstance(x, (list, tuple))
        else x
        for x in args
    ]


def _size(shape: Iterable[int]) -> int:
    return math.prod(shape)


def _pair(lhs: int, rhs: int) -> MacRule:
    """A product of matrices (or vectors) that stand at these positions."""

    def rule(given: Arguments, out: _Shape) -> int:
        columns = given[rhs][-1:] if len(given[rhs]) > 1 else ()
        return _size(given[lhs]) * _size(columns)

    return rule


def _attention(given: Arguments, out: _Shape) -> int:
    """Queries times keys, then weights times values."""
    q, k, v = given[:3]
    return _size(q[:-1]) * int(k[-2]) * int(q[-1] + v[-1])


def _word_padded(given: Arguments, out: _Shape) -> int:
    return _size(out) * _size(given[1][1:])


def _over_time(given: Arguments, out: _Shape) -> int:
    return _size(out) * _size(given[1][:2])


def _bilinear(given: Arguments, out: _Shape) -> int:
    """Inputs ``[*, I]`` and ``[*, J]``, weight ``[O, I, J]``, which the first one meets first."""
    rows, weight = _size(given[0][:-1]), given[2]
    return rows * (_size(weight) + _size((weight[0], weight[2])))


def _trilinear(given: Arguments, out: _Shape) -> int:
    return _bilinear([given[0], given[2], given[1]], out)


def _distances(given: Arguments, out: _Shape) -> int:
    return _size(out) * _size(given[0][-1:])


def _pairwise(given: Arguments, out: _Shape) -> int:
    """Euclidean distances are products of matrices where there are many, or where asked for."""
    power, mode = (*given[2:], None, None)[:2]
    many = max(given[0][-2], given[1][-2]) > 25
    return _distances(given, out) if power == 2 and (mode == 1 or (many and not mode)) else 0


def _recurrent(given: Arguments, out: _Shape) -> int:
    """Every weight matrix of every layer and direction, once a step and sample."""
    weights = [w for x in given if isinstance(x, list) for w in x if isinstance(w, _Shape)]
    return _size(given[0][:-1]) * sum(_size(w) for w in weights if len(w) == 2)


def _recurrent_layer(given: Arguments, out: _Shape) -> int:
    return _size(given[0][:-1]) * (_size(given[1]) + _size(given[2]))


def _multi_head(given: Arguments, out: _Shape) -> int:
    """Projections in and out, and the two products between them."""
    x, qkv, project = given[0], given[5], given[7]
    return _attention_layer(x, qkv, project)


def _encoder_layer(given: Arguments, out: _Shape) -> int:
    x, qkv, project, up, down = (given[i] for i in (0, 3, 5, 14, 16))
    rows = _size(x[:-1])
    return _attention_layer(x, qkv, project) + rows * (_size(up) + _size(down))


def _attention_layer(x: _Shape, qkv: _Shape, project: _Shape) -> int:
    rows = _size(x[:-1])
    return rows * (_size(qkv) + _size(project)) + 2 * rows * x[-2] * x[-1]


def _replay(name: str) -> MacRule:
    return lambda given, out: _replayed(name, given)


def _replayed(name: str, given: Arguments) -> int:
    """Multiply-accumulates of an operation made of matrix products, run on shapes alone."""

    def tensors(value: Any) -> Any:
        if isinstance(value, _Shape):
            return torch.empty(value, device="meta")
        return [tensors(x) for x in value] if isinstance(value, list) else value

    total: Counter[str] = Counter()

    def watch(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        op = func._schema.name.split("::")[1]
        if op in ("mm", "bmm"):
            total["macs"] += _pair(0, 1)(_shapes_of(args), _Shape())
        elif op in _MACS:
            total["macs"] += _MACS[op](_shapes_of(args), _Shape())
        return func(*args, **kwargs)

    func = getattr(torch.ops.aten, name)
    names = func.default._schema.arguments
    keywords = {a.name: tensors(x) for a, x in zip(names, given, strict=True) if a.kwarg_only}
    with torch.no_grad(), _Calls(watch):
        func(*tensors(given)[: len(given) - len(keywords)], **keywords)
    return total["macs"]


_MACS: Mapping[str, MacRule] = MappingProxyType(
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

_FVCORE_SKIPS: Mapping[str, str] = MappingProxyType(
    {
        "_convolution_mode": "fvcore skips convolutions whose padding is a word such as 'same'",
        "_native_multi_head_attention": "fvcore does not see into fused multi-head attention",
        "_transformer_encoder_layer_fwd": "fvcore does not see into fused encoder layers",
    }
)
_TORCH_SKIPS: Mapping[str, str] = MappingProxyType(
    {
        "_scaled_dot_product_flash_attention_for_cpu": (
            "torch's counter has no rule for the CPU flash kernel of attention"
        ),
        "_native_multi_head_attention": (
            "torch's counter does not see into fused multi-head attention"
        ),
        "_transformer_encoder_layer_fwd": "torch's counter does not see into fused encoder layers",
        "mkldnn_rnn_layer": "torch's counter has no rule for the CPU kernel of an LSTM",
    }
)
