"""The errors and warnings of this package, and how work is undone whatever is raised meanwhile."""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "AnalyzerError",
    "AnalyzerWarning",
    "reason_of",
    "refuse_unless_whole",
    "undo_all",
    "unknown",
    "whole_of",
]


_LONG = re.compile(r"\S{400,}")
"""What stands in a message as one word and is too long to read, such as a key of a damaged file."""


def _cut(word: re.Match[str]) -> str:
    return f"{word[0][:150]}…{word[0][-50:]}"


class AnalyzerError(Exception):
    """Something could not be done. The message says what was wrong, where, and what to do.

    All functions of this package raise it where arguments, a model, data or a file do not fit, so
    that a caller can catch it and show the message. Anything else that is raised is a defect, or
    was raised by the model that was run.

    Example:
        >>> import analyzer
        >>> try:
        ...     analyzer.load("none.json")
        ... except analyzer.AnalyzerError as error:
        ...     print(error)
        no profile at none.json: make it with `analyzer profile`.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_LONG.sub(_cut, str(message)))


class AnalyzerWarning(UserWarning):
    """A figure was produced, but the user should know something about it.

    Such as layers that were counted without a known layout. It is shown as Python shows warnings;
    a script that should stop instead turns it into an error.

    Example:
        >>> import analyzer, warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", analyzer.AnalyzerWarning)  # raise it instead
    """


def refuse_unless_whole(name: str, value: object) -> None:
    """Refuses what is no whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise AnalyzerError(f"{name} is {value!r}: give a whole number from 1.")


def whole_of(value: Any) -> int | None:
    """A whole number as one of Python's, also where it is NumPy's or a tensor's; None for others.

    Example:
        >>> import numpy as np
        >>> whole_of(np.int64(4)), whole_of(4.0), whole_of(True)
        (4, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def reason_of(error: BaseException) -> str:
    """What an error says, without the number and the path that Python puts around it."""
    return str(getattr(error, "strerror", None) or error)


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


def undo_all(steps: Iterable[Callable[[], object]]) -> None:
    """Runs all steps; one that raises does not keep the others from running.

    A step that an interrupt (Ctrl-C, or any error that is no ``Exception``) ends in its midst runs
    once more, so each must be one that may run twice.

    Raises:
        BaseException: The first interrupt; without one the first error.
    """
    failed: list[Exception] = []
    stopped: list[BaseException] = []
    for step in steps:
        for _ in range(2):
            try:
                step()
            except Exception as error:
                failed.append(error)
            except BaseException as stop:
                stopped.append(stop)
                continue
            break
    for first in (*stopped, *failed):
        raise first
