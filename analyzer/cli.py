"""The command line: parses, calls, prints."""

from __future__ import annotations

import ast
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import analyzer
from analyzer.errors import AnalyzerError, AnalyzerWarning

if TYPE_CHECKING:
    from analyzer.measure.verify import Row

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
    checkpoint: Checkpoint = None,
    data: Data = "",
    input_shape: InputShape = "",
    timesteps: Timesteps = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 32,
    samples: Samples = None,
    layout: Layout = "",
    mean: Mean = "",
    std: Std = "",
    seed: Seed = 0,
    name: Annotated[str, typer.Option(help="How tables call it.")] = "",
    fold: Annotated[
        bool, typer.Option(help="Whether batch norm that folds into the layer before it is free.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Profile to write (JSON).")
    ] = None,
) -> None:
    """Measures a model on data and saves the profile."""
    from analyzer.loading import open_subject
    from analyzer.units import format_si

    subject = open_subject(
        model, data, checkpoint=checkpoint, shape=_shape(input_shape), timesteps=timesteps,
        batch_size=batch_size, samples=samples, layout=layout, mean=_figures(mean),
        std=_figures(std), seed=seed,
    )  # fmt: skip
    measured = analyzer.profile(
        subject.model,
        subject.batches,
        timesteps=timesteps,
        layouts=subject.layouts,
        name=name or subject.name,
        fold_batch_norm=fold,
    )
    measured = replace(measured, metadata={**measured.metadata, **subject.about})
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


@app.command("verify")
def verify_command(
    model: Model,
    checkpoint: Checkpoint = None,
    data: Data = "",
    input_shape: InputShape = "",
    timesteps: Timesteps = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 2,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to take; one batch by default.")
    ] = None,
    layout: Layout = "",
    mean: Mean = "",
    std: Std = "",
    seed: Seed = 0,
) -> None:
    """Holds dense counts against fvcore and PyTorch's counter, events against brute force."""
    from analyzer.loading import open_subject
    from analyzer.measure.verify import verify

    subject = open_subject(
        model, data, checkpoint=checkpoint, shape=_shape(input_shape), timesteps=timesteps,
        batch_size=batch_size, samples=samples or batch_size, layout=layout, mean=_figures(mean),
        std=_figures(std), seed=seed,
    )  # fmt: skip
    found = verify(subject.model, subject.batches, timesteps=timesteps, layouts=subject.layouts)
    _print_counts(found.rows)
    typer.echo(f"{subject.name}, {found.samples} samples: {found.summary}.")
    if found.unexplained:
        typer.echo("\nWithout a known reason:\n")
        _print_counts(found.unexplained)
        count = len(found.unexplained)
        differ = "operation differs" if count == 1 else "operations differ"
        raise AnalyzerError(f"{count} {differ} without a known reason.")


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


@contextmanager
def _needing_extra(what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise AnalyzerError(
            f"{what} needs {error.name}: install it with pip install 'snn-analyzer[report]'."
        ) from error


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
    with _needing_extra("a report"):
        from analyzer.report.page import render
    page = render(loaded, output, technology=technology, convention=convention, title=title or None)
    typer.echo(f"wrote {page}")


@app.command("train")
def train_command(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A name from `analyzer models`.")],
    epochs: Annotated[int, typer.Option(min=1)] = 40,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option()] = 0,
    data: Annotated[
        str, typer.Option(help="digits, or a folder: of CIFAR (binary), or with train and val.")
    ] = "digits",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a better held-out accuracy."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")
    ] = False,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the model, such as groups=4; may be repeated."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Metrics, a JSON line an epoch.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Weights to write (safetensors).")
    ] = None,
) -> None:
    """Trains a reference model on the embedded digits, or on images of yours."""
    from analyzer.train import train

    target = output or Path("runs") / f"{model}.safetensors"
    result = train(
        model,
        output=target,
        data=data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        patience=patience,
        resume=resume,
        log=log,
        options=_options(options or []),
    )
    typer.echo(
        f"{model}: {100 * result.test_accuracy:.2f} % of the test images; saved {result.output}"
    )


def _options(settings: Iterable[str]) -> dict[str, Any]:
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


class Subject(StrEnum):
    """What there is a study of."""

    paradigms = "paradigms"


@app.command("study")
def study_command(
    subject: Annotated[Subject, typer.Argument(help="What to compare.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    samples: Samples = None,
    train_codings: Annotated[
        int, typer.Option(min=0, metavar="EPOCHS", help="Train each coding of the ablation anew.")
    ] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Render what the folder holds; measure nothing.")
    ] = False,
    technology: Technology = "45nm",
    convention: Convention = "exact",
) -> None:
    """Compares the four paradigms on one topology; trains nothing by default."""
    from analyzer.energy import convention as conventions
    from analyzer.energy import technology as technologies

    technologies.technology(technology), conventions.convention(convention)  # before hours of work
    with _needing_extra("a study"):
        from analyzer.study.rendering import read, render
    from analyzer.study.paradigms import measure

    def note(text: str) -> None:
        typer.echo(text, err=True)

    found = read(output) if again else measure(samples, train_epochs=train_codings, noted=note)
    page = render(found, output, technology=technology, convention=convention)
    typer.echo(f"wrote {page}")


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


def _figures(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no figures: write 0.5 or 0.5,0.5,0.5.") from None


def _print_counts(rows: Iterable[Row]) -> None:
    """What four observers counted; a dash where one said nothing."""
    headings = (
        "Module", "Operation", "Dense MACs", "fvcore", "torch", "Brute force", "Events",
        "Brute force", "Unary events", "Brute force", "Verdict", "Why",
    )  # fmt: skip
    cells = [
        [
            "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
            for value in astuple(row)
        ]
        for row in rows
    ]
    _print(headings, cells, frozenset({"Module", "Operation", "Verdict", "Why"}))


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
