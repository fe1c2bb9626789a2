"""Work on single elements: activations, reductions, scans, sorting, normalisation.

The cost model: a function costs the elementary steps of its defining formula, for each element
that it is evaluated on. Sigmoid, 1 / (1 + exp(-x)), is an addition, an exponential and a division;
GELU, x/2 · (1 + erf(x/√2)), three multiplications, an addition and an erf. A sum of n elements is
n - 1 additions, a maximum n - 1 comparisons. Signs are free, factors known beforehand (1/n) are
multiplications, and what adds a bias to a contraction is free: accumulators start with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.measure.rules.normalisation import norm, normalisation_rules
from analyzer.measure.rules.pooling import window_rules
from analyzer.measure.rules.work import NO_KEYWORDS, Arguments, Work, WorkRule, at, first_size

__all__ = ["work_rules"]


def work_rules() -> dict[str, WorkRule]:
    """The rules, by the base name of the operation; only some apply to complex numbers."""
    rules: dict[str, WorkRule] = {}
    for names, work in _PER_OUTPUT.items():
        rules |= dict.fromkeys(names.split(), _per_output(work))
    rules |= {"pow": _pow, "clamp": _clamp, "clip": _clamp, "div": _div, "gelu": _gelu}
    rules |= dict.fromkeys(("add", "sub", "rsub"), _add)
    rules["addcmul"] = _scaled_by("value", Work(adds=1, multiplies=1))
    rules["addcdiv"] = _scaled_by("value", Work(adds=1, specials=1))
    rules["round"] = _round
    rules["nansum"] = _sum
    rules |= dict.fromkeys(
        ("amax", "amin", "max", "min", "argmax", "argmin", "any", "all"),
        _reduction(Work(compares=1)),
    )
    rules["aminmax"] = _reduction(Work(compares=2))
    rules["prod"] = _reduction(Work(multiplies=1))
    rules["count_nonzero"] = _count_nonzero
    rules["trace"] = _trace
    rules["cumsum"] = _scan(Work(adds=1))
    rules["cumprod"] = _scan(Work(multiplies=1))
    rules |= dict.fromkeys(("cummax", "cummin"), _scan(Work(compares=1)))
    rules["logcumsumexp"] = _scan(_LOG_ADD_EXP)
    rules |= dict.fromkeys(("sort", "msort"), _sorting(1))
    rules |= dict.fromkeys(("topk", "kthvalue"), _sorting(2))
    rules |= dict.fromkeys(("median", "nanmedian", "mode"), _sorting(1))
    rules |= dict.fromkeys(("_unique", "_unique2"), _sorting(None))
    rules["unique_dim"] = _sorting_slices
    rules["unique_consecutive"] = _neighbours
    rules["bucketize"] = _search(1)
    rules["searchsorted"] = _search(0)
    rules["isin"] = _is_in
    rules["histc"] = _histogram
    rules["bincount"] = _bincount
    rules["scatter_add"] = _reducing("sum")
    rules["index_add"] = _reducing("sum")
    rules |= dict.fromkeys(("scatter", "scatter_reduce", "index_reduce"), _reducing(None))
    rules |= dict.fromkeys(("index_put", "_index_put_impl", "_unsafe_index_put", "put"), _put)
    rules |= dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), _embedding_bag)
    rules["_cdist_forward"] = _distances(2)
    rules["_pdist_forward"] = _distances(1)
    rules["_thnn_fused_lstm_cell"] = _lstm_cell
    rules["_thnn_fused_gru_cell"] = _gru_cell
    rules |= normalisation_rules() | window_rules()
    rules = {name: _for_reals(name, rule) for name, rule in rules.items()}
    rules |= {name: _for_any(name, rules.get(name), work) for name, work in _COMPLEX.items()}
    return rules | {name: _twice(rule) for name, rule in (("sum", _sum), ("mean", _mean))}


_LOG_ADD_EXP = Work(adds=2, compares=1, specials=2)

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
        "logaddexp logaddexp2": _LOG_ADD_EXP,
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

_COMPLEX: Mapping[str, tuple[Work, Work]] = MappingProxyType(
    {
        "add": (Work(adds=2), Work(adds=1)),
        "sub": (Work(adds=2), Work(adds=1)),
        "rsub": (Work(adds=2), Work(adds=1)),
        "mul": (Work(adds=2, multiplies=4), Work(multiplies=2)),
        "div": (Work(adds=3, multiplies=6, specials=2), Work(specials=2)),
        "exp": (Work(multiplies=2, specials=3),) * 2,
        "abs": (Work(adds=1, multiplies=2, specials=1),) * 2,
        "eq": (Work(compares=2),) * 2,
        "ne": (Work(compares=2),) * 2,
    }
)
"""Per element of the result: with two complex operands, and with a real one among them."""


def _for_reals(name: str, rule: WorkRule) -> WorkRule:
    """A rule that refuses complex operands, of which it knows nothing."""

    def real(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        if _complex_operands(args):
            raise AnalyzerError(
                f"operation {name} on complex numbers can not be counted: rewrite it on real and "
                "imaginary parts, or teach it with analyzer.rule."
            )
        return rule(args, out, kwargs)

    return real


def _for_any(name: str, real: WorkRule | None, works: tuple[Work, Work]) -> WorkRule:
    """A rule for real and complex operands."""

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        operands = _complex_operands(args)
        if operands:
            both = operands == 2 or (name == "div" and _is_complex(args[1]))
            return works[0 if both else 1].times(first_size(out))
        return Work() if real is None else real(args, out, kwargs)

    return rule


def _twice(rule: WorkRule) -> WorkRule:
    """A rule that does the same on real and on imaginary parts."""

    def both(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        return rule(args, out, kwargs).times(2 if _is_complex(args[0]) else 1)

    return both


def _complex_operands(args: Arguments) -> int:
    return sum(_is_complex(value) for value in args[:2])


def _is_complex(value: Any) -> bool:
    return isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex())


def _per_output(work: Work) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        return work.times(first_size(out))

    return rule


def _add(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """``self ± alpha · other``."""
    alpha = kwargs.get("alpha", at(args, 2))
    return Work(adds=1, multiplies=int(alpha not in (None, 1))).times(first_size(out))


def _scaled_by(keyword: str, work: Work) -> WorkRule:
    """A rule for an operation with a factor that is mostly left at 1."""

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        factor = Work(multiplies=int(kwargs.get(keyword, 1) != 1))
        return (work + factor).times(first_size(out))

    return rule


def _div(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    rounded = kwargs.get("rounding_mode") is not None
    return Work(specials=1, compares=int(rounded)).times(first_size(out))


def _round(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """To some decimals: scaled up, rounded, and scaled down."""
    scaled = kwargs.get("decimals", 0) != 0
    return Work(compares=1, multiplies=2 * scaled).times(first_size(out))


def _pow(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Powers 0 and 1 are free, squares and cubes products; 2 and 3 only as plain numbers."""
    free, products = (0.0, 1.0), {2.0: 1, 3.0: 2}
    exponent = args[1]
    if isinstance(exponent, (int, float)) and float(exponent) in free:
        return Work()
    if isinstance(exponent, (int, float)) and float(exponent) in products:
        return Work(multiplies=products[float(exponent)]).times(first_size(out))
    return Work(specials=first_size(out))


def _clamp(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    bounds = (kwargs.get("min", at(args, 1)), kwargs.get("max", at(args, 2)))
    return Work(compares=sum(bound is not None for bound in bounds) * first_size(out))


def _gelu(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """By erf, or as x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))."""
    if kwargs.get("approximate", at(args, 1)) == "tanh":
        return Work(adds=4, multiplies=6, specials=2).times(first_size(out))
    return Work(adds=1, multiplies=3, specials=1).times(first_size(out))


def _reduction(work: Work) -> WorkRule:
    """A reduction of n elements to m does n - m operations."""

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        if isinstance(at(args, 1), Tensor):  # max(a, b) of two tensors
            return work.times(first_size(out))
        return work.times(max(args[0].numel() - first_size(out), 0))

    return rule


_sum = _reduction(Work(adds=1))


def _count_nonzero(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    n = args[0].numel()
    return Work(compares=n, adds=max(n - first_size(out), 0))


def _mean(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    n, m = args[0].numel(), first_size(out)
    return Work(adds=max(n - m, 0), multiplies=m)


def _trace(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    return Work(adds=max(min(args[0].shape) - 1, 0))


def _scan(work: Work) -> WorkRule:
    """A running sum along one axis: one operation an element but the first of each row."""

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        n = args[0].numel()
        return work.times(n - n // max(_length(args[0], args[1]), 1))

    return rule


def _sorting(axis: int | None) -> WorkRule:
    """Comparisons of a merge sort of each row, n · ⌈log2 n⌉, also where only ranks are wanted.

    Args:
        axis: Position of the argument that names the axis; None where all elements are one row.
    """

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        x = args[0]
        named = None if axis is None else kwargs.get("dim", at(args, axis))
        whole = axis is None or (not isinstance(out, tuple) and named is None)
        length = x.numel() if whole else _length(x, -1 if named is None else named)
        return Work(compares=x.numel() * _bits(length))

    return rule


def _sorting_slices(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Slices are compared element by element."""
    return Work(compares=args[0].numel() * _bits(_length(args[0], args[1])))


def _neighbours(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    x, axis = args[0], kwargs.get("dim", at(args, 3))
    slices = x.numel() if axis is None else _length(x, axis)
    return Work(compares=x.numel() - x.numel() // max(slices, 1))


def _search(boundaries: int) -> WorkRule:
    """A binary search for each element."""

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        return Work(compares=first_size(out) * _bits(_length(args[boundaries], -1) + 1))

    return rule


def _is_in(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Each element with each candidate."""
    candidates = args[1].numel() if isinstance(args[1], Tensor) else 1
    return Work(compares=first_size(out) * candidates)


def _histogram(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Of each element: both ends of the range, its bin (an offset and a factor), one more."""
    return Work(adds=2, multiplies=1, compares=2).times(args[0].numel())


def _bincount(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    return Work(adds=args[0].numel())


def _reducing(reduction: str | None) -> WorkRule:
    """What is written at indices is combined with what is there; else it only moves.

    Args:
        reduction: How; None where an argument says so.
    """

    def rule(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        how = reduction or kwargs.get("reduce", at(args, 4))
        source = args[3]
        n = source.numel() if isinstance(source, Tensor) else args[2].numel()
        if how in ("sum", "add", "mean"):
            scaled = n * int(kwargs.get("alpha", 1) != 1)
            return Work(adds=n, multiplies=scaled, specials=out.numel() if how == "mean" else 0)
        if how in ("prod", "multiply"):
            return Work(multiplies=n)
        return Work(compares=n if how in ("amax", "amin") else 0)

    return rule


def _put(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Writing at indices moves elements, unless they are added to what is there."""
    return Work(adds=args[2].numel() if at(args, 3) else 0)


def _embedding_bag(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Rows of a table summed, averaged or compared in bags, each perhaps times its own weight."""
    weight, indices, offsets = args[:3]
    mode, factors = at(args, 4) or 0, at(args, 6)
    padding = -1 if at(args, 8) is None else args[8]
    ends = (
        offsets[1:] if at(args, 7) else torch.cat([offsets[1:], offsets.new_tensor([len(indices)])])
    )
    read = torch.cat([indices.new_zeros(1), (indices != padding).cumsum(0)])
    sizes = read[ends] - read[offsets[: len(ends)]]
    entries, bags = int(sizes.sum()), int((sizes > 0).sum())
    width = weight.shape[1]
    if mode == 2:
        return Work(compares=(entries - bags) * width)
    scaled = entries if factors is not None else 0
    averaged = bags if mode == 1 else 0
    return Work(adds=(entries - bags) * width, multiplies=(scaled + averaged) * width)


def _distances(order: int) -> WorkRule:
    """Distances between points: differences, which no operand is alone, so no contraction.

    Args:
        order: Position of the order of the norm.
    """

    def rule(args: Arguments, out: Tensor, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
        pairs, width = out.numel(), args[0].shape[-1]
        p = at(args, order)
        return Work(adds=pairs * width) + norm(pairs * width, pairs, 2.0 if p is None else p)

    return rule


def _lstm_cell(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Four gates, three of them sigmoids and one tanh, the cell and the tanh of it."""
    biases = 4 * sum(at(args, i) is not None for i in (3, 4))
    return Work(adds=12 + biases, multiplies=3, specials=10).times(args[2].numel())


def _gru_cell(args: Arguments, out: Any, kwargs: Mapping[str, Any] = NO_KEYWORDS) -> Work:
    """Two gates by sigmoid, a candidate by tanh, and the state between it and the old one."""
    biases = 3 * sum(at(args, i) is not None for i in (3, 4))
    return Work(adds=9 + biases, multiplies=2, specials=6).times(args[2].numel())


def _length(x: Tensor, axis: int) -> int:
    return int(x.shape[axis]) if x.ndim else 1


def _bits(n: int) -> int:
    return math.ceil(math.log2(max(n, 1)))
