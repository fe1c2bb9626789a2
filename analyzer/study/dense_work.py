"""Counts the dense work of the published networks, for ``analyzer.audit``.

``python -m analyzer.study.dense_work analyzer/auditing/networks.csv`` writes the table again.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analyzer import models
from analyzer.counting import count
from analyzer.energy.declared.convention import is_layer
from analyzer.errors import AnalyzerError

__all__ = ["COLUMNS", "dense_work", "main"]

COLUMNS = ("network", "resolution", "parameters", "step_macs", "once_macs", "first_macs", "spiking")

_RESOLUTIONS = (224, 288, 384)
_LARGER: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "swin-s": ("swin-t", {"depths": (2, 2, 18, 2)}),
        "swin-b": ("swin-t", {"depths": (2, 2, 18, 2), "embed_dim": 128, "heads": (4, 8, 16, 32)}),
        "vit-l-16": ("vit-b-16", {"embed_dim": 1024, "depth": 24, "heads": 16}),
    }
)
"""Sizes that papers compare with and that no name of a model stands for."""


def dense_work(name: str, resolution: int) -> dict[str, int | str] | None:
    """The row of one network, None where it does not take that resolution.

    The dense work of an inference with T timesteps is ``T * step_macs + once_macs``;
    ``first_macs`` is that of the first layer in one timestep.

    Args:
        name: A name of :func:`analyzer.models.names`, or ``swin-s``, ``swin-b`` or ``vit-l-16``.
        resolution: Side of the image in pixels.
    """
    base, larger = _LARGER.get(name, (name, {}))
    settings: dict[str, Any] = dict(larger)
    card = models.describe(base)
    if name in ("swin-s", "swin-b") and resolution == 384:
        settings["window"] = 12
    spiking = card.paradigm != "ANN"
    looped = spiking and card.paradigm != "integer"  # integers stand for spikes over T timesteps
    try:
        found = [
            count(base, (3, resolution, resolution), timesteps=steps, **settings)
            for steps in ((card.timesteps, 2 * card.timesteps) if looped else (None,))
        ]
    except AnalyzerError:
        return None
    whole = [profile.totals["dense_macs"] for profile in found]
    step = (whole[-1] - whole[0]) // card.timesteps if looped else whole[0]
    if not step:  # T is inside of its neurons
        return None
    rows = found[0].rows
    first = rows[is_layer(rows)].iloc[0]
    steps = card.timesteps if looped else 1
    return {
        "network": name,
        "resolution": resolution,
        "parameters": found[0].parameters or 0,
        "step_macs": step,
        "once_macs": whole[0] - steps * step,
        "first_macs": int(first["dense_macs"]) // steps,
        "spiking": "yes" if spiking else "no",
    }


def _all() -> Iterator[dict[str, int | str]]:
    for name in (*models.names(), *_LARGER):
        base = _LARGER.get(name, (name, {}))[0]
        card = models.describe(base)
        if card.takes_tokens or card.input_shape[-1] < _RESOLUTIONS[0] or name.startswith("ge2mst"):
            continue
        for resolution in _RESOLUTIONS:
            row = dense_work(name, resolution)
            if row is not None:
                yield row


def main(path: str) -> None:
    """Writes the table of all networks for images of ImageNet."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in _all():
            writer.writerow(row)
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1])
