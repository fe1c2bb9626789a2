"""``analyzer.SynOps``: the accumulates of a forward pass as a figure that has a gradient.

A penalty on it trains a network to spend fewer accumulates. The figure itself is what a profile
would count, by the same rules and geometry. Its gradient is that of a sum: a spike costs its
fan-out, or where it meets other spikes the number of those, and from the spikes the gradient goes
on through the surrogate of the neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError, undo_all, unknown
from analyzer.measure.frame.evidence import Listener
from analyzer.measure.frame.frame import Frame
from analyzer.measure.frame.inputs import Batch
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.training.spike_pass import Reading, SpikePass
from analyzer.measure.undoing import Intercepted, Undoable, undone
from analyzer.measure.watch.compiler import uncompiled

__all__ = ["SynOps"]


class SynOps:
    """Counts the accumulates of a model's forward passes, with a gradient.

    In the block every forward pass of the model is counted; what else runs there is not. On spikes
    the figures are those of a profile of the same batch, to the last integer (while they are below
    2^53, for they are float64): ``profile.totals["ac"]`` under the same convention. Operations that
    no spikes drive are multiply-accumulates and add nothing, so an ANN has zero.

    The gradient of a spike is its fan-out, divided by the size of the spike; where spikes meet
    spikes it is the number of those that it meets. A spike that was not fired has the same
    gradient, except where spikes have both signs: then it has none. Neurons need a surrogate
    gradient, as for any training; operands without a gradient are counted and pass none on. A
    compiled model runs operation by operation in the block. Replicas on other devices, which run in
    threads of their own, are not counted. Spikes whose size differs from timestep to timestep are
    told from graded values only where T is declared, here or by the model.

    Args:
        model: The model, in any mode.
        convention: ``"exact"`` counts non-zeros of spikes. ``"unary"`` also counts graded values,
            such as summed spikes or the levels of a network that is trained without a time axis,
            as so many spikes.
        soft: Glob patterns of the paths of modules that read fractions of spikes, such as a smooth
            activation in place of a neuron. A real value there is counted as that part of a spike;
            elsewhere operations on real values are no accumulates.
        timesteps: As for :func:`analyzer.profile`.
        layouts: As for :func:`analyzer.profile`.
        samples: As for :func:`analyzer.profile`, of each forward pass.

    Raises:
        AnalyzerError: Where the model or a setting is none; on leaving a forward pass, where the
            samples can not be told, or an operand is NaN or infinite or was overwritten after it
            was read.

    Example:
        >>> import torch
        >>> import analyzer
        >>> model = torch.nn.Linear(6, 3)
        >>> spikes = torch.eye(4, 6, requires_grad=True)  # 4 samples with one spike each
        >>> with analyzer.SynOps(model) as ops:
        ...     loss = model(spikes).square().mean() + 1e-3 * ops.per_sample()
        >>> loss.backward()  # and a step of any optimizer
        >>> ops.total().item(), ops.per_sample().item()  # each of 4 spikes meets 3 outputs
        (12.0, 3.0)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        convention: Reading = "exact",
        soft: Sequence[str] = (),
        timesteps: int | None = None,
        layouts: Mapping[str, str] | None = None,
        samples: DeclaredSamples = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise AnalyzerError(f"SynOps needs a torch.nn.Module, not {type(model).__name__}.")
        if convention not in get_args(Reading):
            raise unknown("convention", convention, get_args(Reading))
        self._model = model
        self._convention: Reading = convention
        self._soft = (soft,) if isinstance(soft, str) else tuple(soft)
        self._frame = Frame.declare(model, timesteps=timesteps, layouts=layouts, samples=samples)
        self._listener = Listener(model)
        self._block = _Block(model, self._call)
        self._running = False
        self._passes = self._samples = 0
        self._one_step = False
        self._found: dict[str, Tensor] = {}

    def __enter__(self) -> SynOps:
        if self._block.in_use:
            raise AnalyzerError("this SynOps is in use: leave its block first, or make another.")
        self._passes = self._samples = 0
        self._one_step = False
        self._found = {}
        try:
            self._block.__enter__()
            return self
        except BaseException:
            self._block.leave()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._block.leave()
        finally:  # an interrupt may have ended the first
            self._block.leave()

    def total(self) -> Tensor:
        """Accumulates of all forward passes so far: float64, without axes.

        Raises:
            AnalyzerError: Where no forward pass ran to its end in the block.
        """
        if not self._passes:
            raise AnalyzerError(
                f"SynOps saw no forward pass of this {type(self._model).__name__}: call the model "
                "itself in the block, before the count is asked for."
            )
        return sum(self._found.values(), torch.zeros((), dtype=torch.float64))

    def per_sample(self, samples: int | None = None) -> Tensor:
        """Accumulates of one sample, the mean over those of all passes so far.

        Args:
            samples: How many samples passed. By default those of each pass are added up, which is
                not what is meant where a sample takes several passes, as in a loop over timesteps.

        Raises:
            AnalyzerError: Where no forward pass ran to its end in the block, or the samples are
                not known.
        """
        total = self.total()
        if samples is None and self._one_step and self._passes > 1:
            raise AnalyzerError(
                "each pass is one timestep of its neurons, so how many samples passed is not "
                "known: give per_sample(samples=)."
            )
        number = self._samples if samples is None else samples
        if number < 1:
            raise AnalyzerError(f"accumulates of one sample are not known of {number} samples.")
        return total / number

    def by_module(self) -> dict[str, Tensor]:
        """Accumulates by the path of the module that ran them, where spikes drove any."""
        return dict(self._found)

    def _call(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Runs and counts one forward pass of the model."""
        if self._running:  # the model calls itself
            return forward(*args, **kwargs)
        return undone(
            partial(self._count, forward, args, kwargs),
            partial(setattr, self, "_running", False),
            flags=False,  # those are the caller's
        )

    def _count(self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        self._running = True
        batch = Batch(args, dict(kwargs))
        frame = self._frame.assumed(batch, self._passes)
        samples = frame.samples_of(batch, self._passes)
        watched = SpikePass(self._model, self._convention, self._soft, frame, samples)
        with self._listener.listening(batch.tensors) as seen, watched.running(batch.tensors):
            output = forward(*args, **kwargs)
        one = bool(seen.steps) and set(seen.steps.values()) == {1}
        if one:  # the loop over time is the caller's
            seen.steps.clear()
            seen.runs.clear()
        told = frame.settled(batch, output, seen, number=self._passes)
        found = told.samples_of(batch, self._passes)
        if watched.multiplies and found != samples:
            raise AnalyzerError(
                f"{type(self._model).__name__} computes some of its spikes once for all samples, "
                f"and their number, {found}, showed only after the pass: give samples= or layouts=."
            )
        self._one_step = self._one_step or one
        self._passes += 1
        self._samples += found
        for path, count in watched.figures():
            self._found[path] = self._found[path] + count if path in self._found else count
        return output


class _Block(Undoable):
    """Hands every call of a model to a function, and has nothing of it compiled."""

    def __init__(self, model: nn.Module, call: Callable[..., Any]) -> None:
        # Compiled code does not call the model.
        self._parts = uncompiled(), Intercepted(model, call)

    def begin(self) -> None:
        for part in self._parts:
            part.__enter__()

    def undo(self) -> None:
        undo_all(part.leave for part in reversed(self._parts))
