"""Tensors of a given kind of values, the same for the same arguments."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16,
        torch.bool, torch.int64, torch.int32, torch.int8,
    )
}  # fmt: skip

KINDS = (
    "binary", "zero", "ones", "scaled", "negative", "ternary", "ternary-scaled", "graded",
    "graded-signed", "quarters", "thirds", "sevenths", "levels-255", "levels-256", "real",
    "real-sparse", "negative-zero",
)  # fmt: skip

DYADIC = (
    "binary", "zero", "ones", "negative", "ternary", "graded", "graded-signed", "quarters"
)  # fmt: skip
"""Kinds whose sums and products are exact in float32, so in any order."""


def fill(kind: str, shape: tuple[int, ...], dtype: str, seed: int) -> Tensor:
    """Values of a kind, the same for the same arguments."""
    rng = np.random.default_rng([seed, len(shape), *shape])
    fire = (rng.random(shape) < 0.4).astype(np.float64)
    sign = rng.integers(0, 2, shape) * 2.0 - 1
    level = rng.integers(0, 5, shape).astype(np.float64)
    values = {
        "zero": lambda: np.zeros(shape),
        "negative-zero": lambda: -np.zeros(shape),
        "ones": lambda: np.ones(shape),
        "binary": lambda: fire,
        "scaled": lambda: fire * 0.3,
        "negative": lambda: fire * -1.5,
        "ternary": lambda: fire * sign,
        "ternary-scaled": lambda: fire * sign * 0.7,
        "graded": lambda: level,
        "graded-signed": lambda: level * sign,
        "quarters": lambda: level / 4,
        "thirds": lambda: level * sign / 3,
        "sevenths": lambda: level / 7,
        "levels-255": lambda: with_extremes(rng.integers(0, 256, shape).astype(np.float64), 255),
        "levels-256": lambda: with_extremes(rng.integers(0, 257, shape).astype(np.float64), 256),
        "real": lambda: rng.standard_normal(shape) * 0.5,
        "real-sparse": lambda: rng.standard_normal(shape) * fire,
    }[kind]()
    return torch.from_numpy(np.asarray(values)).to(DTYPES[dtype])


def with_extremes(values: np.ndarray, largest: int) -> np.ndarray:
    if values.size > 1:
        values.flat[0], values.flat[-1] = largest, 1
    return values
