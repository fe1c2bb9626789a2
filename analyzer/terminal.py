"""How far long work has come, as a terminal or a log shows it.

:func:`progress` shows a bar on a terminal or in a notebook, lines in a log, or nothing; rich
counts, estimates the speed and draws.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from analyzer.errors import AnalyzerError
from analyzer.inert import printable

__all__ = ["Shown", "Steps", "console_of", "progress"]

_EVERY_S = 10.0
"""Seconds between two lines of a log."""


def console_of(*, stderr: bool = False, width: int | None = None) -> Console:
    """Draws on a terminal, and leaves names such as ``m:key:z``, of which rich makes an emoji."""
    return Console(stderr=stderr, width=width, emoji=False)


class Shown(StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    log = "log"
    off = "off"

    @classmethod
    def of(cls, given: bool | str | None) -> Shown:
        """How progress is shown where a caller says yes, no, how, or nothing.

        Raises:
            AnalyzerError: If there is no such way.
        """
        if given is None:
            return cls.auto
        if not isinstance(given, str):
            return cls.bar if given else cls.off
        if given not in list(cls):
            raise AnalyzerError(f"progress must be one of {', '.join(cls)}, not {given!r}.")
        return cls(given)


class Steps:
    """Counts the steps of some work; :func:`progress` makes one."""

    def __init__(self, shown: Progress, doing: str, total: int | None, log: Console | None) -> None:
        self._shown = shown
        self._log = log
        self._units = 0
        self._earlier = 0
        self._begun = False
        self._task: TaskID = shown.add_task(printable(doing), total=total, said="")
        self._printed = time.monotonic()

    def name(self, doing: str) -> None:
        """Says what is done now."""
        self._shown.update(self._task, description=printable(doing))

    def next(self, doing: str) -> None:
        """Says what is done next; what was said to be done before is."""
        if self._begun:
            self.done()
        self._begun = True
        self.name(doing)

    def done(self, *, units: int = 0, unit: str = "samples", said: str = "") -> None:
        """Counts a step.

        Args:
            units: What it worked on, such as samples; shown as a speed.
            unit: What these are.
            said: What else is worth to know now, such as the loss.
        """
        self._units += units
        self._shown.advance(self._task)
        (task,) = self._shown.tasks
        parts = [said] if said else []
        here = task.completed - self._earlier
        if self._units and task.speed and here:
            parts.insert(0, f"{task.speed * self._units / here:,.4g} {unit}/s")
        self._shown.update(self._task, said=", ".join(parts))
        if self._log is not None and time.monotonic() - self._printed >= _EVERY_S:
            self.print()

    def completed(self, number: int) -> None:
        """Counts steps that were done before, such as in an earlier run; they tell no speed."""
        self._earlier = number
        self._shown.update(self._task, completed=number)

    def end(self) -> None:
        """Counts the step begun last, and no longer those that there was nothing to do for."""
        if self._begun:
            self.done()
            (task,) = self._shown.tasks
            self._shown.update(self._task, total=task.completed)

    def print(self) -> None:
        """Prints a line that says how far the work has come, where there is a log."""
        if self._log is None:
            return
        self._printed = time.monotonic()
        (task,) = self._shown.tasks
        of = "" if task.total is None else f" of {task.total:g}"
        parts = [f"{task.description}: {task.completed:g}{of}"]
        parts += [task.fields["said"]] if task.fields["said"] else []
        if task.time_remaining:
            minutes, seconds = divmod(round(task.time_remaining), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        line = printable(", ".join(parts))
        self._log.print(line, markup=False, highlight=False, soft_wrap=True)


_SHOWING: ContextVar[bool] = ContextVar("showing", default=False)
"""Whether progress is shown already: of work inside of other work, only the outer is."""


@contextmanager
def progress(doing: str, total: int | None, shown: bool | str | None = None) -> Iterator[Steps]:
    """Shows on standard error how far the work in the block has come.

    Args:
        doing: What is done, in a word or two.
        total: How many steps there are, None where that is not known.
        shown: ``bar``, where there is a terminal or a notebook that can show one, else ``log``;
            ``log``, a line at the beginning, every ten seconds and at the end; ``off``; or
            ``auto``, a bar on a terminal and nothing elsewhere. True means ``bar``, False ``off``,
            None ``auto``.

    Yields:
        What counts the steps.
    """
    console = console_of(stderr=True)
    how = Shown.of(shown)
    if how is Shown.auto:
        how = Shown.bar if console.is_terminal and not _SHOWING.get() else Shown.off
    elif how is Shown.bar and not _draws(console):
        how = Shown.log
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        console=console,
        transient=True,
        disable=how is not Shown.bar,
    )
    token = _SHOWING.set(_SHOWING.get() or how is not Shown.off)
    try:
        with bar:
            steps = Steps(bar, doing, total, console if how is Shown.log else None)
            steps.print()
            yield steps
            steps.end()
        steps.print()
    finally:
        _SHOWING.reset(token)


def _draws(console: Console) -> bool:
    """Whether a bar can be drawn over and over; a notebook needs ipywidgets for it."""
    return console.is_terminal or (
        console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    )
