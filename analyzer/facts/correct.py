"""How many samples were classified correctly, as sums that join whatever part saw which batches."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Correct", "lacking_for"]


def lacking_for(what: str) -> str:
    """Why there is no accuracy, where the targets or the outputs are of no known kind."""
    return f"{what} are no class numbers that are known: give predict="


@dataclass(frozen=True, slots=True)
class Correct:
    """Samples that were classified correctly in some batches.

    Outputs over time of batches that are as long as T have two axes that may be time. Until a batch
    of another length tells which one is, both readings are kept.

    Attributes:
        known: How many of the batches that told; None where one of them could not be read.
        time_first: How many of the others, if the first axis is time.
        time_second: How many of them, if the second one is.
        axis: Which axis is time, None where no batch has told.
        lacking: Why some batch could not be read; empty where it held no targets.
    """

    known: int | None = 0
    time_first: int = 0
    time_second: int = 0
    axis: int | None = None
    lacking: str = ""

    @property
    def is_open(self) -> bool:
        """Whether no batch told which axis is time, and that makes a difference."""
        return self.axis is None and self.time_first != self.time_second

    @property
    def number(self) -> int | None:
        """How many there are in all; None where that is not known."""
        if self.known is None or self.is_open:
            return None
        return self.known + (self.time_second if self.axis else self.time_first)

    @property
    def why(self) -> str:
        """Why there is no such number, in words for people; empty where nothing lacks."""
        if self.is_open and not self.lacking:
            return "all batches are as long as T, so no axis of the outputs is time: give predict="
        return self.lacking

    def __add__(self, later: Correct) -> Correct:
        """Both, where the other saw later batches of the same run."""
        known = None if self.known is None or later.known is None else self.known + later.known
        lacking = later.lacking if self.known is not None else self.lacking
        if known is not None and None not in (self.axis, later.axis) and self.axis != later.axis:
            known, lacking = None, lacking_for("the outputs")
        return Correct(
            known,
            self.time_first + later.time_first,
            self.time_second + later.time_second,
            later.axis if self.axis is None else self.axis,
            lacking,
        )
