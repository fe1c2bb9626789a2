"""Work of functions on single elements: arithmetic, comparisons, activations, gates of cells.

The cost model of all rules: a function costs the elementary steps of its defining formula, for each
element that it is evaluated on. Sigmoid, 1 / (1 + exp(-x)), is an addition, an exponential and a
division; GELU, x/2 · (1 + erf(x/√2)), three multiplications, an addition and an erf. Signs are
free, and so is what adds a bias to a contraction: accumulators start with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from analyzer.measure.rules.work import (
    LOG_ADD_EXP,
    Arguments,
    Keywords,
    Work,
    WorkRule,
    at,
    first_size,
)

__all__ = ["elementwise_rules"]


def elementwise_rules() -> dict[str, WorkRule]:
    """The rules, by the base name of the operation."""
    rules: dict[str, WorkRule] = {}
    for names, work in _PER_OUTPUT.items():
        rules |= dict.fromkeys(names.split(), _per_output(work))
    rules |= dict.fromkeys(("add", "sub", "rsub"), _add)
    return rules | {
        "pow": _pow,
        "clamp": _clamp,
        "clip": _clamp,
        "div": _div,
        "gelu": _gelu,
        "round": _round,
        "addcmul": _scaled_by("value", Work(adds=1, multiplies=1)),
        "addcdiv": _scaled_by("value", Work(adds=1, specials=1)),
        "_thnn_fused_lstm_cell": _lstm_cell,
        "_thnn_fused_gru_cell": _gru_cell,
    }


_PER_OUTPUT: Mapping[str, Work] = MappingProxyType(
    {
        "mul square": Work(multiplies=1),
        "addr": Work(adds=1, multiplies=1),
        "lerp": Work(adds=2, multiplies=1),
        "linalg_cross": Work(adds=1, multiplies=2),
        "eq ne gt ge lt le maximum minimum relu threshold clamp_min clamp_max heaviside sign sgn "
        "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not "
        "bitwise_xor bitwise_left_shift bitwise_right_shift floor ceil trunc isnan isinf isposinf "
        "isneginf fmax fmin hardshrink __and__ __or__ __xor__ __lshift__ "
        "__rshift__": Work(compares=1),
        "frac": Work(adds=1, compares=1),
        "hardtanh relu6": Work(compares=2),
        "nan_to_num": Work(compares=3),
        "softshrink": Work(adds=1, compares=2),
        "leaky_relu rrelu_with_noise _prelu_kernel prelu": Work(compares=1, multiplies=1),
        "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan erf erfinv erfc "
        "atan asin acos atan2 lgamma digamma polygamma i0 igamma igammac": Work(specials=1),
        "floor_divide": Work(compares=1, specials=1),
        "remainder fmod": Work(adds=1, multiplies=1, compares=1, specials=1),
        "hypot": Work(adds=1, multiplies=2, specials=1),
        "ldexp": Work(multiplies=1, specials=1),
        "sinc": Work(multiplies=1, compares=1, specials=2),
        "sinh cosh": Work(adds=1, multiplies=1, specials=2),
        "asinh acosh": Work(adds=2, multiplies=1, specials=2),
        "atanh": Work(adds=2, multiplies=1, specials=2),
        "xlogy special_xlog1py": Work(multiplies=1, compares=1, specials=1),
        "logaddexp logaddexp2": LOG_ADD_EXP,
        "logit": Work(adds=1, specials=2),
        "polar": Work(multiplies=2, specials=2),
        "sigmoid": Work(adds=1, specials=2),
        "silu glu": Work(adds=1, multiplies=1, specials=2),
        "tanh": Work(adds=2, specials=2),
        "elu celu selu": Work(adds=1, multiplies=1, compares=1, specials=1),
        "softplus log_sigmoid_forward": Work(adds=1, specials=2),
        "mish": Work(adds=3, multiplies=1, specials=4),
        "hardsigmoid": Work(adds=1, multiplies=1, compares=2),
        "hardswish": Work(adds=1, multiplies=2, compares=2),
        "quantize_per_tensor quantize_per_channel": Work(adds=1, multiplies=1, compares=3),
        "dequantize": Work(adds=1, multiplies=1),
        "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask "
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": Work(
            adds=2, multiplies=2, compares=3
        ),
    }
)


def _per_output(work: Work) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return work.times(first_size(out))

    return rule


def _add(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """``self ± alpha · other``."""
    alpha = kwargs.get("alpha", at(args, 2))
    return Work(adds=1, multiplies=int(alpha not in (None, 1))).times(first_size(out))


def _scaled_by(keyword: str, work: Work) -> WorkRule:
    """A rule for an operation with a factor that is mostly left at 1."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        factor = Work(multiplies=int(kwargs.get(keyword, 1) != 1))
        return (work + factor).times(first_size(out))

    return rule


def _div(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    rounded = kwargs.get("rounding_mode") is not None
    return Work(specials=1, compares=int(rounded)).times(first_size(out))


def _round(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """To some decimals: scaled up, rounded, and scaled down."""
    scaled = kwargs.get("decimals", 0) != 0
    return Work(compares=1, multiplies=2 * scaled).times(first_size(out))


def _pow(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Powers 0 and 1 are free, squares and cubes products; 2 and 3 only as plain numbers."""
    free, products = (0.0, 1.0), {2.0: 1, 3.0: 2}
    exponent = args[1]
    if isinstance(exponent, (int, float)) and float(exponent) in free:
        return Work()
    if isinstance(exponent, (int, float)) and float(exponent) in products:
        return Work(multiplies=products[float(exponent)]).times(first_size(out))
    return Work(specials=first_size(out))


def _clamp(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    bounds = (kwargs.get("min", at(args, 1)), kwargs.get("max", at(args, 2)))
    return Work(compares=sum(bound is not None for bound in bounds) * first_size(out))


def _gelu(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """By erf, or as x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))."""
    if kwargs.get("approximate", at(args, 1)) == "tanh":
        return Work(adds=4, multiplies=6, specials=2).times(first_size(out))
    return Work(adds=1, multiplies=3, specials=1).times(first_size(out))


def _lstm_cell(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Four gates, three of them sigmoids and one tanh, the cell and the tanh of it."""
    biases = 4 * sum(at(args, i) is not None for i in (3, 4))
    return Work(adds=12 + biases, multiplies=3, specials=10).times(args[2].numel())


def _gru_cell(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Two gates by sigmoid, a candidate by tanh, and the state between it and the old one."""
    biases = 3 * sum(at(args, i) is not None for i in (3, 4))
    return Work(adds=9 + biases, multiplies=2, specials=6).times(args[2].numel())
