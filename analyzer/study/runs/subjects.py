"""What the study of trained runs measures: each run, and what else its weights can be run as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from analyzer.report.folder import stem_of
from analyzer.study.runs.collection import ANN, CONVERTED, OURS, STBP
from analyzer.train.records import TrainedRun

__all__ = ["CONVERSION_STEPS", "OTHER_STEPS", "Subject", "subjects"]

CONVERSION_STEPS = (2, 4, 8, 16, 32)
"""Numbers of timesteps that an ANN is converted to."""

OTHER_STEPS = (2, 8)
"""Further numbers of timesteps that networks trained at one are run at."""

_LETTERS = MappingProxyType({"groups": "G", "steps": "K", "max_spikes": "m"})


@dataclass(frozen=True)
class Subject:
    """One network to profile.

    Attributes:
        run: Where its weights come from.
        model: Its name in ``analyzer.models``.
        options: The options that it is built with.
        series: What tables call it; the same for all seeds.
        trained: Whether its weights were trained as this network, not put on it afterwards.
    """

    run: TrainedRun
    model: str
    series: str
    trained: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its profile is called."""
        return f"{self.series}, seed {self.run.seed}"

    @property
    def file(self) -> str:
        """The name of the file of its profile."""
        return f"{stem_of(f'{self.series} s{self.run.seed}')}.json.gz"


def subjects(
    runs: Sequence[TrainedRun],
    converted: Sequence[int] = CONVERSION_STEPS,
    other_steps: Sequence[int] = OTHER_STEPS,
) -> Iterator[Subject]:
    """All networks that the weights of some runs are measured as."""
    for run in runs:
        series = " ".join([run.name, *_settings(run)])
        yield Subject(run, run.name, series, trained=True, options=run.options)
        if run.options or run.synops_weight:
            continue
        if run.name == ANN:
            for steps in converted:
                yield Subject(run, CONVERTED, f"{CONVERTED} T={steps}", False, {"timesteps": steps})
        elif run.name in (OURS, STBP):
            for steps in other_steps:
                yield Subject(run, run.name, f"{run.name} T={steps}", False, {"timesteps": steps})


def _settings(run: TrainedRun) -> Iterator[str]:
    """The settings that differ from the model's own, as short words."""
    for key, value in run.options.items():
        yield f"{_LETTERS.get(key, key)}={value}"
    if run.synops_weight:
        yield f"w={run.synops_weight:g}"
