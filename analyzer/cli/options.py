"""What commands are given: options, and values out of text."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from analyzer.errors import AnalyzerError


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    json = "json"


Profiles = Annotated[
    list[Path], typer.Argument(metavar="PROFILE...", help="Files that `analyzer profile` wrote.")
]
Technology = Annotated[str, typer.Option(help="Constants to price with; see `technologies`.")]
Precision = Annotated[str, typer.Option(help="Number format that is priced, such as int8.")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="M",
        help="Memory model to price with, such as 'data-movement(weight_bits=4)'; "
        "see `memory-models`. Arithmetic alone by default.",
    ),
]
Convention = Annotated[str, typer.Option(help="Reading of the facts; see `conventions`.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from `analyzer models`, package.module:factory or path/to/file.py:factory, "
        "with arguments such as 'file.py:factory(num_classes=10)' if it needs any.",
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights: .safetensors, or .pth of plain tensors.")
]
Data = Annotated[
    str,
    typer.Option(metavar="digits|random|F.npz|F.npy|DIR", help="What to measure on."),
]
InputShape = Annotated[
    str, typer.Option("--input", metavar="C,H,W", help="Shape of one sample.", show_default=False)
]
Timesteps = Annotated[int | None, typer.Option(min=1, help="Timesteps of a pass.")]
Samples = Annotated[
    int | None, typer.Option(min=1, help="Samples to take; all of them by default.")
]
Layout = Annotated[
    str, typer.Option(metavar="'T B C H W'", help="Axes of the model's input.", show_default=False)
]
Mean = Annotated[
    str, typer.Option(metavar="M,M,M", help="Subtracted from the channels.", show_default=False)
]
Std = Annotated[
    str, typer.Option(metavar="S,S,S", help="Divides the channels.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Of random data and untrained weights.")]


def options_of(settings: Iterable[str]) -> dict[str, Any]:
    """``key=value`` with a plain Python value."""
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            if not (equals and key.isidentifier()):
                raise ValueError
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise AnalyzerError(
                f"--set {setting!r} is not understood: write key=value, such as groups=4."
            ) from None
    return found


def shape_of(text: str) -> tuple[int, ...] | None:
    """``3,224,224``; None for nothing."""
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(f"{text!r} is no shape: write it like 3,224,224.")
    return shape


def figures_of(text: str) -> tuple[float, ...]:
    """``0.5,0.5``; nothing for nothing."""
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no figures: write 0.5 or 0.5,0.5,0.5.") from None


@contextmanager
def needing_extra(what: str) -> Iterator[None]:
    """Says what to install where drawing needs a package that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise AnalyzerError(
            f"{what} needs {error.name}: install it with pip install 'snn-analyzer[report]'."
        ) from error
