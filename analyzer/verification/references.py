"""A forward pass as fvcore and PyTorch's own flop counter count it, with their known faults.

Each reference reports calls: what it counted, what it should have counted, and the name of the
fault where those differ. What it should have counted follows from shapes alone (``shape_macs``).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from analyzer.measure.torch_private import short_name
from analyzer.measure.watch.scopes import followed
from analyzer.verification.shape_macs import MACS, Calls, Shape, macs_of_parts, shapes_of, size_of

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
            for name in handles.keys() | {f"aten::{name}" for name in MACS}:
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
    given, out = [_shapes_of_value(x) for x in inputs], Shape(_shapes_of_value(outputs[0]) or ())
    kind, right, fault = "product", counted, ""
    if handle is None:
        right = MACS[op](given, out)
        kind = "convolution" if op.removeprefix("_").startswith("conv") else kind
        fault = _FVCORE_SKIPS.get(op, f"fvcore skips {op}")
    elif op == "_convolution":
        kind = "convolution"
    elif op == "matmul":
        right = size_of(out) * int(given[0][-1])
        fault = "fvcore's matmul ignores broadcasting of the batch axes"
    elif op == "einsum":
        right = macs_of_parts(op, given)
        fault = "fvcore takes an einsum's cost from NumPy's printed estimate"
    elif op not in ("addmm", "bmm", "mm", "linear"):
        kind, right, fault = op, 0, f"fvcore counts {op} as flops"
    reference.calls.append(Call(module, kind, counted, right, fault if counted != right else ""))
    return counts


def _shapes_of_value(value: Any) -> Any:
    if value.isCompleteTensor():
        return Shape(value.type().sizes())
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
                name = short_name(func)
                if name == "_transformer_encoder_layer_fwd":
                    reference.fused.add(scopes.path)
                right, fault = counted, ""
                if not counted and name in MACS and not _nested(args):
                    right = MACS[name](shapes_of(args), Shape(_first(out).shape))
                    fault = _TORCH_SKIPS.get(name, f"torch's counter has no rule for {name}")
                if counted or right:
                    conv = name.removeprefix("_").startswith("conv")
                    kind = "convolution" if conv else "product"
                    reference.calls.append(
                        Call(scopes.path, kind, counted, right, fault if counted != right else "")
                    )
                return out

            with Calls(watch):
                model(*args, **(kwargs or {}))
    except Exception as error:  # its rules assert on shapes that they do not expect
        reference.calls.clear()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        reference.failure = f"torch's counter fails on this model ({text[:120]})"
    return reference


def _nested(args: Any) -> bool:
    return any(isinstance(x, Tensor) and x.is_nested for x in args)


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, (tuple, list)) else out


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
