"""When a meter probes, and the time that it took."""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.errors import AnalyzerError, whole_of

__all__ = ["Cadence", "Cost"]


_OF_SHARE = 0.9
"""Part of a share that probes take. The rest is for asking in each step whether one is due."""


@dataclass(frozen=True)
class Cost:
    """The time that a meter took of a training.

    Attributes:
        probes: How often the probe batch ran for a figure, the first included.
        start_s: Seconds of the first probe. It runs the batch twice or three times, to learn what
            later ones need not look for, and in a new process loads and compiles what counting
            needs.
        probes_s: Seconds of all later probes, writing of their figures included.
        training_s: Seconds of the training since the first probe, without the probes.

    Example:
        >>> from analyzer.callbacks import Cost
        >>> cost = Cost(probes=4, start_s=2.0, probes_s=0.9, training_s=100.0)
        >>> print(cost)
        4 probes: 0.90 s of 100.0 s of training (0.90 %), and 2.00 s for the first (2.90 % in all).
    """

    probes: int
    start_s: float
    probes_s: float
    training_s: float

    @property
    def share(self) -> float:
        """Time of all probes but the first over that of the training without them."""
        return self.probes_s / self.training_s if self.training_s else 0.0

    @property
    def whole_share(self) -> float:
        """Time of all probes, the first included, over that of the training without them."""
        return (self.start_s + self.probes_s) / self.training_s if self.training_s else 0.0

    def __str__(self) -> str:
        return (
            f"{self.probes} probe{'' if self.probes == 1 else 's'}: {self.probes_s:.2f} s of "
            f"{self.training_s:.1f} s of training ({self.share:.2%}), and {self.start_s:.2f} s "
            f"for the first ({self.whole_share:.2%} in all)."
        ).replace("%", " %")


class Cadence:
    """Decides at which steps a meter probes.

    With `every` these are its multiples, and the first step that is seen. Without, probes are
    spaced so that they take at most `share` of the time of training: what a probe takes is known
    from the last one, and is waited for before. As long as the first probe, which takes far longer,
    is not paid, half of the share pays it; so a long training stays below the share in all.

    Args:
        every: Steps between two probes; None spaces them by time.
        share: The most that probes may take, as a share of the time of training.

    Raises:
        AnalyzerError: Where one of the two is out of its range.
    """

    def __init__(self, every: int | None, share: float) -> None:
        whole = whole_of(every)
        if every is not None and (whole is None or whole < 1):
            raise AnalyzerError(f"every must be a number of steps, 1 or more, not {every!r}.")
        number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if not (number and 0 < share <= 1):
            raise AnalyzerError(
                f"share must be a share of the time of training, such as 0.02, not {share!r}."
            )
        self._every = whole
        self._share = _OF_SHARE * share
        self._probes = 0
        self._start_s = self._probes_s = self._training_s = 0.0
        self._expected_s = 0.0
        self._last_step = 0
        self._last_training_s = 0.0
        self._since: float | None = None

    @property
    def cost(self) -> Cost:
        """What was taken so far."""
        return Cost(self._probes, self._start_s, self._probes_s, self._training_s)

    def is_due(self, step: int, now: float) -> bool:
        """Whether to probe at a step.

        Args:
            step: Number of the step.
            now: A clock, in seconds.
        """
        if self._since is None:
            return True
        self._training_s += now - self._since
        self._since = now
        if self._every is not None:
            return step // self._every != self._last_step // self._every
        waited_s = self._training_s - self._last_training_s
        # Enough for the next probe, so that after a long pause there are not many at once.
        if waited_s * self._share < self._expected_s:
            return False
        allowed_s = self._share * self._training_s
        budget_s = max(allowed_s - self._start_s, allowed_s / 2)
        return self._probes_s + self._expected_s <= budget_s

    def probed(self, step: int, begin: float, end: float, expected_s: float) -> None:
        """Notes a probe.

        Args:
            step: Number of the step.
            begin: The clock when it began, in seconds.
            end: The clock when its figures were written.
            expected_s: Seconds that the next one will take.
        """
        if self._since is None:
            self._start_s = end - begin
        else:
            self._training_s += begin - self._since  # none was asked for, or a GPU was waited for
            self._probes_s += end - begin
        self._probes += 1
        self._expected_s = expected_s
        self._last_step = step
        self._last_training_s = self._training_s
        self._since = end
