"""Commands that show what is already known, without loading torch.

``compare`` and ``report`` price saved profiles; ``models``, ``technologies``, ``conventions`` and
``memory-models`` list what the package knows, with the sources.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import analyzer
from analyzer.cli.options import (
    AnyProfiles,
    Format,
    Pricing,
    Profiles,
    expand_options,
    files_of,
    needing_extra,
)
from analyzer.cli.show import print_table, terminal_width

if TYPE_CHECKING:
    from analyzer.energy.comparison import Comparison
    from analyzer.models import Published

app = typer.Typer()


@app.command("compare")
@expand_options()
def compare_command(
    profiles: Profiles,
    pricing: Pricing,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.table,
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="Columns, such as ac,mac,energy_mj,accuracy.")
    ] = "",
    baseline: Annotated[str, typer.Option(help="Model that ratios are against.")] = "",
    sort: Annotated[
        str, typer.Option(help="Column to sort by; with - in front the greatest first.")
    ] = "",
) -> None:
    """Prints the comparative energy table."""
    from analyzer.energy.compare import compare
    from analyzer.entries import named_apart, spikes_in_words

    loaded = named_apart([analyzer.load(path) for path in files_of(profiles)])
    found = compare(
        loaded,
        **asdict(pricing),
        columns=[name.strip() for name in columns.split(",")] if columns else None,
        baseline=baseline or None,
        sort=sort or None,
    )
    if format is Format.csv:
        typer.echo(found.to_csv(), nl=False)
    elif format is Format.json:
        frame = found.frame
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        typer.echo(json.dumps(rows, indent=1, allow_nan=False))
    elif format is Format.markdown:
        typer.echo(found.to_markdown())
    elif format is Format.latex:
        typer.echo(found.to_latex(), nl=False)
    else:
        _print_comparison(found, chosen=bool(columns))
        fired = {profile.name: spikes_in_words(profile) for profile in loaded}
        lines = [f"{name}: {words}." for name, words in fired.items() if words]
        typer.echo("\n".join([*lines, *found.notes]))


def _print_comparison(found: Comparison, *, chosen: bool) -> None:
    """Prints a comparison as wide as the terminal, and says what it leaves out for that."""
    width = terminal_width()
    kept, gone = (None, []) if chosen or width is None else found.fitting(width)
    shown = found.shown(kept)
    print_table(shown.columns, shown.to_numpy().tolist(), frozenset({"Model"}))
    left_out = (
        [f"Left out to fit {width} columns: {', '.join(gone)}; see --columns."] if gone else []
    )
    typer.echo("\n".join([*left_out, f"Priced: {found.basis}."]))


@app.command("report")
@expand_options()
def report_command(
    pricing: Pricing,
    profiles: AnyProfiles = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make the report in DIR again; say whether it differs."),
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "",
    width: Annotated[
        str, typer.Option(metavar="INCHES|JOURNAL", help="Of figures: ieee, acm, neurips, nature.")
    ] = "page",
    font: Annotated[str, typer.Option(help="Of figures: sans, serif, or a font's name.")] = "",
    only: Annotated[
        str, typer.Option(metavar="NAMES", help="Figures to draw, such as energy,layers.")
    ] = "",
) -> None:
    """Writes index.html, figures/, tables/ and profiles/; or checks such a folder."""
    if check is not None:
        if profiles or output:
            raise typer.BadParameter("--check takes a folder and nothing else.")
        _check(check)
        return
    if not profiles or output is None:
        raise typer.BadParameter("give profiles and --output, or --check and a folder.")
    loaded = [analyzer.load(path) for path in files_of(profiles)]
    with needing_extra("a report"):
        from analyzer.report.page import render
    page = render(
        loaded,
        output,
        **asdict(pricing),
        title=title or None,
        width=float(width) if width.replace(".", "", 1).isdigit() else width,
        font=font or None,
        only=[name.strip() for name in only.split(",")] if only else None,
    )
    typer.echo(f"wrote {page}")


def _check(folder: Path) -> None:
    with needing_extra("a report"):
        from analyzer.report.check import check
    found = check(folder)
    typer.echo("\n".join(found.sentences))
    if not found.passed:
        raise typer.Exit(1)


@app.command("models")
def models_command() -> None:
    """Lists the reference models."""
    from analyzer import models

    rows = []
    for name in models.names():
        card = models.describe(name)
        found = models.published(name)
        best = next(
            (p for p in found if p.timesteps == card.timesteps), found[0] if found else None
        )
        rows.append(
            [
                name,
                card.paradigm,
                "×".join(str(n) for n in card.input_shape),
                str(card.timesteps),
                f"{card.parameters:,}",
                "yes" if models.weights_path(name).exists() else "–",
                "–" if best is None or best.top1 is None else f"{best.top1:g} %",
                "–" if best is None or best.energy_mj is None else f"{best.energy_mj:.2f} mJ",
                "–" if best is None else _measured_at(best),
                card.source,
            ]
        )
    print_table(
        [
            "Model", "Paradigm", "Input", "T", "Parameters", "Trained", "Published top-1",
            "Published energy", "at", "Source",
        ],
        rows,
    )  # fmt: skip
    typer.echo(
        "\nPublished figures follow the rules of their papers; those with * were read in a copy.\n"
        "analyzer.models.published(name) has all of them, with their sources."
    )


def _measured_at(found: Published) -> str:
    """The resolution and T of a published figure, as far as its source says; ``*`` marks a copy."""
    parts = [str(found.resolution or ""), f"T={found.timesteps}" if found.timesteps else ""]
    return " ".join(p for p in parts if p) + ("" if found.kind == "primary" else " *")


@app.command("technologies")
def technologies_command() -> None:
    """Lists the technologies with their constants, what these include, and sources."""
    from analyzer.energy.technology import technology

    rows = []
    for name in analyzer.technologies():
        known = technology(name)
        for precision in known.formats():
            mac = f"{known.mac_pj(precision):g} pJ" if known.multiplies else "–"
            rows.append(
                [
                    name,
                    precision,
                    f"{known.ac_pj(precision):g} pJ",
                    mac,
                    known.confidence,
                    known.includes,
                    known.source,
                ]
            )
    print_table(["Technology", "Format", "AC", "MAC", "Confidence", "Includes", "Source"], rows)


@app.command("conventions")
def conventions_command() -> None:
    """Lists the conventions with their rules and sources."""
    from analyzer.energy.convention import convention

    known = [convention(name) for name in analyzer.conventions()]
    rows = [[c.name, c.confidence, c.summary, c.source] for c in known]
    print_table(["Convention", "Confidence", "Rules", "Source"], rows)


@app.command("memory-models")
def memory_models_command() -> None:
    """Lists the memory models with their rules and sources."""
    from analyzer.energy.memory import memory_model, memory_models

    known = [memory_model(name) for name in memory_models()]
    rows = [[m.name, m.confidence, m.settings, m.summary, m.source] for m in known]
    print_table(["Memory model", "Confidence", "Settings", "Rules", "Source"], rows)
