"""What was recorded, as a profile."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from analyzer.errors import AnalyzerWarning
from analyzer.facts.records import Tally
from analyzer.measure.frame.frame import Frame
from analyzer.measure.metadata import metadata_of
from analyzer.measure.watch.recorder import Recorder
from analyzer.profiles import Profile

__all__ = ["listed", "profile_of", "warn_of_uncovered"]


def profile_of(
    frame: Frame,
    recorder: Recorder,
    *,
    samples: int,
    input_shape: list[int],
    resets: str,
    about: dict[str, Any],
    correct: int | None,
    name: str | None,
) -> Profile:
    """The profile of what was recorded."""
    warn_of_uncovered(recorder.uncounted)
    return Profile(
        samples=samples,
        metadata=metadata_of(frame.model, name, frame.timesteps.number, input_shape)
        | recorder.memory
        | {
            "passes": recorder.passes,
            "unknown_neurons": list(recorder.unknown_neurons),
            "frame": frame.as_metadata(resets),
        }
        | about,
        contractions=tuple(recorder.contractions),
        tallies=tuple(recorder.tallies),
        uncounted=tuple(recorder.uncounted),
        groups=recorder.groups,
        correct=correct,
        sent=tuple(recorder.sent),
        layers=recorder.layers,
    )


def warn_of_uncovered(uncounted: Iterable[Tally]) -> None:
    """Warns of arithmetic that no rule covers, where there is any."""
    names = sorted({tally.op for tally in uncounted})
    if not names:
        return
    warnings.warn(
        f"no rule covers {', '.join(names)}: that arithmetic is listed in Profile.uncovered and in "
        "no total.",
        AnalyzerWarning,
        stacklevel=3,
    )


def listed(paths: list[str]) -> str:
    """Some modules and their verb: that they keep."""
    names = [repr(path) if path else "(the model itself)" for path in paths[:3]]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"module{'s' if len(paths) > 1 else ''} {', '.join(names)}{more} " + (
        "keep" if len(paths) > 1 else "keeps"
    )
