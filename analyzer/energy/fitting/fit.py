"""Whether a model fits on a neuromorphic chip: layer by layer, in how many cores, and hops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyzer.energy.answer import Answer
from analyzer.energy.fitting.hops import Way, mean_hops, way_to
from analyzer.energy.fitting.limits import Chip
from analyzer.energy.fitting.limits import chip as read_chip
from analyzer.energy.fitting.notes import notes_on
from analyzer.energy.fitting.placing import Measured, needs
from analyzer.energy.fitting.verdicts import verdicts
from analyzer.errors import AnalyzerError, refuse_unless_whole
from analyzer.facts.sent import plural

__all__ = ["Fit", "fit"]

_DASH = "–"


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Answer):
    """A model on a chip: what :func:`analyzer.fit` returns.

    Attributes:
        rows: One row a product, in order of execution: ``module`` and ``op``; its ``neurons``,
            the ``fan_in`` of one, and its ``weights``; the class of values that it ``reads``;
            whether it ``fits``: ``yes``, ``no`` or ``unknown``; its ``cores``, whether these are a
            ``lower_bound``, and ``why``; ``spikes``, the non-zeros that it reads a sample; the
            mean ``hops`` of a spike to a core of it, and the share of ways ``leaving`` the chip,
            which have no hops. What is not known, or not there, is missing.
        chip: The limits.
        name: How the model is called.
        weight_bits: Bits of a weight; None where they are not known.
        mean_hops: Hops of a spike to a core that reads it, mean over all of one chip, by the spikes
            of each layer. None where the chip has no mesh, where nothing is sent from core to core,
            or where it is not known how many spikes a layer reads.
        beside: Element-wise operations of the model that are no neurons.
    """

    figure = "fit"
    words = frozenset({"Layer", "Reads", "Fits", "Why"})

    rows: pd.DataFrame
    chip: Chip
    name: str
    weight_bits: int | None
    mean_hops: float | None = None
    beside: tuple[str, ...] = ()

    @property
    def cores(self) -> int:
        """Cores of all layers that have some."""
        return int(self.rows["cores"].sum())

    @property
    def lower_bound(self) -> bool:
        """Whether the cores of a layer, and so of all, are a lower bound."""
        return bool(self.rows["lower_bound"].any())

    @property
    def chips(self) -> int | None:
        """Chips that these cores are; None where the chip does not say how many cores it has."""
        return None if self.chip.cores is None else -(-self.cores // self.chip.cores)

    @property
    def summary(self) -> str:
        """What fits, in how many cores and chips, in words."""
        count = self.rows["fits"].value_counts()
        parts = [f"{count.get('yes', 0)} of {len(self.rows)} products fit"]
        for verdict, one, more in (
            ("no", "does not", "do not"),
            ("unknown", "is unknown", "are unknown"),
        ):
            if count.get(verdict):
                parts.append(f"{count[verdict]} {one if count[verdict] == 1 else more}")
        bound = "at least " if self.lower_bound else ""
        said = f"{self.name} on {self.chip.title}: {', '.join(parts)}."
        if self.cores:
            said += f" They take {bound}{plural(self.cores, 'core')}"
            if self.chips is not None:
                said += f", {bound}{plural(self.chips, 'chip')} of {self.chip.cores:,}"
            said += "."
        if self.mean_hops is not None:
            said += f" A spike takes {self.mean_hops:.3g} hops on average."
        return said

    @property
    def notes(self) -> list[str]:
        """How layers are mapped, and what is not known."""
        return list(notes_on(self.chip, self.rows, self.weight_bits, self.beside, self.mean_hops))

    def shown(self) -> pd.DataFrame:
        """The rows as text."""
        rows = self.rows
        bound = rows["lower_bound"].map({True: "≥ ", False: ""})
        return pd.DataFrame(
            {
                "Layer": _labels(rows),
                "Neurons": [_whole(n) for n in rows["neurons"]],
                "Fan-in": [_whole(n) for n in rows["fan_in"]],
                "Weights": [_whole(n) for n in rows["weights"]],
                "Reads": rows["reads"].replace("", _DASH),
                "Fits": rows["fits"],
                "Cores": bound + pd.Series([_whole(n) for n in rows["cores"]]),
                "Hops": [_DASH if pd.isna(hops) else f"{hops:.2f}" for hops in rows["hops"]],
                "Why": rows["why"],
            }
        )


def fit(profile: Measured, chip: str, *, weight_bits: int | None = None) -> Fit:
    """Says of each layer whether it fits on a chip, in how many cores, and how far spikes go.

    Use it to choose hardware: limits of a chip are data with a source, and a limit that no source
    gives is unknown and not guessed. What has no place on the chip, such as a layer that reads
    values which its spikes do not carry, is left to a host and takes no cores.

    Layers are mapped in order of execution, each on cores of its own. A neuron is taken for each
    output of a layer with weights, and those that read the same inputs stay together where a core
    has room for them. Cores are laid on the chip's mesh row by row. The spikes that a layer reads
    come from all neurons of the product before it alike, and each goes to every core of the layer;
    its hops are the Manhattan distance between tiles. A profile does not tell which layer feeds
    which, so residual connections are not followed, but layers that read the same, such as query,
    key and value, have the same source.

    Args:
        profile: A measured model, or one that was counted by its shapes.
        chip: A name of :func:`analyzer.hardware`, or a ``.toml`` file.
        weight_bits: Bits of a weight; the most that the chip has by default.

    Raises:
        AnalyzerError: Where the chip is not known, its weights have fewer bits, or the profile
            holds no products.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Linear(300, 2000).eval()
        >>> found = analyzer.fit(analyzer.profile(model, torch.eye(300), name="net"), "loihi")
        >>> print(found.summary)
        net on Loihi: 1 of 1 products fit. They take 6 cores, 1 chip of 128.
        >>> found.rows[["neurons", "fan_in", "cores"]].iloc[0].to_dict()
        {'neurons': 2000, 'fan_in': 300, 'cores': 6}
    """
    known = read_chip(chip)
    bits = _bits(known, weight_bits)
    found = needs(profile)
    if not found:
        raise AnalyzerError(f"profile {profile.name!r} holds no products, so nothing to place.")
    rows: list[dict[str, Any]] = []
    taken: list[tuple[int, NDArray[np.int64]] | None] = []
    sources: list[int | None] = []
    ways: list[tuple[float | None, Way]] = []
    start = 0
    for at, (need, row) in enumerate(zip(found, verdicts(found, known, bits), strict=True)):
        loads = row.pop("loads")
        taken.append(None if loads is None else (start, loads))
        start += 0 if loads is None else len(loads)
        sources.append(sources[at - 1] if need.again and at else at - 1 if at else None)
        gone = way_to(at, sources[at], taken, known.mesh)
        if gone is not None:
            ways.append((need.spikes, gone))
        rows.append(
            {
                "module": need.module,
                "op": need.op,
                "neurons": need.neurons,
                "fan_in": need.fan_in if need.neurons else None,
                "weights": need.weights or None,
                "reads": need.reads,
                **row,
                "spikes": None if need.spikes is None else _mean(need.spikes, profile.samples),
                "hops": None if gone is None or gone.mean is None else float(gone.mean),
                "leaving": None if gone is None else float(gone.leaving),
            }
        )
    return Fit(_frame(rows), known, profile.name, bits, mean_hops(ways), _beside(profile))


def _bits(known: Chip, given: int | None) -> int | None:
    if given is None:
        return known.weight_bits
    refuse_unless_whole("weight_bits", given)
    if known.weight_bits is not None and given > known.weight_bits:
        raise AnalyzerError(
            f"weight_bits is {given}, but a weight of {known.title} has at most "
            f"{known.weight_bits}: give fewer."
        )
    return given


def _mean(total: float, samples: int) -> float | None:
    return float(Fraction(total) / samples) if samples else None


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    whole = dict.fromkeys(("neurons", "fan_in", "weights", "cores"), "Int64")
    reals = dict.fromkeys(("spikes", "hops", "leaving"), "float64")
    texts = dict.fromkeys(("module", "op", "reads", "fits", "why"), "str")
    return pd.DataFrame(rows).astype(whole | reals | texts | {"lower_bound": "bool"})


def _beside(profile: Measured) -> tuple[str, ...]:
    """Element-wise operations that are neither neurons nor a norm that folds."""
    names = [t.op for t in (*profile.tallies, *profile.uncounted) if not t.folds]
    neurons = {t.op for t in profile.tallies if t.state_size}
    return tuple(name for name in dict.fromkeys(names) if name not in neurons)


def _labels(rows: pd.DataFrame) -> list[str]:
    """Paths of modules, with the operation where a module has several."""
    often = rows["module"].value_counts()
    return [
        f"{module or '(model)'} {op}" if often[module] > 1 or not module else module
        for module, op in zip(rows["module"], rows["op"], strict=True)
    ]


def _whole(number: Any) -> str:
    return _DASH if pd.isna(number) else f"{number:,}"
