"""Factories of the user's: ``package.module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analyzer.cli.candidates import foreign_arguments, needed_arguments, wrongly_named
from analyzer.cli.hosting import hosted, said
from analyzer.errors import AnalyzerError
from analyzer.facts.sent import listed
from analyzer.specs import literals

__all__ = ["Factory", "is_place", "module_of"]


@dataclass(frozen=True)
class Factory:
    """A function that makes a model: the module or file it is in, its name and its arguments."""

    place: str
    name: str
    arguments: dict[str, Any]

    @classmethod
    def parse(cls, spec: str) -> Factory:
        """Reads ``place:name`` or ``place:name(key=value)``."""
        found = re.fullmatch(r"(?P<place>.+?):(?P<name>[^\W\d]\w*)(?P<call>\(.*\))?", spec, re.S)
        if found is None:
            raise AnalyzerError(
                f"{spec!r} names no model: write package.module:factory or "
                "path/to/file.py:factory, with arguments such as (num_classes=10) if it needs any."
            )
        return cls(found["place"], found["name"], literals(spec, found["call"] or "()"))

    def build(self, *, on_meta: bool = False, command: str = "") -> tuple[Any, nn.Module]:
        """Calls the factory; if the name is a module object already, takes it.

        Args:
            on_meta: Whether to try first without memory for its weights.
            command: What was typed before the model, for errors.

        Returns:
            The module or file that it is in, and the model.
        """
        # The factory itself may import files beside its own, so the path must stay until it ends.
        with module_of(self.place) as module:
            return module, self._called(module, on_meta, command)

    def _called(self, module: Any, on_meta: bool, command: str) -> nn.Module:
        spec, place = f"{self.place}:{self.name}", self.place
        factory = getattr(module, self.name, None)
        if factory is None:
            raise wrongly_named(command, place, self.name, module)
        if isinstance(factory, nn.Module) and not self.arguments:
            return factory
        if isinstance(factory, nn.Module) or not callable(factory):
            raise AnalyzerError(f"{spec} is {type(factory).__name__}: name a function or a class.")
        self._check(spec, factory)
        if on_meta:  # the file was imported outside, so that its constants have values
            with suppress(Exception), hosted(spec), torch.device("meta"):
                built = factory(**self.arguments)
                if isinstance(built, nn.Module):
                    return built
        try:
            with hosted(spec):
                model = factory(**self.arguments)
        except AnalyzerError:
            raise
        except Exception as error:
            raise AnalyzerError(f"{spec} raised {said(error)}.") from error
        if not isinstance(model, nn.Module):
            raise AnalyzerError(f"{spec} returned {type(model).__name__}, not a torch.nn.Module.")
        return model

    def _check(self, spec: str, factory: Any) -> None:
        """Raises an error if the factory does not take the given arguments or needs others."""
        foreign, takes = foreign_arguments(factory, self.arguments)
        if foreign:
            known = listed(takes) or "nothing"
            raise AnalyzerError(f"{spec} takes no {listed(foreign)}; it takes {known}.")
        needed = [name for name in needed_arguments(factory) if name not in self.arguments]
        if needed:
            raise AnalyzerError(
                f"{spec} needs arguments ({', '.join(needed)}): give them as in "
                f"'{spec}({needed[0]}=...)'."
            )


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise AnalyzerError(f"there is no file {path} to take a model from.")
    # A user's file named like a loaded module, such as random.py, must not replace it.
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.resolve().parent}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AnalyzerError(f"{path} can not be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with hosted(f"importing {path}"):
            spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, AnalyzerError) or not isinstance(error, Exception):
            raise
        raise AnalyzerError(f"importing {path} raised {said(error)}.") from error
    return module


def _import_name(name: str) -> Any:
    try:
        with hosted(f"importing {name!r}"):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AnalyzerError(
            f"module {name!r} can not be imported ({error}): give package.module:factory or "
            "path/to/file.py:factory."
        ) from error
    except AnalyzerError:
        raise
    except Exception as error:
        raise AnalyzerError(f"importing {name!r} raised {said(error)}.") from error


@contextmanager
def module_of(place: str) -> Iterator[Any]:
    """A module by its name or its file; in the block the files beside it can be imported too.

    Raises:
        AnalyzerError: If it can't be imported.
    """
    file = Path(place) if place.endswith(".py") else None
    folder = str((Path.cwd() if file is None else file.parent).resolve())
    sys.path.insert(0, folder)
    try:
        yield _import_name(place) if file is None else _import_file(file)
    finally:
        _forget(folder)


def is_place(text: str) -> bool:
    """Whether text is a Python file or the name of a module that can be imported from here."""
    if text.endswith(".py"):
        return True
    if not all(part.isidentifier() for part in text.split(".")):
        return False
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        with hosted(f"importing {text!r}"):  # the packages around it
            return importlib.util.find_spec(text) is not None
    except AnalyzerError:
        raise
    except Exception:
        return False
    finally:
        _forget(folder)


def _forget(folder: str) -> None:
    """Takes a folder off the path, if the user's code left it there."""
    if folder in sys.path:
        sys.path.remove(folder)
