"""Class numbers from what a model returns, for the accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError
from analyzer.facts.correct import Correct, lacking_for

__all__ = ["Score"]


class Score:
    """Samples whose class a model tells right.

    Args:
        predict: From an output to class numbers ``[B]``; by default the usual outputs are known:
            logits ``[B, classes]``, ``[T, B, classes]`` or ``[B, T, classes]``, whose mean over
            time is taken, alone, as the first of several (such as spikes and membrane potentials,
            or behind a loss), or under ``logits``.
    """

    def __init__(self, predict: Callable[[Any], Any] | None) -> None:
        self._correct: int | None = 0
        self._lacking = ""
        self._predict = predict
        self._time_axis: int | None = None
        self._square = [0, 0]  # of batches as long as T: if time is first, and if it is second

    @property
    def found(self) -> Correct:
        """How many so far."""
        first, second = self._square
        return Correct(self._correct, first, second, self._time_axis, self._lacking)

    def add(self, output: Any, target: Any, samples: int, timesteps: int | None) -> None:
        """Adds one batch.

        Raises:
            AnalyzerError: Where ``predict`` gives no class number for each target.
        """
        if self._correct is None:
            return
        wanted = _classes_of(target, samples)
        if wanted is None:
            self._lacks("the targets" if target is not None else "")
            return
        if self._predict is not None:
            self._correct += _hits(self._predicted(output, samples), wanted)
            return
        logits = _logits(output)
        if logits is not None and logits.ndim == 3:
            if logits.shape[:2] == (samples, samples) and samples == timesteps:
                for axis in (0, 1):
                    self._square[axis] += _hits(logits.mean(axis).argmax(1), wanted)
                return
            logits = self._mean_over_time(logits, samples, timesteps)
        if logits is None or logits.shape[0] != samples:
            self._lacks("the outputs")
        else:
            self._correct += _hits(logits.argmax(1), wanted)

    def _lacks(self, what: str) -> None:
        self._correct = None
        if what:
            self._lacking = lacking_for(what)

    def _mean_over_time(self, logits: Tensor, samples: int, timesteps: int | None) -> Tensor | None:
        """Logits ``[B, classes]``; None where no axis is time, or another one than before."""
        axes = {(timesteps, samples): 0, (samples, timesteps): 1}
        axis = axes.get((logits.shape[0], logits.shape[1]))
        if axis is None or self._time_axis not in (None, axis):
            return None
        self._time_axis = axis
        return logits.mean(axis)

    def _predicted(self, output: Any, samples: int) -> Tensor:
        assert self._predict is not None
        with torch.no_grad():
            found = self._predict(output)
        if not isinstance(found, Tensor) or found.shape != (samples,):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise AnalyzerError(
                f"predict must return the class numbers of {samples} samples as one tensor, "
                f"not {shape}."
            )
        return found


def _classes_of(target: Any, samples: int) -> Tensor | None:
    """Class numbers of integer, one-hot or soft targets."""
    if isinstance(target, list) and all(type(x) is int for x in target):
        target = torch.tensor(target)
    if not isinstance(target, Tensor) or target.shape[:1] != (samples,):
        return None
    if target.ndim == 2 and target.shape[1] > 1 and bool((target >= 0).all()):
        total = target.sum(1)
        return target.argmax(1) if bool(((total - 1).abs() < 1e-3).all()) else None
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    whole = not target.is_floating_point() and not target.is_complex()
    return target if target.ndim == 1 and whole else None


def _hits(found: Tensor, wanted: Tensor) -> int:
    return int((found.cpu() == wanted.cpu()).sum())


def _logits(output: Any) -> Tensor | None:
    """Logits, also over time; None where an output is not of the usual kinds."""
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        named = output.get("logits") if isinstance(output, Mapping) else output.logits
        return None if named is None else _logits(named)
    if isinstance(output, (tuple, list)):
        several = (x for x in output if not (isinstance(x, Tensor) and not x.ndim))  # no losses
        first = next(several, None)
        return None if first is None else _logits(first)
    if not isinstance(output, Tensor) or output.is_complex() or output.is_nested:
        return None
    return output.float() if output.ndim == 3 else output if output.ndim == 2 else None
