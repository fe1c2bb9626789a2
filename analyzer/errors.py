"""The one error family: every refusal is a sentence that says what, where and what to do."""

import difflib
from collections.abc import Sequence

__all__ = ["AnalyzerError", "AnalyzerWarning", "unknown"]


class AnalyzerError(Exception):
    """Work that could not be done; the message is meant for the user as it stands."""


class AnalyzerWarning(UserWarning):
    """Something the user should know about a figure that was produced all the same."""


def unknown(what: str, name: str, known: Sequence[str]) -> AnalyzerError:
    """The refusal of a name that is not known, with the nearest ones or else all there are."""
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    elif len(known) == 1:
        hint = f"there is only {known[0]!r}."
    else:
        hint = f"there are {', '.join(known)}."
    return AnalyzerError(f"unknown {what} {name!r}: {hint}")
