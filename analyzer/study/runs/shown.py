"""The tables of the study as text: titles, captions and formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import pandas as pd

from analyzer.report.tables import Table
from analyzer.study.runs.statistics import LEVEL
from analyzer.study.runs.twins import WEIGHT_BITS
from analyzer.study.shared import shown_groups, shown_slopes, shown_training
from analyzer.units import format_energy_mj, format_ratio, format_share, format_si

__all__ = ["TITLES", "table"]

_DASH = "–"

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "series": "Accuracy and energy",
        "differences": "Which differences are real",
        "timesteps": "Against timesteps",
        "twins": "Quantised twins",
        "memories": "Every memory model",
        "readings": "Every reading",
        "groups": "Sparsity by group",
        "training": "Training steps",
        "slopes": "Growth of memory with T",
        "runs": "Every network and seed",
        "trainings": "Trainings",
    }
)
"""The tables in their order."""

_CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "series": "Means over seeds, an image. Energy is of the arithmetic of layers and "
        "attention: updates and scales of neurons and what moves are not in it. Behind a T= "
        "or where only neurons were exchanged (converted) the weights were not trained as they are "
        "run; w is the "
        "weight of an accumulate in the loss (of a level n, n accumulates), G, K and m are the "
        "coding.",
        "differences": "Means over seeds, ours minus theirs, with the 95 % interval and a t test: "
        "paired by seed where both run the same weights, Welch's elsewhere. p is adjusted for the "
        f"number of tests of one figure (Holm); below {LEVEL:g} a difference is called real. "
        "Intervals are not adjusted.",
        "timesteps": "Rows that say afterwards run weights that were trained at another number of "
        "timesteps, or as an ANN.",
        "twins": "A neuron of L + 1 levels tells as much as ⌈log2(L + 1)⌉ bits. Both are priced "
        f"with {WEIGHT_BITS}-bit weights, activations of these bits and 32-bit sums; the ratio is "
        "spiking to dense. Twin of its own weights: the levels of the network itself, computed "
        f"densely with weights rounded to {WEIGHT_BITS} bits. Rounded ANN: activations of the ANN "
        "rounded to as many levels, and its weights, without further training. The twin's scores "
        "of attention and its image are wider than they are priced, so it is priced a little low.",
        "memories": "Energy of ge2mst-tiny relative to each, means over seeds with the 95 % "
        "interval of the ratio. Break-even: the firing rate at which it would take what the ANN "
        "takes (never where even silence takes more), and the factor on the price of every access "
        "to memory at which both would take the same (never where no price does that).",
        "readings": "Energy (effort, of bit budgets) of each paradigm in that of the ANN, and in "
        "that of itself run once on integers (its quantised twin): ratios of means over seeds. "
        "Conventions are priced in fp32, memory models as they say, twins with 8-bit weights and "
        "activations as wide as neurons tell levels.",
        "groups": "Zeros among what layers behind the stem read.",
        "training": "One step of 16 images, forward and backward, on one thread. Measured peak: "
        "how far it raised the resident set of a fresh process. Accuracy: of the network with T.",
        "slopes": "How the bytes that are saved for backward grow with the timesteps.",
        "runs": "Accuracy of all test images. Differing: predictions in which both forms differ, "
        "of the images that work and energy are of.",
        "trainings": "Accuracy is on all test images, as the record of the training says.",
    }
)


def table(name: str, raw: pd.DataFrame) -> Table:
    """A table as numbers and as text."""
    text = _SHOWN[name](raw)
    words = frozenset(c for c in text.columns if c in _WORDS)
    return Table(name, _CAPTIONS[name], raw, text, text=words, long=name in ("runs", "memories"))


_WORDS = frozenset(
    {"Model", "Ours", "Theirs", "Figure", "Memory", "Weights", "Test", "Verdict", "Command"}
    | {"Machine", "Reading", "Against"}
)


def _pm(mean: pd.Series, std: pd.Series, form: Callable[[float], str]) -> list[str]:
    """Mean ± deviation, each cell as text."""
    return [
        _DASH if pd.isna(m) else form(m) if pd.isna(s) else f"{form(m)} ± {form(s)}"
        for m, s in zip(mean, std, strict=True)
    ]


def _points(share: float) -> str:
    return f"{100 * share:.2f} %"


def _count(value: object) -> str:
    return _DASH if pd.isna(value) else f"{int(value):,}"  # type: ignore[call-overload]


def _series(t: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": t["series"],
            "T": t["timesteps"].map(_count),
            "Seeds": t["seeds"].map(str),
            "Accuracy": _pm(t["accuracy_mean"], t["accuracy_std"], _points),
            "AC": _pm(t["ac_mean"], t["ac_std"], format_si),
            "MAC": t["mac"].map(format_si),
            "Energy": _pm(t["energy_mj_mean"], t["energy_mj_std"], format_energy_mj),
            "A right answer": _pm(
                t["energy_per_correct_mj_mean"], t["energy_per_correct_mj_std"], format_energy_mj
            ),
            "Sparsity": _pm(t["sparsity_mean"], t["sparsity_std"], _points),
            "Spikes a neuron": _pm(
                t["spikes_per_neuron_mean"], t["spikes_per_neuron_std"], "{:.3f}".format
            ),
        }
    )


def _differences(t: pd.DataFrame) -> pd.DataFrame:
    accuracy = t["figure"] == "accuracy"

    def each(column: str) -> list[str]:
        return [
            _DASH
            if pd.isna(value)
            else f"{100 * value:+.2f} points"
            if points
            else f"{1e3 * value:+.3g} µJ"
            for value, points in zip(t[column], accuracy, strict=True)
        ]

    return pd.DataFrame(
        {
            "Figure": t["figure"].map({"accuracy": "accuracy", "energy_mj": "energy"}),
            "Ours": t["ours"],
            "Theirs": t["theirs"],
            "Difference": each("difference"),
            "From": each("low"),
            "To": each("high"),
            "p": t["adjusted_p"].map(_p),
            "Test": t["test"],
            "Seeds": t["seeds"],
            "Verdict": t["verdict"],
        }
    )


def _p(value: float) -> str:
    return _DASH if pd.isna(value) else f"{value:.2g}"


def _timesteps(t: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": t["base"],
            "T": t["timesteps"].map(_count),
            "Weights": t["trained"].map({True: "trained so", False: "afterwards"}),
            "Accuracy": _pm(t["accuracy_mean"], t["accuracy_std"], _points),
            "Energy": _pm(t["energy_mj_mean"], t["energy_mj_std"], format_energy_mj),
        }
    )


def _twins(t: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": t["series"],
            "Levels": t["levels"].map(str),
            "Bits": t["bits"].map(str),
            "Accuracy": t["accuracy"].map(format_share),
            "Energy": t["energy_mj"].map(format_energy_mj),
            "Energy of the twin": t["twin_mj"].map(format_energy_mj),
            "Ratio": t["ratio"].map(format_ratio),
            "Twin of its own weights": t["own_accuracy"].map(format_share),
            "Rounded ANN": _pm(t["ann_accuracy"], t["ann_accuracy_std"], _points),
        }
    )


def _memories(t: pd.DataFrame) -> pd.DataFrame:
    def never(values: pd.Series, form: Callable[[float], str]) -> list[str]:
        return ["never" if pd.isna(value) else form(value) for value in values]

    dense = t["rate"].notna()
    rates = never(t["break_even_rate"], format_share)
    return pd.DataFrame(
        {
            "Memory": t["memory"],
            "Theirs": t["theirs"],
            "Energy": t["ours_mj"].map(format_energy_mj),
            "Of theirs": t["theirs_mj"].map(format_energy_mj),
            "Ratio": t["ratio"].map(format_ratio),
            "From": t["low"].map(format_ratio),
            "To": t["high"].map(format_ratio),
            "Verdict": t["verdict"],
            "Rate now": t["rate"].map(format_share),
            "Break-even rate": [r if d else _DASH for r, d in zip(rates, dense, strict=True)],
            "Break-even price": never(t["memory_factor"], format_ratio),
        }
    )


def _readings(t: pd.DataFrame) -> pd.DataFrame:
    ratios = {c: t[c].map(format_ratio) for c in t if c not in ("reading", "against")}
    return pd.DataFrame({"Reading": t["reading"], "Against": t["against"], **ratios})


def _groups(t: pd.DataFrame) -> pd.DataFrame:
    return shown_groups(t, "series", _pm(t["sparsity_mean"], t["sparsity_std"], _points))


def _training(t: pd.DataFrame) -> pd.DataFrame:
    return shown_training(t).assign(
        Accuracy=_pm(t["accuracy_mean"], t["accuracy_std"], _points),
        Weights=t["trained"].map({True: "trained so", False: "afterwards"}).fillna(_DASH),
    )


def _runs(t: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": t["series"],
            "Seed": t["seed"].map(str),
            "Accuracy": t["accuracy"].map(_points),
            "AC": t["ac"].map(format_si),
            "Energy": t["energy_mj"].map(format_energy_mj),
            "Differing": t["differing_predictions"].map(_count),
            "Largest logit difference": t["largest_logit_difference"].map(_p),
        }
    )


def _trainings(t: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": t["series"],
            "Seed": t["seed"].map(str),
            "Epochs": t["epochs"].map(str),
            "Accuracy": t["recorded_accuracy"].map(_points),
            "Time": t["cpu_seconds"].map(lambda s: _DASH if pd.isna(s) else f"{s:,.0f} s"),
            "Machine": t["machine"].map(lambda m: m or _DASH),
            "Command": t["command"].map("`{}`".format),
        }
    )


_SHOWN: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = MappingProxyType(
    {
        "series": _series,
        "differences": _differences,
        "timesteps": _timesteps,
        "twins": _twins,
        "memories": _memories,
        "readings": _readings,
        "groups": _groups,
        "training": _training,
        "slopes": shown_slopes,
        "runs": _runs,
        "trainings": _trainings,
    }
)
