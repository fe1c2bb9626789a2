"""What settles the frame of a batch: passes that are not counted, and how many there may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from analyzer.errors import AnalyzerError, undo_all
from analyzer.measure.frame.evidence import Evidence, Listener
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.tensors.held import Guard, Held
from analyzer.measure.tensors.restore import kept
from analyzer.measure.torch_private.modes import pushed
from analyzer.measure.undoing import Undo

__all__ = ["MOST_ATTEMPTS", "kept_batch", "looked_at", "unsettled"]

MOST_ATTEMPTS = 4
"""Passes over the first batch: in the frame that is assumed, and in those that it shows."""


def unsettled() -> AnalyzerError:
    """Where each pass over the first batch shows another frame than the one before."""
    return AnalyzerError(
        "how many samples and timesteps a batch holds can not be settled: give timesteps= and "
        "samples=."
    )


def looked_at(
    frame: Frame, listener: Listener, batch: Batch, run: Callable[[], Any]
) -> tuple[Any, Evidence]:
    """The output of a plain pass, of which only shapes remain, and what the pass shows."""
    guard, put_back = kept(frame.model)
    put_batch_back = kept_batch(batch, guard)
    with (
        Undo(put_back, put_batch_back),
        torch.no_grad(),
        pushed(guard),
        listener.listening(batch.tensors) as evidence,
    ):
        output = frame.joined(run())
    return output, evidence


def kept_batch(batch: Batch, guard: Guard) -> Callable[[], None]:
    """What puts a batch back as it is now."""
    objects, given = batch.kept_objects(), [Held(x) for x in batch.tensors]
    for held in given:
        guard.watch(held)

    return partial(undo_all, [objects, *(held.restore for held in given)])
