"""Where the figures of a meter go: TensorBoard, W&B, CSV, loggers of trainers, functions."""

from __future__ import annotations

import inspect
import pickle
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from analyzer.callbacks.csv_file import CsvFile
from analyzer.callbacks.figures import Figures
from analyzer.errors import AnalyzerError, AnalyzerWarning

__all__ = ["Writer", "picklable", "writer_of"]

Writer = Callable[[int, Figures], object]
"""Takes the number of a step and its figures."""


def writer_of(logger: Any, prefix: str) -> Writer:
    """What writes figures to a logger.

    Args:
        logger: None writes nowhere. A path is a CSV file. An object with ``add_scalar`` is written
            to as TensorBoard's ``SummaryWriter``, one with ``define_metric`` and ``log`` as a run
            of W&B, one with ``log_metrics`` as a logger of Lightning or MLflow. Another ``log``, or
            a function, is called with a dictionary, and with ``step=`` where it has such an
            argument; where it has none, the dictionary holds ``<prefix>/step``. A list or a tuple
            are several of these.
        prefix: What the names of the figures begin with.

    Raises:
        AnalyzerError: Where it is none of these.
    """
    if logger is None:
        return _Several([])
    if isinstance(logger, (list, tuple)):
        return _Several([writer_of(one, prefix) for one in logger])
    if isinstance(logger, (str, Path)):
        return CsvFile(logger).write
    if callable(getattr(logger, "add_scalar", None)):
        return partial(_add_scalars, logger)
    run = _run_of(logger)
    if run is not None:
        return _Run(run, prefix)
    for method in ("log_metrics", "log"):
        if callable(getattr(logger, method, None)):
            return partial(_call, getattr(logger, method), prefix)
    if callable(logger):
        return partial(_call, logger, prefix)
    raise AnalyzerError(
        f"the logger is a {type(logger).__name__}, and must be the path of a CSV file, an object "
        "with add_scalar, log_metrics or log, or a function that takes a dictionary."
    )


class _Trial(threading.local):
    """Whether this thread tries to pickle a logger."""

    runs = False


_TRIAL = _Trial()


def picklable(logger: Any) -> Any:
    """Loggers or writers without those that can not be pickled, of which a warning tells.

    Args:
        logger: One, or a list of them.

    Returns:
        The same, a list of those that can be, or None where it can not be.
    """
    if isinstance(logger, (list, tuple)):
        return [kept for one in logger if (kept := picklable(one)) is not None]
    if logger is None or _TRIAL.runs:  # such as the log of a trainer that has the meter
        return None
    _TRIAL.runs = True
    try:
        pickle.dumps(logger)
    except Exception as error:
        warnings.warn(
            "a logger of a meter can not be pickled "
            f"({type(error).__name__}: {error}), so what is pickled writes to the others alone.",
            AnalyzerWarning,
            stacklevel=3,
        )
        return None
    finally:
        _TRIAL.runs = False
    return logger


class _Run:
    """Writes to a run of W&B, or to its module.

    A run counts its rows itself and discards what is logged for an earlier one, so the step is a
    figure, by which the others are drawn.
    """

    def __init__(self, run: Any, prefix: str) -> None:
        self._run = run
        self._prefix = prefix
        self._defined = False

    def __call__(self, step: int, figures: Figures) -> None:
        name = f"{self._prefix}/step"
        if not self._defined:
            self._run.define_metric(name)
            self._run.define_metric(f"{self._prefix}/*", step_metric=name)
            self._defined = True
        self._run.log({name: step, **figures})


def _run_of(logger: Any) -> Any:
    """The run of W&B that a logger is, or whose ``log`` it is; None where it is neither."""
    bound = getattr(logger, "__self__", None) if getattr(logger, "__name__", "") == "log" else None
    for run in (logger, bound):
        if all(callable(getattr(run, method, None)) for method in ("define_metric", "log")):
            return run
    return None


class _Several:
    """Writes to several, also to those behind one that fails; raises the first error then."""

    def __init__(self, writers: list[Writer]) -> None:
        self._writers = writers

    def __call__(self, step: int, figures: Figures) -> None:
        failed = []
        for write in self._writers:
            try:
                write(step, figures)
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _Several, (picklable(self._writers),)


def _add_scalars(logger: Any, step: int, figures: Figures) -> None:
    for name, value in figures.items():
        logger.add_scalar(name, value, step)


def _call(function: Callable[..., object], prefix: str, step: int, figures: Figures) -> None:
    """Calls with the figures, and tells the step in the way that the function has for it."""
    if _takes_step(function):
        function(dict(figures), step=step)
    else:
        function({f"{prefix}/step": step, **figures})


def _takes_step(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some of those that are written in C
        return False
    named = parameters.get("step")
    if named is not None:
        return named.kind is not inspect.Parameter.POSITIONAL_ONLY
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
