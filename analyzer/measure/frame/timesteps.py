"""How many timesteps one inference has: as declared, else as its neurons show, else unknown."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from analyzer.errors import AnalyzerError, whole_of
from analyzer.measure.frame.evidence import Evidence
from analyzer.measure.frame.inputs import Batch

__all__ = [
    "Timesteps",
    "check_merged",
    "check_timesteps",
    "declared_timesteps",
    "settled_timesteps",
]


@dataclass(frozen=True)
class Timesteps:
    """T of one inference.

    Attributes:
        number: T, None where nothing tells.
        source: What told, in words for people.
        given: Whether the caller or the model declared it.
        confirmed: Whether the layout of the model's input has a time axis of this length.
    """

    number: int | None
    source: str
    given: bool = False
    confirmed: bool = False


def declared_timesteps(
    model: nn.Module, given: int | None, by_layout: int | None = None
) -> Timesteps:
    """T as the caller gives it, else as the model's own attribute or the layout of its input says.

    Raises:
        AnalyzerError: Where T is no positive integer, or the input has another number of steps.
    """
    if given is not None:
        whole = whole_of(given)
        if whole is None or whole < 1:
            raise AnalyzerError(f"timesteps must be a positive integer, not {given!r}.")
        given = whole
    own = getattr(model, "timesteps", None)
    own = own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else None
    number = own if given is None else given
    source = "the model's attribute timesteps" if given is None else "timesteps="
    if by_layout is not None:
        if number not in (None, by_layout):
            raise AnalyzerError(
                f"the input has {by_layout} timesteps on its axis T, and {source} says {number}: "
                f"give timesteps={by_layout}, or an input of {number} timesteps."
            )
        number, source = by_layout, source if number else "the time axis of the input"
    if number is None:
        return Timesteps(None, "nothing")
    return Timesteps(number, source, given=True, confirmed=by_layout is not None)


def settled_timesteps(declared: Timesteps, evidence: Evidence, *, number: int) -> Timesteps:
    """T by all that is known after a pass.

    Args:
        declared: T as declared, if it is.
        evidence: What the pass showed.
        number: Of the batch, for errors.

    Raises:
        AnalyzerError: Where no neuron ran as often as was declared, or neurons are in different
            step modes.
    """
    if declared.number is not None:
        _check(declared, evidence, number)
        return declared
    _check_modes(evidence, number)
    repeated = next((path for path, n in evidence.runs.items() if n > 1), None)
    if not evidence.steps:
        if repeated is not None:
            return Timesteps(None, f"nothing tells: module {repeated!r} runs more than once")
        if evidence.has_state:
            return Timesteps(None, "nothing tells: modules keep state of their own")
        if evidence.unknown:
            name = repr(evidence.unknown[0]) if evidence.unknown[0] else "that is the model"
            return Timesteps(None, f"nothing tells: neuron {name} is of no known kind")
        return Timesteps(1, "no neuron, no state and no layer that runs twice")
    steps = _telling(evidence)
    least = min(steps.values())
    counts = steps | evidence.runs
    odd = next((path for path, n in counts.items() if n > 1 and n % least), None)
    if odd is None and least == 1:  # the neuron that runs again may run over time, or not
        odd = next((path for path, n in steps.items() if n > 1), None)
    if odd is not None:
        at = next(path for path, n in steps.items() if n == least)
        several = "timesteps" if least > 1 else "timestep"
        return Timesteps(
            None,
            f"nothing tells: neuron {at!r} runs over {least} {several} a pass, and module {odd!r} "
            f"{counts[odd]} times",
        )
    return Timesteps(least, _told(evidence, least))


def check_timesteps(known: Timesteps, evidence: Evidence, number: int) -> None:
    """Checks that the neurons of a later batch run over as many timesteps as those of the first."""
    if known.given:
        _check(known, evidence, number)
    elif known.number is not None and evidence.steps:
        _check_modes(evidence, number)
        least = min(_telling(evidence).values())
        again = known.number == 1 and set(evidence.calls.values()) == set(evidence.steps.values())
        if least != known.number and not again:  # a layer that runs again is no second timestep
            raise AnalyzerError(
                f"the batches before had {known.number} timesteps, and in batch {number} "
                f"{_told(evidence, least)}: profile batches of different T apart."
            )


def check_merged(batch: Batch, samples: int, evidence: Evidence) -> None:
    """Refuses a neuron that runs on from one sample to the next as if all were one sequence."""
    first = batch.first
    if first is None or first.ndim < 3 or samples < 2 or samples not in first.shape[:2]:
        return
    length = first.shape[0] * first.shape[1]
    for path, (steps, others, _) in evidence.over_time.items():
        if steps == length > samples and others != samples:
            raise AnalyzerError(
                f"neuron {path!r} runs over {steps} timesteps, which are the two leading axes of "
                f"the input of shape {tuple(first.shape)} in one, so it carries its state from "
                f"sample to sample: give it [T, B, ...], such as by x.unflatten(0, ({samples}, "
                f"{length // samples})).transpose(0, 1) where samples are outermost."
            )


def _check(declared: Timesteps, evidence: Evidence, number: int) -> None:
    """Refuses a declared T that neurons contradict: nothing ran so often."""
    _check_modes(evidence, number)
    wanted = declared.number
    assert wanted is not None
    if not evidence.steps:
        _check_layers(declared, wanted, evidence, number)
        return
    if _is_confirmed(declared, wanted, evidence):
        return
    least = min(_telling(evidence).values())
    remedy = f"give timesteps={least}"
    if least == 1 and set(evidence.calls.values()) == {1}:
        remedy = (
            f"give loop=True to run the model {wanted} times, or timesteps=1 if one step is all"
        )
    elif declared.confirmed:
        remedy += (
            f", or, where the axis of {least} is the samples, put T and B in the layout where the "
            'model reads them, such as layouts={"": "T B C H W"}'
        )
    raise AnalyzerError(
        f"{declared.source} says T = {wanted}, but nothing ran {wanted} times in batch {number}: "
        f"{_told(evidence, least)}; {remedy}."
    )


def _check_layers(declared: Timesteps, wanted: int, evidence: Evidence, number: int) -> None:
    """Refuses a T that is no number of rounds of a loop which all layers run in."""
    times = next(iter(evidence.runs.values()), 1)
    if wanted > 1 and set(evidence.runs.values()) == {times} and times % wanted:
        if times == 1 or not wanted % times:  # a call may hold several timesteps
            return
        raise AnalyzerError(
            f"{declared.source} says T = {wanted}, but every layer ran {times} times in batch "
            f"{number}: give timesteps={times}."
        )


def _is_confirmed(declared: Timesteps, wanted: int, evidence: Evidence) -> bool:
    """Whether something ran exactly T times, or several times over T timesteps."""
    steps, calls = evidence.steps, evidence.calls
    each = {path: n // calls[path] for path, n in steps.items()}
    if wanted == 1:
        return min(steps.values()) == 1
    if any(wanted in (n, each[path]) for path, n in steps.items()):
        return True
    # Layers tell timesteps only where the model loops over them.
    looped = set(each.values()) == {1}
    if looped and wanted in evidence.runs.values():
        # Where all layers ran T times, neurons may run once more, such as before the first one.
        together = set(evidence.runs.values()) == {wanted} and wanted <= min(steps.values())
        return together or all(n % wanted == 0 for n in steps.values())
    return declared.confirmed and any(
        n % wanted == 0 and wanted % each[path] == 0 for path, n in steps.items()
    )


def _check_modes(evidence: Evidence, number: int) -> None:
    """Refuses a neuron that takes for one timestep what other neurons take for several."""
    for path, (*leading, ndim) in evidence.at_once.items():
        alike = ndim if leading[0] == leading[1] else None  # else lengths tell axes apart
        shape = tuple(leading)
        other = next(
            (
                p
                for p, read in evidence.over_time.items()
                if read[:2] == shape and alike in (None, read[2])
            ),
            None,
        )
        if other is not None:
            raise AnalyzerError(
                f"in batch {number}, neuron {path!r} reads a tensor that begins with {shape} as "
                f"one timestep, and neuron {other!r} reads one as {evidence.steps[other]} "
                "timesteps, so they are in different step modes: set one mode for all, such as "
                "spikingjelly's functional.set_step_mode(model, 'm')."
            )


def _telling(evidence: Evidence) -> dict[str, int]:
    """Timesteps of the neurons that tell T.

    Where some take several timesteps in one call, one that runs once runs before or behind time.
    """
    steps, calls = evidence.steps, evidence.calls
    several = any(n > calls[path] for path, n in steps.items())
    return {path: n for path, n in steps.items() if n > 1} if several else steps


def _told(evidence: Evidence, least: int) -> str:
    """The neuron that ran over the fewest timesteps, in words."""
    at = next(path for path, n in evidence.steps.items() if n == least)
    name = repr(at) if at else "that is the model"
    return f"neuron {name} runs over {least} timestep{'s' if least > 1 else ''} a pass"
