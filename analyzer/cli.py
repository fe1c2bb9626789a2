"""The command line: parses, calls, prints."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import analyzer
from analyzer.errors import AnalyzerError, AnalyzerWarning

__all__ = ["main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Counts the operations of spiking and dense PyTorch models, and prices them.",
)


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
Convention = Annotated[str, typer.Option(help="Reading of the facts; see `conventions`.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from `analyzer models`, package.module:factory or path/to/file.py:factory.",
    ),
]


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback where something fails.")
    ] = False,
) -> None:
    """Counts the operations of spiking and dense PyTorch models, and prices them."""


@app.command("profile")
def profile_command(
    model: Model,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights: .safetensors, or .pth of plain tensors.")
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="digits|random|F.npz", help="What to profile on.")
    ] = "",
    input_shape: Annotated[
        str, typer.Option("--input", metavar="C,H,W", help="Shape of one sample.")
    ] = "",
    timesteps: Annotated[int | None, typer.Option(min=1, help="Timesteps of a pass.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 32,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to take; all of them by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random data and untrained weights.")] = 0,
    name: Annotated[str, typer.Option(help="How tables call it.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Profile to write (JSON).")
    ] = None,
) -> None:
    """Measures a model on data and saves the profile."""
    from analyzer.loading import open_data, open_model
    from analyzer.models import describe
    from analyzer.units import format_si

    shape = _shape(input_shape)
    loaded = open_model(model, checkpoint=checkpoint, timesteps=timesteps, seed=seed)
    shape = shape or loaded.input_shape
    known = ":" not in model and describe(model).input_shape[0] == 1
    batches, about = open_data(
        data or ("digits" if known else "random"),
        shape=shape,
        batch_size=batch_size,
        samples=samples,
        seed=seed,
    )
    measured = analyzer.profile(
        loaded.model, batches, timesteps=timesteps, name=name or loaded.name
    )
    metadata = {**measured.metadata, **about, "weights": loaded.weights, "seed": seed}
    measured = replace(measured, metadata=metadata)
    target = output or Path("profiles") / f"{measured.name}.json"
    measured.save(target)
    figures = measured.per_sample()
    _err().print(
        f"{measured.name}: {measured.samples} samples, "
        f"{format_si(figures['ac'])} AC and {format_si(figures['mac'])} MAC per sample; "
        f"saved {target}",
        highlight=False,
        soft_wrap=True,
    )


@app.command("compare")
def compare_command(
    profiles: Profiles,
    technology: Technology = "45nm",
    convention: Convention = "exact",
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.table,
) -> None:
    """Prints the comparative energy table."""
    from analyzer.report.entries import collect
    from analyzer.report.tables import comparison

    entries = collect([analyzer.load(path) for path in profiles], technology, convention)
    table = comparison(entries)
    if format is Format.csv:
        typer.echo(table.raw.to_csv(index=False), nl=False)
    elif format is Format.json:
        rows = table.raw.astype(object).where(table.raw.notna(), None).to_dict("records")
        typer.echo(json.dumps(rows, indent=1, allow_nan=False))
    elif format is Format.markdown:
        from analyzer.tabular import to_markdown

        typer.echo("\n\n".join([to_markdown(table.shown, align=table.align), *table.notes]))
    elif format is Format.latex:
        typer.echo(table.files()["comparison.tex"].decode(), nl=False)
    else:
        _print(table.shown.columns, table.rows, table.text)
        typer.echo("\n".join([f"{entries[0].priced.basis}. {table.caption}", *table.notes]))


@app.command("report")
def report_command(
    profiles: Profiles,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    technology: Technology = "45nm",
    convention: Convention = "exact",
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
) -> None:
    """Writes index.html, figures/ and tables/."""
    loaded = [analyzer.load(path) for path in profiles]
    try:
        from analyzer.report.page import render
    except ModuleNotFoundError as error:
        raise AnalyzerError(
            f"a report needs {error.name}: install it with pip install 'snn-analyzer[report]'."
        ) from error
    page = render(loaded, output, technology=technology, convention=convention, title=title or None)
    typer.echo(f"wrote {page}")


@app.command("train")
def train_command(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A name from `analyzer models`.")],
    epochs: Annotated[int, typer.Option(min=1)] = 40,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option()] = 0,
    log: Annotated[Path | None, typer.Option(help="Metrics, a JSON line an epoch.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Weights to write (safetensors).")
    ] = None,
) -> None:
    """Trains a reference model on the embedded digits."""
    from analyzer.train import train

    target = output or Path("runs") / f"{model}.safetensors"
    result = train(
        model, output=target, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, log=log
    )
    typer.echo(
        f"{model}: {100 * result.test_accuracy:.2f} % of the test digits; saved {result.output}"
    )


@app.command("models")
def models_command() -> None:
    """Lists the reference models."""
    from analyzer import models

    rows = []
    for name in models.names():
        card = models.describe(name)
        size = "×".join(str(n) for n in card.input_shape)
        trained = "yes" if models.weights_path(name).exists() else "–"
        rows.append([name, card.paradigm, size, str(card.timesteps), trained, card.source])
    _print(["Model", "Paradigm", "Input", "T", "Trained", "Source"], rows)


@app.command("technologies")
def technologies_command() -> None:
    """Lists the technologies with their constants and sources."""
    from analyzer.energy.technology import technology

    rows = []
    for name in analyzer.technologies():
        known = technology(name)
        for precision in known.multiply_pj:
            if precision in known.add_pj:
                ac, mac = known.ac_pj(precision), known.mac_pj(precision)
                rows.append([name, precision, f"{ac:g} pJ", f"{mac:g} pJ", known.source])
    _print(["Technology", "Format", "AC", "MAC", "Source"], rows)


@app.command("conventions")
def conventions_command() -> None:
    """Lists the conventions with their rules and sources."""
    from analyzer.energy.convention import convention

    known = [convention(name) for name in analyzer.conventions()]
    _print(["Convention", "Rules", "Source"], [[c.name, c.summary, c.source] for c in known])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line: exit code 0 on success, 1 where work failed, 2 for wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        with _plain_warnings():
            app([a for a in given if a != "--debug"])
    except AnalyzerError as error:
        if debug:
            raise
        _fail(str(error))
    except Exception as error:
        if debug:
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        _fail(f"{type(error).__name__}: {error}{notes}; --debug shows the traceback.")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows this package's warnings as a sentence; those of others as Python does."""
    with warnings.catch_warnings():
        python = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AnalyzerWarning):
                _say("warning", str(message), "yellow")
            else:
                python(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _say(kind: str, sentence: str, style: str) -> None:
    _err().print(f"{kind}: {sentence}", style=style, markup=False, highlight=False, soft_wrap=True)


def _fail(sentence: str) -> None:
    _say("error", sentence, "red")
    raise SystemExit(1)


def _err() -> Console:
    return Console(stderr=True)


def _shape(text: str) -> tuple[int, ...] | None:
    if not text:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(f"{text!r} is no shape: write it like 3,224,224.")
    return shape


def _print(columns: Any, rows: list[list[str]], words: frozenset[str] | None = None) -> None:
    """A table; one of figures, or one in a pipe, is as wide as it needs, others fold their text."""
    terminal = Console()
    table = Table(box=SIMPLE_HEAD if terminal.is_terminal else None, pad_edge=False)
    for column in columns:
        figures = words is not None and column not in words
        table.add_column(str(column), justify="right" if figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    wide = words is not None or not terminal.is_terminal
    console = Console(width=10_000) if wide else terminal
    for line in console.render_lines(table, pad=False):
        typer.echo("".join(segment.text for segment in line).rstrip())
