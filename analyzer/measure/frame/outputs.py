"""Class numbers from what a model returns, for the accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from analyzer.errors import AnalyzerError

__all__ = ["Score"]


class Score:
    """Samples whose class a model tells right.

    Args:
        predict: From an output to class numbers ``[B]``; by default the usual outputs are known:
            logits ``[B, classes]`` or ``[T, B, classes]``, whose mean over time is taken, alone, as
            the first of several (such as spikes and membrane potentials, or behind a loss), or
            under ``logits``.

    Attributes:
        correct: How many so far; None where some batch could not be told.
        lacking: Why, in words for people; empty where nothing lacks.
    """

    def __init__(self, predict: Callable[[Any], Any] | None) -> None:
        self.correct: int | None = 0
        self.lacking = ""
        self._predict = predict

    def add(self, output: Any, target: Any, samples: int, timesteps: int | None) -> None:
        """Adds one batch.

        Raises:
            AnalyzerError: Where ``predict`` gives no class number for each target.
        """
        if self.correct is None:
            return
        wanted = _classes_of(target, samples)
        found = None if wanted is None else self._predicted(output, samples, timesteps)
        if wanted is None or found is None:
            self.correct = None
            if target is not None:
                what = "the targets" if wanted is None else "the outputs"
                self.lacking = f"{what} are no class numbers that are known: give predict="
            return
        self.correct += int((found.cpu() == wanted.cpu()).sum())

    def _predicted(self, output: Any, samples: int, timesteps: int | None) -> Tensor | None:
        if self._predict is None:
            logits = _logits(output, samples, timesteps)
            return None if logits is None else logits.argmax(1)
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


def _logits(output: Any, samples: int, timesteps: int | None) -> Tensor | None:
    """Logits ``[B, classes]``, None where an output is not of the usual kinds."""
    if isinstance(output, Mapping) or hasattr(output, "logits"):
        named = output.get("logits") if isinstance(output, Mapping) else output.logits
        return None if named is None else _logits(named, samples, timesteps)
    if isinstance(output, (tuple, list)):
        several = (x for x in output if not (isinstance(x, Tensor) and not x.ndim))  # no losses
        first = next(several, None)
        return None if first is None else _logits(first, samples, timesteps)
    if not isinstance(output, Tensor) or output.is_complex():
        return None
    if output.ndim == 3 and output.shape[:2] == (timesteps, samples):
        output = output.float().mean(0)
    return output if output.ndim == 2 and output.shape[0] == samples else None
