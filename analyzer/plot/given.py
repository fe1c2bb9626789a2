"""What the functions of ``analyzer.plot`` are given, checked once for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile

__all__ = ["answer_of", "profiles_of"]


def profiles_of(given: Any) -> list[Profile]:
    """The profiles of an argument: one, or several.

    Raises:
        AnalyzerError: If there is none, or it is something else.
    """
    if isinstance(given, Profile):
        return [given]
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | dict)
    found = list(given) if several else [given]
    wrong = next((each for each in found if not isinstance(each, Profile)), None)
    if wrong is not None:
        raise AnalyzerError(
            f"a figure is drawn of profiles, not of {type(wrong).__name__}: load files with "
            "analyzer.load first."
        )
    if not found:
        raise AnalyzerError("nothing to draw: give at least one profile.")
    return found


def answer_of(given: Any, kind: type, question: str) -> None:
    """Refuses what another question returned, or none."""
    if not isinstance(given, kind):
        raise AnalyzerError(
            f"this figure is drawn of what analyzer.{question} returned, not of "
            f"{type(given).__name__}."
        )
