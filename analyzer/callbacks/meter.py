"""``analyzer.callbacks.Meter``: figures of a model in the course of its training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from analyzer.callbacks.cadence import Cadence, Cost
from analyzer.callbacks.figures import Figures, check_prices, figures_of
from analyzer.callbacks.probing import Probe, probe_of, synchronise, unwrapped
from analyzer.callbacks.writers import writer_of
from analyzer.energy.pricing.report import EnergyReport
from analyzer.errors import AnalyzerError, AnalyzerWarning, whole_of
from analyzer.measure.frame.frame import Forward
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.tensors.randomness import random_state
from analyzer.measure.undoing import undone
from analyzer.profiles import Profile

__all__ = ["Meter"]

_ON_ERROR = (None, "raise", "warn")


class Meter:
    """Counts a model on a probe batch in the course of its training.

    Call :meth:`.Meter.step` in each step of the loop. When a probe is due, the batch runs once as
    at inference (``eval()``, no gradient, no autocast, the same random numbers each time), and the
    figures go to the logger. Afterwards all is as it was: weights, gradients, buffers, neuron
    state, training flags, hooks and random numbers. Weights after a training with a meter are
    those of one without, bit for bit. Hooks of your own see the probe pass, too.

    By default probes are spaced so that they take at most `share` of the time of training; the
    first one, which loads and compiles, is paid by degrees from half of it. :attr:`.Meter.cost`
    says what was taken. With several processes, the first alone probes.

    Args:
        model: The model that is trained. Compilation, ``DataParallel`` and
            ``DistributedDataParallel`` are looked through.
        probe: One batch or a list of batches, as :func:`analyzer.profile` takes them, or a
            ``DataLoader``, of whose data a batch of evenly spaced samples is taken. A batch of a
            few samples gives steady curves, for it is always the same.
        every: Probe at multiples of so many steps, whatever that costs; None spaces by time.
        share: The most that probes may take of the time of training where `every` is None.
        timesteps: Timesteps of one inference, as for :func:`analyzer.profile`.
        convention: Name or file of the reading of AC and MAC.
        technology: Name or file of the constants of the energy.
        precision: Number format that is priced.
        memory: Name or file of a memory model; None prices arithmetic alone.
        logger: Where figures go: the path of a CSV file; an object with ``add_scalar``, as
            TensorBoard's ``SummaryWriter``, with ``log_metrics``, as loggers of Lightning and
            MLflow have it, or with ``log``, as a run of W&B, which draws them by the figure
            ``analyzer/step``; a function of a dictionary, which is given ``step=`` if it takes
            that, and else finds ``analyzer/step`` in the dictionary; or a list of these. None keeps
            them in ``history`` alone.
        name: What the names of all figures begin with, before a slash.
        layers: Whether to log AC, MAC and energy of each module too.
        on_error: ``"raise"`` ends the training where a probe can not run or a logger fails,
            ``"warn"`` warns and goes on. None raises in the first probe, where nothing is lost yet,
            and warns later.
        samples: As for :func:`analyzer.profile`.
        loop: As for :func:`analyzer.profile`.
        layouts: As for :func:`analyzer.profile`.
        forward: As for :func:`analyzer.profile`; also where the model runs under autocast alone.
        reset: As for :func:`analyzer.profile`: called with the model before each pass; by default
            modules of spiking libraries are reset. Their state in the training is put back.

    Attributes:
        history: The figures of all probes so far, each with its ``step``, as rows for
            ``pandas.DataFrame``.
        profile: The profile of the last probe, None before the first.

    Raises:
        AnalyzerError: Where an argument does not fit.

    Example:
        >>> import torch
        >>> from analyzer.callbacks import Meter
        >>> from analyzer.models.neurons import IF
        >>> layer = torch.nn.Linear(2, 2, bias=False)
        >>> layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        >>> model = torch.nn.Sequential(layer, IF(), torch.nn.Linear(2, 3))
        >>> probe = torch.ones(2, 1, 2)  # [T, B, 2]
        >>> meter = Meter(model, probe, every=100, timesteps=2, layouts={"": "T B D"})
        >>> figures = meter.step(0)
        >>> figures["analyzer/firing_rate"]  # one of two neurons fires in each timestep
        0.5
        >>> figures["analyzer/ac"] - figures["analyzer/layer_ac/0"]  # a spike meets 3 weights
        6.0
        >>> figures["analyzer/silent/1"], meter.step(1)  # not due
        (0, None)
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        *,
        every: int | None = None,
        share: float = 0.02,
        timesteps: int | None = None,
        convention: str = "exact",
        technology: str = "45nm",
        precision: str = "fp32",
        memory: str | None = None,
        logger: Any = None,
        name: str = "analyzer",
        layers: bool = True,
        on_error: str | None = None,
        samples: DeclaredSamples = None,
        loop: bool = False,
        layouts: Mapping[str, str] | None = None,
        forward: Forward | None = None,
        reset: Callable[[nn.Module], object] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise AnalyzerError(f"a meter needs a torch.nn.Module, not {type(model).__name__}.")
        if on_error not in _ON_ERROR:
            raise AnalyzerError(f"on_error must be 'raise', 'warn' or None, not {on_error!r}.")
        check_prices(convention, technology, precision, memory)
        self._model = unwrapped(model)
        self._probe = Probe(
            self._model,
            probe_of(probe),
            {
                "timesteps": timesteps,
                "samples": samples,
                "loop": loop,
                "layouts": layouts,
                "forward": forward,
                "reset": reset,
            },
        )
        self._name = name
        self._layers = layers
        self._prices = (technology, convention, precision, memory)
        self._told_bound = False
        self._cadence = Cadence(every, share)
        self._write = writer_of([logger], name)
        self._on_error = on_error
        self.history: list[dict[str, float]] = []
        self.profile: Profile | None = None

    @property
    def cost(self) -> Cost:
        """The time that the meter took so far, and its share of the training.

        The training lasts from the first call of :meth:`.Meter.step` to the last, all that lies
        between included.
        """
        return self._cadence.cost

    def step(self, step: int) -> Figures | None:
        """Probes where that is due. Call it in each step, best after the optimizer's.

        Args:
            step: Number of the step, which loggers are given.

        Returns:
            The figures of one sample by name, None where no probe was due. They are
            ``analyzer/ac``, ``analyzer/mac`` and ``analyzer/energy_mj``; of networks that spike
            ``analyzer/firing_rate``, ``analyzer/silent_layers`` (how many never fired),
            ``analyzer/rate/<module>`` and ``analyzer/silent/<module>`` (1 where it never fired);
            and ``analyzer/layer_ac/<module>``, ``layer_mac`` and ``layer_energy_mj`` likewise. The
            root is called ``model``.

        Raises:
            AnalyzerError: Where the probe can not run or a logger fails, as `on_error` says.
        """
        number = _number_of(step)
        if not _is_first_process() or not self._cadence.is_due(number, time.perf_counter()):
            return None
        return self.measure(number)

    def measure(self, step: int) -> Figures | None:
        """Probes now, due or not; as :meth:`.Meter.step` otherwise."""
        step = _number_of(step)
        if not _is_first_process():
            return None
        # Libraries that load in the first probe may draw, and so may loggers.
        return undone(partial(self._measure, step), random_state())

    def _measure(self, step: int) -> Figures | None:
        synchronise(self._model)
        begin = time.perf_counter()
        figures: Figures | None = None
        warned: list[str] = []
        begin_again = begin
        first = self.profile is None
        model = type(self._model).__name__
        try:
            found = self._probe.run()
            if first:
                self._priced(found)  # loads and compiles, and is no measure of the next time
                begin_again = time.perf_counter()
                found = self._probe.settle(found)
            report, figures = self._priced(found)
        except Exception as error:
            failed = (
                f"the probe of {model} failed at step {step}; give the meter a probe that "
                "analyzer.profile can run, or on_error='warn' to go on without"
            )
            warned.append(self._raised_or_said(failed, error, first=first))
        else:
            self.profile = found
            self.history.append({"step": step, **figures})
            if report.is_lower_bound and not self._told_bound:
                self._told_bound = True
                notes = " ".join(report.notes)
                warned.append(
                    f"the energy that the meter of {model} logs is a lower bound: {notes}"
                )
            try:
                self._write(step, figures)
            except Exception as error:
                failed = (
                    f"a logger failed to take the figures of {model} at step {step}; mend it, or "
                    "give on_error='warn' to go on without"
                )
                warned.append(self._raised_or_said(failed, error, first=first))
        end = time.perf_counter()
        self._cadence.probed(step, begin, end, expected_s=end - begin_again)
        for text in warned:
            warnings.warn(text, AnalyzerWarning, stacklevel=5)
        return figures

    def _priced(self, profile: Profile) -> tuple[EnergyReport, Figures]:
        report = profile.energy(*self._prices)
        return report, figures_of(profile, report, self._name, layers=self._layers)

    def _raised_or_said(self, failed: str, error: Exception, *, first: bool) -> str:
        """What failed and why, in words; raised where `on_error` says so."""
        reason = f"{error}" if isinstance(error, AnalyzerError) else f"{_said(error)}."
        if self._on_error == "raise" or (self._on_error is None and first):
            raise AnalyzerError(f"{failed}: {reason}") from error
        return f"{failed}: {reason}"

    def __repr__(self) -> str:
        technology, convention, precision, _ = self._prices
        priced = f"convention {convention}, {technology} {precision}"
        return f"Meter({type(self._model).__name__}, {priced}; {self.cost})"


def _number_of(step: Any) -> int:
    number = whole_of(step)
    if number is None:
        raise AnalyzerError(f"step must be the number of a step, such as 3, not {step!r}.")
    return number


def _is_first_process() -> bool:
    """Whether this is the process that logs, where several train together."""
    distributed = torch.distributed
    several = distributed.is_available() and distributed.is_initialized()
    return not several or distributed.get_rank() == 0


def _said(error: Exception) -> str:
    """An error of the model's or logger's in one line, with what a profile notes of its place."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    notes = getattr(error, "__notes__", [])
    return f"{said} ({'; '.join(notes)})" if notes else said
