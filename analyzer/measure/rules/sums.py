"""Sums of products of integers, exact at any size.

NumPy's int64 wraps in silence beyond 2^63. Whoever sums counts knows an integer that the sum does
not exceed, mostly from shapes: below 2^63 NumPy sums, above it Python's integers of any size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dot"]

_LARGEST = np.iinfo(np.int64).max


def dot(left: NDArray[Any], right: NDArray[Any], most: int) -> int:
    """The sum of the products of two vectors of non-negative integers.

    Args:
        left: ``[n]``, int64.
        right: ``[n]``, int64.
        most: An integer that the sum does not exceed, known beforehand.
    """
    if most <= _LARGEST:
        return int(left @ right)
    return int(left.astype(object) @ right.astype(object)) if len(left) else 0
