"""Makes a class a callback of a trainer that may not be installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Self

from analyzer.callbacks.writers import picklable
from analyzer.errors import AnalyzerError

__all__ = ["Callback"]


class Callback:
    """A class that gets a base of another library's when an object of it is made.

    So it can be imported and documented where that library is not installed.

    Attributes:
        base: Name of the base.
        homes: Modules that have such a base, each one of its own. All that are loaded count; where
            none is, the first that is installed.
        install: What pip is to install where none is.
    """

    base: ClassVar[str]
    homes: ClassVar[tuple[str, ...]]
    install: ClassVar[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An object that is of the other library's class too.

        Raises:
            AnalyzerError: Where the library is not installed.
        """
        kind: Any = cls
        made: Self = object.__new__(_with_base(kind))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        if "_options" in state:
            options = state["_options"]
            state["_options"] = options | {"logger": picklable(options.get("logger"))}
        return _again, (type(self).__mro__[1],), state


def _again(cls: type[Callback]) -> Callback:
    """What is unpickled, before its attributes."""
    return cls.__new__(cls)


@cache
def _with_base(cls: type[Any]) -> type[Any]:
    bases = _bases(cls.base, cls.homes)
    if not bases:
        raise AnalyzerError(
            f"{cls.__name__} needs {cls.install}: install it with pip install {cls.install}."
        )
    about = {"__doc__": cls.__doc__, "__module__": cls.__module__}
    return type(cls.__name__, (cls, *bases), about)


def _bases(base: str, homes: Sequence[str]) -> list[type]:
    loaded = [home for home in homes if home in sys.modules]
    found: list[type] = []
    for home in loaded or homes:
        try:
            found.append(getattr(import_module(home), base))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != home.partition(".")[0]:
                raise
        if found and not loaded:
            break
    return found
