"""Work of softmax, norms, variances and normalisation layers.

Over a row of n elements, a mean is n - 1 additions and a multiplication by 1/n; a variance takes n
differences from it, their squares, and the mean of these.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from analyzer.measure.rules.work import Arguments, Keywords, Work, WorkRule, at, first_size

__all__ = ["norm", "normalisation_rules"]


def normalisation_rules() -> dict[str, WorkRule]:
    """The rules, by the base name of the operation."""
    rules: dict[str, WorkRule] = {
        "_softmax": _softmax,
        "_safe_softmax": _softmax,
        "_log_softmax": _log_softmax,
        "logsumexp": _log_sum_exp,
        "linalg_vector_norm": _norm,
        "norm": _norm,
        "renorm": _renorm,
        "_weight_norm_interface": _weight_norm,
        "native_layer_norm": _layer_norm(2, 3),
        "native_group_norm": _layer_norm(1, 2),
        "_fused_rms_norm": _rms_norm,
        "_native_batch_norm_legit_no_training": _batch_norm(False),
        "_batch_norm_no_update": _batch_norm(False),
        "_batch_norm_with_update": _batch_norm(True),
    }
    rules |= dict.fromkeys(("var", "var_mean"), _variance(root=False))
    rules |= dict.fromkeys(("std", "std_mean"), _variance(root=True))
    return rules | dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm", "miopen_batch_norm"),
        _batch_norm(None),
    )


def _softmax(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """The maximum, differences from it, exponentials, their sum, and a division each."""
    n, rows = _rows(args[0], args[1])
    return Work(adds=2 * n - rows, compares=n - rows, specials=2 * n)


def _log_softmax(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """The maximum, differences from it, the logarithm of their exponentials' sum, subtracted."""
    n, rows = _rows(args[0], args[1])
    return Work(adds=3 * n - rows, compares=n - rows, specials=n + rows)


def _log_sum_exp(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    n, m = args[0].numel(), first_size(out)
    return Work(adds=2 * n, compares=max(n - m, 0), specials=n + m)


def _variance(*, root: bool) -> WorkRule:
    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        n, m = args[0].numel(), first_size(out)
        return Work(adds=n + 2 * max(n - m, 0), multiplies=n + 2 * m, specials=m if root else 0)

    return rule


def _norm(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    order = at(args, 1)
    return norm(args[0].numel(), first_size(out), 2.0 if order is None else order)


def norm(n: int, m: int, order: float | str) -> Work:
    """Norms of n elements in m rows; absolute values are free.

    Args:
        n: All elements.
        m: Rows.
        order: Of the norm.
    """
    joins = max(n - m, 0)
    order = 2.0 if isinstance(order, str) else float(order)
    if order == 0:
        return Work(compares=n, adds=joins)
    if order == 1:
        return Work(adds=joins)
    if math.isinf(order):
        return Work(compares=joins)
    if order == 2:
        return Work(multiplies=n, adds=joins, specials=m)
    return Work(adds=joins, specials=n + m)


def _renorm(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """Slices along an axis: the norm, whether it is too large, a factor, and every element."""
    n, m = args[0].numel(), args[0].shape[args[2]]
    return norm(n, m, args[1]) + Work(adds=m, compares=m, specials=m, multiplies=n)


def _weight_norm(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    """A direction times a length over its norm."""
    n, m = args[0].numel(), args[1].numel()
    return norm(n, m, 2.0) + Work(multiplies=n, specials=m)


def _layer_norm(gain: int, bias: int) -> WorkRule:
    """Mean and variance of each row; every element centred and scaled, with gain and bias.

    Args:
        gain: Position of the gain.
        bias: Position of the bias.
    """

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        n, rows = out[0].numel(), out[-1].numel()
        return _normalised(n, rows, at(args, gain), at(args, bias))

    return rule


def _rms_norm(args: Arguments, out: Any, kwargs: Keywords) -> Work:
    n, rows = out[0].numel(), out[-1].numel()
    gain = n if at(args, 2) is not None else 0
    return Work(adds=n, multiplies=2 * n + rows + gain, specials=rows)


def _batch_norm(training: bool | None) -> WorkRule:
    """With fixed statistics a factor and an offset; else those of each channel first.

    Keeping running statistics is training's, and not counted.

    Args:
        training: Whether by statistics of the batch; None where an argument says so.
    """

    def rule(args: Arguments, out: Any, kwargs: Keywords) -> Work:
        n = out[0].numel()
        flag = next((a for a in args if isinstance(a, bool)), False)
        if not (flag if training is None else training):
            return Work(adds=n, multiplies=n)
        channels = args[0].shape[1] if n else 0
        return _normalised(n, channels, args[1], args[2])

    return rule


def _normalised(n: int, rows: int, gain: Tensor | None, bias: Tensor | None) -> Work:
    """Mean, centring, squares, their mean, epsilon, a root, scaling, gain and bias."""
    return Work(
        adds=2 * (n - rows) + n + rows + (n if bias is not None else 0),
        multiplies=2 * n + 2 * rows + (n if gain is not None else 0),
        specials=rows,
    )


def _rows(x: Tensor, axis: int) -> tuple[int, int]:
    """Number of elements, and of rows along an axis."""
    n = x.numel()
    return n, n // max(x.shape[axis], 1) if x.ndim else n
