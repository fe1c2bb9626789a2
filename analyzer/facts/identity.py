"""Metadata of two runs: what must agree before they add up, and how the rest joins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["IDENTITY", "first_difference", "joined"]

IDENTITY = (
    "model", "parameters", "input_shape", "timesteps", "dtype", "weights_digest", "fold_batch_norm",
)  # fmt: skip
"""Metadata that must agree before two profiles may be added."""

_LARGEST = frozenset({"neuron_state_bytes", "activations_bytes", "peak_activations_bytes"})
"""Metadata that is measured: a sample of a larger batch shares what does not grow with it."""


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """The first key of :data:`IDENTITY` in which two runs differ, None where they agree."""
    return next((key for key in IDENTITY if a.get(key) != b.get(key)), None)


def joined(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of both; names that differ as ``a + b``, other values in one sorted list."""
    found: dict[str, Any] = {}
    for key in (*a, *(k for k in b if k not in a)):
        mine, theirs = a.get(key), b.get(key)
        if mine == theirs:
            found[key] = mine
            continue
        if key in _LARGEST and isinstance(mine, int) and isinstance(theirs, int):
            found[key] = max(mine, theirs)
            continue
        if key == "name" and mine and theirs:
            found[key] = " + ".join(sorted({*mine.split(" + "), *theirs.split(" + ")}))
            continue
        values = [
            *(mine if isinstance(mine, list) else [mine]),
            *(theirs if isinstance(theirs, list) else [theirs]),
        ]
        distinct = {str(v): v for v in values if v is not None}
        found[key] = [distinct[text] for text in sorted(distinct)]
    return found
