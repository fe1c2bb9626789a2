"""Directives for what the package knows best itself: commands, functions, conventions, constants.

Each writes Markdown from the code or its data files when the site is built, so that no page repeats
what the code says.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from importlib import import_module
from types import ModuleType
from typing import Any

from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import analyzer
from analyzer.energy.declared.convention import Convention, convention
from analyzer.energy.declared.memory import MemoryModel, memory_model
from analyzer.energy.declared.technology import technology
from analyzer.energy.fitting.limits import chip

_IN_WORDS = ("name", "title", "source", "summary", "confidence", "levels", "range")


class Generated(SphinxDirective):
    """A directive whose page is written anew in each build, for the code may have changed."""

    def sections(self, text: str) -> list[Node]:
        """Markdown as part of the page.

        Where it has headings, of the second level, it must begin with one: MyST puts sections on
        the page while it reads them, before anything else that a directive returns.
        """
        self.env.note_reread()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class CommandLine(Generated):
    """All commands with their arguments and options, as Typer documents them."""

    def run(self) -> list[Node]:
        """The page that Typer writes, without its heading."""
        done = subprocess.run(
            [sys.executable, "-m", "typer", "analyzer.cli", "utils", "docs", "--name", "analyzer"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        text = done.stdout.replace("# `analyzer`", "## `analyzer`", 1).replace("{MODEL}", "MODEL")
        return self.sections(text)


class Public(Generated):
    """Names of a module, one a line: a table of them, then what each docstring says."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[Node]:
        """Directives of autosummary and autodoc."""
        home = import_module(self.arguments[0])
        summary, each = [], []
        for name in self.content:
            value = getattr(home, name)
            inside = [f"{name}.{inner}" for inner in getattr(value, "__all__", ())]
            summary += [f"   ~{home.__name__}.{one}" for one in inside or [name]]
            each.append(f".. auto{_kind(value)}:: {home.__name__}.{name}")
        lines = [".. currentmodule:: None", ".. autosummary::", "", *summary, "", *each]
        text = "\n".join(["```{eval-rst}", *lines, "```"])
        return self.sections(text)


def _kind(value: object) -> str:
    if isinstance(value, ModuleType):
        return "module"
    if isinstance(value, type):
        return "exception" if issubclass(value, Exception) else "class"
    return "function"


class Listed(Generated):
    """The data files of one kind, such as ``conventions`` or ``hardware``."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """An overview, then a section a file."""
        sections = {
            "conventions": _conventions,
            "technologies": _technologies,
            "memory-models": _memory_models,
            "hardware": _hardware,
        }[self.arguments[0]]()
        text = "\n\n".join(["## Overview", *sections])
        return self.sections(text)


def _conventions() -> Iterator[str]:
    known = [convention(name) for name in analyzer.conventions()]
    yield _overview(known)
    for one in known:
        yield _about(one)
        yield f"**Rules:** {_escaped(one.summary)}"
        yield _settings(one, Convention)


def _memory_models() -> Iterator[str]:
    known = [memory_model(name) for name in analyzer.memory_models()]
    yield _overview(known)
    for one in known:
        yield _about(one)
        yield f"**Rules:** {_escaped(one.summary)}"
        yield _settings(one, MemoryModel)
        prices = [
            [name, "any", f"{level.pj_per_bit:g} pJ a bit"]
            if level.pj_per_bit is not None
            else [
                name,
                ", ".join(f"{size:g}" for size in level.capacity_bytes),
                f"{', '.join(f'{p:g}' for p in level.word_pj)} pJ a {level.word_bits}-bit access",
            ]
            for name, level in one.levels.items()
        ]
        if prices:
            yield _table(["Level", "Bytes", "Price"], prices)


def _technologies() -> Iterator[str]:
    known = [technology(name) for name in analyzer.technologies()]
    yield _overview(known)
    for one in known:
        yield _about(one)
        if one.includes:
            yield f"**Includes:** {_escaped(one.includes)}."
        rows = []
        for figure in one.figures:
            doubt = figure.low < figure.value or figure.value < figure.high
            spread = f"{figure.low:g} to {figure.high:g}" if doubt else "–"
            unit = f"{figure.value:g} {figure.unit}"
            rows.append([f"`{figure.section}.{figure.key}`", unit, spread, figure.note or "–"])
        yield _table(["Constant", "Value", "Range of sources", "Why they differ"], rows)


def _hardware() -> Iterator[str]:
    known = [chip(name) for name in analyzer.hardware()]
    yield _overview(known)
    for one in known:
        yield _about(one)
        if one.unchecked:
            yield f"**Not checked:** {_escaped(one.unchecked)}."
        rows = [
            [f"`{limit.key}`", limit.text, limit.unit, limit.confidence, limit.source]
            for limit in one.limits.values()
        ]
        yield _table(["Limit", "Value", "What it counts", "Confidence", "Source"], rows)


def _overview(known: list[Any]) -> str:
    rows = [[f"[`{one.name}`](#{one.name})", one.title, one.confidence] for one in known]
    return _table(["Name", "What it is", "Confidence"], rows)


def _about(one: Any) -> str:
    return (
        f"## {one.name}\n\n{_escaped(one.title).rstrip('.')}.\n\n"
        f"**Source** (confidence {one.confidence}): {_escaped(one.source).rstrip('.')}."
    )


def _settings(one: Any, kind: Any) -> str:
    """What a file says that is not the default."""
    said = []
    for field in fields(kind):
        value = getattr(one, field.name)
        if field.name in _IN_WORDS or (field.default is not MISSING and value == field.default):
            continue
        shown = list(value) if isinstance(value, tuple) else value
        said.append(f"`{field.name} = {shown!r}`".replace("'", '"').replace("True", "true"))
    return f"**Settings:** {', '.join(said)}. [Keys and defaults](toml.md)."


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Text of a data file in Markdown; backticks keep their meaning."""
    return text.strip().replace("|", r"\|").replace("*", r"\*").replace("\n", " ")


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("command-line", CommandLine)
    app.add_directive("public", Public)
    app.add_directive("listed", Listed)
    return {"parallel_read_safe": True}
