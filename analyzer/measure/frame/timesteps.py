"""How many timesteps one inference has: as declared, else as its neurons show, else unknown."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.measure.frame.evidence import Evidence

__all__ = ["Timesteps", "check_timesteps", "declared_timesteps", "settled_timesteps"]


@dataclass(frozen=True)
class Timesteps:
    """T of one inference.

    Attributes:
        number: T, None where nothing tells.
        source: What told, in words for people.
        given: Whether the caller or the model declared it.
    """

    number: int | None
    source: str
    given: bool = False


def declared_timesteps(
    model: nn.Module, given: int | None, by_layout: int | None = None
) -> Timesteps:
    """T as the caller gives it, else as the model's own attribute or the layout of its input says.

    Args:
        model: The model.
        given: What the caller gave.
        by_layout: Length of the time axis of the model's input, where its layout names one.

    Raises:
        AnalyzerError: Where T is no positive integer, or the input has another number of steps.
    """
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        raise AnalyzerError(f"timesteps must be a positive integer, not {given!r}.")
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
    return Timesteps(number, source, given=True)


def settled_timesteps(
    declared: Timesteps, evidence: Evidence, *, has_state: bool, number: int
) -> Timesteps:
    """T by all that is known after a pass.

    Args:
        declared: T as declared, if it is.
        evidence: What the pass showed.
        has_state: Whether modules of no known library carry state through the pass.
        number: Of the batch, for errors.

    Raises:
        AnalyzerError: Where no neuron ran as often as was declared.
    """
    steps = evidence.steps
    if declared.number is not None:
        _check(declared, evidence, number)
        return declared
    repeated = next((path for path, n in evidence.runs.items() if n > 1), None)
    if not steps:
        if repeated is not None:
            return Timesteps(None, f"nothing tells: module {repeated!r} runs more than once")
        if has_state:
            return Timesteps(None, "nothing tells: modules keep state of their own")
        return Timesteps(1, "no neuron, no state and no layer that runs twice")
    least = min(steps.values())
    odd = next((p for p, n in (steps | evidence.runs).items() if n > 1 and n % least), None)
    if odd is not None:
        at = next(path for path, n in steps.items() if n == least)
        return Timesteps(
            None,
            f"nothing tells: neuron {at!r} runs over {least} timesteps a pass, and module {odd!r} "
            f"{(steps | evidence.runs)[odd]} times",
        )
    return Timesteps(least, _told(evidence, least))


def check_timesteps(known: Timesteps, evidence: Evidence, number: int) -> None:
    """Checks that the neurons of a later batch run over as many timesteps as those of the first.

    Raises:
        AnalyzerError: Where they do not.
    """
    if known.given:
        _check(known, evidence, number)
    elif known.number is not None and evidence.steps:
        least = min(evidence.steps.values())
        again = known.number == 1 and set(evidence.calls.values()) == set(evidence.steps.values())
        if least != known.number and not again:  # a layer that runs again is no second timestep
            raise AnalyzerError(
                f"the batches before had {known.number} timesteps, and in batch {number} "
                f"{_told(evidence, least)}: profile batches of different T apart."
            )


def _check(declared: Timesteps, evidence: Evidence, number: int) -> None:
    """Refuses a declared T that neurons contradict: nothing ran so often."""
    steps, wanted = evidence.steps, declared.number
    assert wanted is not None
    calls = evidence.runs | evidence.calls
    confirms = any(
        n % wanted == 0 and wanted % (n // calls[path]) == 0
        for path, n in (evidence.runs | steps).items()
    )
    if not steps or (confirms and (wanted > 1 or min(steps.values()) == 1)):
        return
    least = min(steps.values())
    remedy = f"give timesteps={least}"
    if least == 1 and set(evidence.calls.values()) == {1}:
        remedy = (
            f"give loop=True to run the model {wanted} times, or timesteps=1 if one step is all"
        )
    raise AnalyzerError(
        f"{declared.source} says T = {wanted}, but nothing ran {wanted} times in batch {number}: "
        f"{_told(evidence, least)}; {remedy}."
    )


def _told(evidence: Evidence, least: int) -> str:
    """The neuron that ran over the fewest timesteps, in words."""
    at = next(path for path, n in evidence.steps.items() if n == least)
    name = repr(at) if at else "that is the model"
    return f"neuron {name} runs over {least} timestep{'s' if least > 1 else ''} a pass"
