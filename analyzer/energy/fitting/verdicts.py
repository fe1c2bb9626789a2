"""Which layers have a place on a chip, in how many cores, and why others have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.energy.fitting.limits import Chip
from analyzer.energy.fitting.placing import Need, assigned, entries, neurons_kept, share

__all__ = ["verdicts"]

_READING = "which values it reads"
_OF_CORES = ("neurons", "inputs", "weight memory", "weight bits")


def verdicts(found: Sequence[Need], known: Chip, bits: int | None) -> list[dict[str, Any]]:
    """The verdict on each layer: ``fits``, ``cores``, ``lower_bound``, ``why`` and ``loads``."""
    if known.each_core:
        return _in_fixed_cores(found, known, bits)
    return [_row(need, known, bits) for need in found]


def _unplaced(need: Need, known: Chip) -> dict[str, Any] | None:
    """The verdict on what has no place in cores, None for a layer that may have one."""
    if known.operations is not None and need.op not in known.operations:
        return _verdict("no", f"its source lists {', '.join(known.operations)} alone")
    if not need.weights and not need.op.startswith(("linear", "conv")):
        return _verdict("unknown", "no weights: a product of activations")
    carried = {"zero", "binary", *(known.spikes or ())}
    if known.spikes is not None and need.reads and need.reads not in carried:
        return _verdict("no", f"reads {need.reads} values: for a host")
    if need.neurons is None:
        return _verdict("unknown", "the profile does not say its shape")
    return None


def _row(need: Need, known: Chip, bits: int | None) -> dict[str, Any]:
    """The verdict on one layer, where all cores are alike."""
    unplaced = _unplaced(need, known)
    if unplaced is not None:
        return unplaced
    spread = share(need, known, bits)
    if spread.refusal:
        return _verdict("no", spread.refusal)
    unknown = list(_unknown(need, known, bits))
    cores = None if spread.loads is None else len(spread.loads)
    of_cores = [limit for limit in unknown if limit in _OF_CORES]
    why = f"unknown: {', '.join(unknown)}" if unknown else ""
    fits = "unknown" if unknown else "yes"
    return _verdict(fits, why, cores, spread.loads, lower_bound=bool(of_cores and cores))


def _unknown(need: Need, known: Chip, bits: int | None) -> Iterator[str]:
    """The limits that no source gives, for this layer."""
    if known.neurons is None:
        yield "neurons"
    if known.axons is None:
        yield "inputs"
    if known.weight_memory_bits is None:
        yield "weight memory"
    elif bits is None:
        yield "weight bits"
    if not need.reads:
        yield _READING
    elif known.spikes is None and need.reads not in ("zero", "binary"):
        yield f"whether spikes carry {need.reads} values"


def _verdict(
    fits: str,
    why: str = "",
    cores: int | None = None,
    loads: NDArray[np.int64] | None = None,
    *,
    lower_bound: bool = False,
) -> dict[str, Any]:
    return {"fits": fits, "cores": cores, "lower_bound": lower_bound, "why": why, "loads": loads}


def _in_fixed_cores(found: Sequence[Need], known: Chip, bits: int | None) -> list[dict[str, Any]]:
    """The verdicts where a layer sits in one core and cores differ."""
    sizes = known.each_core
    rows: list[dict[str, Any] | None] = []
    fitting: list[list[int]] = []
    for need in found:
        row = _unplaced(need, known)
        inside: list[int] = []
        if row is None:
            weights = (bits or 0) * entries(need, rounded=known.rounds_weights)
            least, most = neurons_kept(need, rounded=known.rounds_neurons)
            inside = [at for at, (n, w) in enumerate(sizes) if most <= n and weights <= w]
            if need.groups > 1:
                inside, row = (
                    [],
                    _verdict("unknown", "unknown: how grouped convolutions are stored"),
                )
            elif not inside and any(least <= n and weights <= w for n, w in sizes):
                why = f"the sides of its map: it keeps {least:,} to {most:,} neurons"
                row = _verdict("unknown", f"unknown: {why}")
            elif not inside:
                row = _verdict("no", _too_large(least, weights, sizes))
        rows.append(row)
        fitting.append(inside)
    cores = assigned(fitting)
    return [
        row or _placed_in(core, need, bits)
        for row, core, need in zip(rows, cores, found, strict=True)
    ]


def _too_large(neurons: int, weights: int, sizes: Sequence[tuple[int, int]]) -> str:
    """Why no core holds a layer."""
    most, room = (max(figures) for figures in zip(*sizes, strict=True))
    if neurons > most:
        return f"{neurons:,} neurons, a core has {most:,}"
    if weights > room:
        return f"{weights:,} bits of weights, a core has {room:,}"
    return "no core has room for its neurons and its weights"


def _placed_in(core: int | None, need: Need, bits: int | None) -> dict[str, Any]:
    """The verdict on a layer that fits in some core, given the one that it got."""
    if core is None:
        return _verdict("no", "no core is left")
    loads = np.array([need.neurons], dtype=np.int64)
    unknown = [_READING] if not need.reads else []
    unknown += ["weight bits"] if bits is None else []
    if unknown:
        return _verdict("unknown", f"unknown: {', '.join(unknown)}", 1, loads)
    return _verdict("yes", f"core {core}", 1, loads)
