"""Reads the data files of technologies, conventions and memory models."""

from __future__ import annotations

import tomllib
import warnings
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from analyzer.errors import AnalyzerWarning, unknown
from analyzer.files import MIB, read_text, refused

__all__ = ["available", "read_toml", "text_of"]


def available(folder: str) -> list[str]:
    """Names of the data files in a folder of this package, sorted."""
    entries = (files("analyzer.energy") / folder).iterdir()
    return sorted(e.name.removesuffix(".toml") for e in entries if e.name.endswith(".toml"))


_RENAMED = MappingProxyType(
    {
        ("memories", "data-movement"): (
            "spyx",
            "it is how Spyx reads an earlier version of Yan et al., whose fourth version is 'yan'",
        ),
    }
)
"""Names of earlier versions, with those of today and why."""


def read_toml(folder: str, name: str, what: str) -> dict[str, Any]:
    """The content of one data file.

    Args:
        folder: ``technologies``, ``conventions`` or ``memories``.
        name: File name without its ending; or the path of a file of the user's, ``.toml``.
        what: How a message calls it, such as "technology".

    Raises:
        AnalyzerError: Where there is no such file, or it is no TOML.
    """
    if name.endswith(".toml"):
        with refused(lambda why: f"{name} is no readable {what}: {why}."):
            return tomllib.loads(read_text(name, MIB).replace("\r\n", "\n"))
    return tomllib.loads(text_of(folder, name, what))


def text_of(folder: str, name: str, what: str) -> str:
    """The text of a data file of this package, which is a start for one of the user's.

    Raises:
        AnalyzerError: Where there is no such file.
    """
    names = available(folder)
    if (folder, name) in _RENAMED:
        earlier, (name, why) = name, _RENAMED[folder, name]
        warnings.warn(f"{what} {earlier!r} is called {name!r}: {why}.", AnalyzerWarning, 2)
    if name not in names:
        raise unknown(what, name, names)
    return (files("analyzer.energy") / folder / f"{name}.toml").read_text("utf-8")
