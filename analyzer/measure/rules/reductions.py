"""Work of operations that combine many elements: sums, scans, sorting, searching, scattering.

A sum of n elements is n - 1 additions, a maximum n - 1 comparisons, and a factor that is known
beforehand, such as 1/n, a multiplication. Sorting is counted as merge sort, searching as bisection.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from analyzer.measure.rules.normalisation import norm
from analyzer.measure.rules.work import (
    LOG_ADD_EXP,
    Arguments,
    Keywords,
    Work,
    WorkRule,
    at,
    first_size,
)

__all__ = ["reduction_rules"]


def reduction_rules() -> dict[str, WorkRule]:
    """The rules, by the base name of the operation."""
    rules: dict[str, WorkRule] = {
        "sum": _reduction(Work(adds=1)),
        "nansum": _reduction(Work(adds=1)),
        "mean": _mean,
        "prod": _reduction(Work(multiplies=1)),
        "aminmax": _reduction(Work(compares=2)),
        "count_nonzero": _count_nonzero,
        "trace": _trace,
        "cumsum": _scan(Work(adds=1)),
        "cumprod": _scan(Work(multiplies=1)),
        "logcumsumexp": _scan(LOG_ADD_EXP),
        "unique_dim": _sorting_slices,
        "unique_consecutive": _neighbours,
        "bucketize": _search(1),
        "searchsorted": _search(0),
        "isin": _is_in,
        "histc": _histogram,
        "bincount": _bincount,
        "scatter_add": _reducing("sum"),
        "index_add": _reducing("sum"),
        "_cdist_forward": _distances(2),
        "_pdist_forward": _distances(1),
    }
    for names, rule in (
        ("amax amin max min argmax argmin any all", _reduction(Work(compares=1))),
        ("cummax cummin", _scan(Work(compares=1))),
        ("sort msort median nanmedian mode", _sorting(1)),
        ("topk kthvalue", _sorting(2)),
        ("_unique _unique2", _sorting(None)),
        ("scatter scatter_reduce index_reduce", _reducing(None)),
        ("index_put _index_put_impl _unsafe_index_put put", _put),
        ("_embedding_bag _embedding_bag_forward_only", _embedding_bag),
    ):
        rules |= dict.fromkeys(names.split(), rule)
    return rules


def _reduction(work: Work) -> WorkRule:
    """A reduction of n elements to m does n - m operations."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        if isinstance(at(args, 1), Tensor):  # max(a, b) of two tensors
            return work.times(first_size(out))
        return work.times(max(args[0].numel() - first_size(out), 0))

    return rule


def _mean(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    n, m = args[0].numel(), first_size(out)
    return Work(adds=max(n - m, 0), multiplies=m)


def _count_nonzero(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    n = args[0].numel()
    return Work(compares=n, adds=max(n - first_size(out), 0))


def _trace(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    return Work(adds=max(min(args[0].shape) - 1, 0))


def _scan(work: Work) -> WorkRule:
    """A running sum along one axis: one operation an element but the first of each row."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        n = args[0].numel()
        return work.times(n - n // max(_length(args[0], args[1]), 1))

    return rule


def _sorting(axis: int | None) -> WorkRule:
    """Comparisons of a merge sort of each row, n · ⌈log2 n⌉, also where only ranks are wanted.

    Args:
        axis: Position of the argument that names the axis; None where all elements are one row.
    """

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        x = args[0]
        named = None if axis is None else kwargs.get("dim", at(args, axis))
        whole = axis is None or (not isinstance(out, tuple) and named is None)
        length = x.numel() if whole else _length(x, -1 if named is None else named)
        return Work(compares=x.numel() * _bits(length))

    return rule


def _sorting_slices(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Slices are compared element by element."""
    return Work(compares=args[0].numel() * _bits(_length(args[0], args[1])))


def _neighbours(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    x, axis = args[0], kwargs.get("dim", at(args, 3))
    slices = x.numel() if axis is None else _length(x, axis)
    return Work(compares=x.numel() - x.numel() // max(slices, 1))


def _search(boundaries: int) -> WorkRule:
    """A binary search for each element."""

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        return Work(compares=first_size(out) * _bits(_length(args[boundaries], -1) + 1))

    return rule


def _is_in(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Each element with each candidate."""
    candidates = args[1].numel() if isinstance(args[1], Tensor) else 1
    return Work(compares=first_size(out) * candidates)


def _histogram(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Of each element: both ends of the range, its bin (an offset and a factor), one more."""
    return Work(adds=2, multiplies=1, compares=2).times(args[0].numel())


def _bincount(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    return Work(adds=args[0].numel())


def _reducing(reduction: str | None) -> WorkRule:
    """What is written at indices is combined with what is there; else it only moves.

    Args:
        reduction: How; None where an argument says so.
    """

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
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


def _put(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Writing at indices moves elements, unless they are added to what is there."""
    return Work(adds=args[2].numel() if at(args, 3) else 0)


def _embedding_bag(args: Arguments, out: Any, kwargs: Keywords) -> Work:
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

    def rule(args: Arguments, out: Tensor, kwargs: Keywords) -> Work:
        pairs, width = out.numel(), args[0].shape[-1]
        p = at(args, order)
        return Work(adds=pairs * width) + norm(pairs * width, pairs, 2.0 if p is None else p)

    return rule


def _length(x: Tensor, axis: int) -> int:
    return int(x.shape[axis]) if x.ndim else 1


def _bits(n: int) -> int:
    return math.ceil(math.log2(max(n, 1)))
