"""The command ``study``: comparisons made with the reference networks, one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from analyzer.cli.interruption import kept
from analyzer.cli.options import (
    Convention,
    Progress,
    Samples,
    Technology,
    examples,
    needing_extra,
)
from analyzer.cli.show import put, tell
from analyzer.terminal import Shown

app = typer.Typer(
    no_args_is_help=True,
    help="Compares paradigms, or the published networks, or rebuilds published energies.",
    epilog=examples(
        "One network in four paradigms, with the weights of this package:",
        "analyzer study paradigms -o reports/paradigms",
        "Published energies, rebuilt from the figures that lead to them:",
        "analyzer study reproduction -o reports/reproduction",
    ),
)

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
Again = Annotated[
    bool, typer.Option("--again", help="Render what the folder holds; measure nothing.")
]


def _check_names(technology: str, convention: str = "exact") -> None:
    """Refuses unknown names now, and not after hours of work."""
    from analyzer.energy.declared import convention as conventions
    from analyzer.energy.declared import technology as technologies

    technologies.technology(technology), conventions.convention(convention)


def _noted(shown: Shown) -> Callable[[str], None]:
    """Says what is measured next; on a terminal a bar of each measurement follows."""
    return (lambda text: None) if shown is Shown.off else tell


@app.command(
    "paradigms",
    epilog=examples(
        "On the digits, with the weights of this package:",
        "analyzer study paradigms -o reports/paradigms --samples 60",
        "Several seeds that you trained, on Fashion-MNIST:",
        "analyzer study paradigms --runs runs/ --data fashion-mnist -o out/",
        "Pages and figures again, of what was measured:",
        "analyzer study paradigms -o reports/paradigms --again",
    ),
)
def paradigms_command(
    output: Output,
    data: Annotated[
        str, typer.Option(metavar="digits|fashion-mnist", help="What to measure on.")
    ] = "digits",
    samples: Samples = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder of trained weights to compare: several seeds, and their logs."),
    ] = None,
    train_codings: Annotated[
        int, typer.Option(min=0, metavar="EPOCHS", help="Train each coding of the ablation anew.")
    ] = 0,
    again: Again = False,
    technology: Technology = "45nm",
    convention: Convention = "exact",
    progress: Progress = Shown.auto,
) -> None:
    """Compares one network as an ANN, converted, trained by STBP, and as Ge²mS-T."""
    _check_names(technology, convention)
    with needing_extra("a study"):
        from analyzer.study.rendering import read, render
        from analyzer.study.runs import rendering as of_runs
    from analyzer.study.paradigms import measure

    if runs is not None or (again and of_runs.is_in(output)):
        if runs is not None and again:
            raise typer.BadParameter("--again renders what is there, and --runs measures.")
        if train_codings:
            raise typer.BadParameter("--runs takes trained weights, so it trains no codings.")
        if runs is not None:
            from analyzer.study.runs.measure import measure as measure_runs

            with kept(lambda: _profiles_in(output)):
                measure_runs(runs, output, data=data, samples=samples, noted=_noted(progress))
        found_runs = of_runs.read(output)
        page = of_runs.render(found_runs, output, technology=technology, convention=convention)
        put(f"wrote {page}")
        return
    if again:
        found = read(output)
    else:
        found = measure(samples, data=data, train_epochs=train_codings, noted=_noted(progress))
    page = render(found, output, technology=technology, convention=convention)
    put(f"wrote {page}")


@app.command(
    "published",
    epilog=examples(
        "All published networks, one random image each; takes hours:",
        "analyzer study published -o reports/published",
        "The page again, of what was measured, at 7 nm:",
        "analyzer study published -o reports/published --again --technology 7nm",
    ),
)
def published_command(
    output: Output,
    again: Again = False,
    technology: Technology = "45nm",
    progress: Progress = Shown.auto,
) -> None:
    """Profiles the published networks and sets them side by side."""
    _check_names(technology)
    with needing_extra("a study"):
        from analyzer.study import published

    if not again:
        with kept(lambda: _profiles_in(output)):
            published.measure(output, noted=_noted(progress))
    put(f"wrote {published.render(published.read(output), output, technology=technology)}")


@app.command(
    "reproduction",
    epilog=examples(
        "Published energies, rebuilt from dense work and firing rates:",
        "analyzer study reproduction -o reports/reproduction",
        "And what one of them is made of:",
        "analyzer compare reports/reproduction/profiles --convention rate",
    ),
)
def reproduction_command(output: Output) -> None:
    """Rebuilds published energies from the figures that lead to them."""
    with needing_extra("a study"):
        from analyzer.study import reproduction

    put(f"wrote {reproduction.render(output)}")


def _profiles_in(output: Path) -> str:
    """What an interrupted study leaves, and how it goes on."""
    number = len(list((output / "profiles").glob("*.json.gz")))
    if not number:
        return "nothing was measured yet"
    return (
        f"{number} profile{'s' if number > 1 else ''} in {output / 'profiles'} are kept, and the "
        "same command goes on from there"
    )
