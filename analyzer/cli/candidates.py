"""The models that a user's file or module may be meant to give: its classes and functions.

``analyzer profile nets.py`` names no model; the error lists what it could name. Nothing of it is
called, as a file may define much that is no model.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from analyzer.errors import AnalyzerError

__all__ = ["foreign_arguments", "needed_arguments", "unnamed", "wrongly_named"]

_MOST = 12
"""How many candidates an error lists."""

_NOT_MODELS = ("forward", "predict", "main")
"""Functions with a meaning of their own in a file of models."""


def unnamed(command: str, place: str, module: Any) -> AnalyzerError:
    """The refusal of a file or module without the name of a model, with the names to choose of."""
    found = _candidates(module)
    if not found:
        return AnalyzerError(
            f"{place} defines no model: no subclass of torch.nn.Module, and no function that may "
            f"return one. Give another file, or {place}:NAME of what it imports."
        )
    free = [name for name, what in found.items() if not needed_arguments(what)]
    if len(found) == 1:
        lead = f"{place} defines one model; name it"
    elif len(free) == 1:
        lead = f"{place} defines several models, of which {free[0]} needs no arguments; name one"
    else:
        lead = f"{place} defines several models; name one"
    return AnalyzerError(f"{lead}:\n{_listed(command, place, found)}")


def wrongly_named(command: str, place: str, name: str, module: Any) -> AnalyzerError:
    """The refusal of a name that a file or module does not define, with the nearest ones."""
    found = _candidates(module)
    near = difflib.get_close_matches(name, found, n=3)
    folded = [known for known in found if known.lower() == name.lower()]
    chosen = {known: found[known] for known in dict.fromkeys([*folded, *near])}
    lead = f"{place} has no {name!r}"
    if not found:
        return AnalyzerError(f"{lead}, and defines no model.")
    said = "did you mean" if chosen else "it defines"
    return AnalyzerError(f"{lead}; {said}:\n{_listed(command, place, chosen or found)}")


def _candidates(module: Any) -> dict[str, Any]:
    """Classes of models, models, and then functions that a module defines, by name."""
    own = {name: what for name, what in vars(module).items() if not name.startswith("_")}
    classes = {n: v for n, v in own.items() if inspect.isclass(v) and issubclass(v, nn.Module)}
    functions = {
        name: what
        for name, what in own.items()
        if inspect.isfunction(what) and name not in _NOT_MODELS and _may_return_a_model(what)
    }
    here = {
        name: what
        for name, what in (classes | functions).items()
        if what.__module__ == module.__name__
    }
    ready = {name: what for name, what in own.items() if isinstance(what, nn.Module)}
    return here | ready


def _may_return_a_model(function: Callable[..., Any]) -> bool:
    """Whether nothing says that a function returns something else."""
    said = inspect.get_annotations(function).get("return")
    if said is None:
        return "return" not in inspect.get_annotations(function)
    if isinstance(said, str):
        return "Module" in said or said.rpartition(".")[2] in function.__globals__
    return inspect.isclass(said) and issubclass(said, nn.Module)


def _listed(command: str, place: str, found: dict[str, Any]) -> str:
    lines = [f"  {command} {_spec(place, name, what)}" for name, what in found.items()]
    rest = len(lines) - _MOST
    return "\n".join([*lines[:_MOST], *([f"  and {rest} more"] if rest > 0 else [])])


def _spec(place: str, name: str, what: Any) -> str:
    """What to type for a model, quoted where a shell needs it."""
    spec = f"{place}:{name}"
    needed = needed_arguments(what)
    if needed:
        spec += f"({', '.join(f'{argument}=...' for argument in needed)})"
    return f"'{spec}'" if needed or " " in spec else spec


def needed_arguments(what: Any) -> list[str]:
    """Arguments without a default of a class or function; none of a model."""
    return [
        p.name
        for p in _parameters(what)
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def foreign_arguments(what: Any, given: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Given arguments that a class or function does not take, and those that it takes."""
    parameters = _parameters(what)
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return [], takes
    return [name for name in given if name not in takes], takes


def _parameters(what: Any) -> list[inspect.Parameter]:
    if isinstance(what, nn.Module):
        return []
    try:
        return list(inspect.signature(what).parameters.values())
    except (TypeError, ValueError):
        return []
