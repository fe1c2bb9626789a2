"""Commands that show what is already known, without loading torch.

``compare``, ``summary`` and ``report`` price saved profiles; ``models``, ``technologies``,
``conventions`` and ``memory-models`` list what the package knows, with the sources.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import analyzer
from analyzer.cli.interruption import kept
from analyzer.cli.options import (
    AnyProfiles,
    Format,
    Precision,
    Pricing,
    Profiles,
    Progress,
    SavedProfile,
    Technology,
    examples,
    expand_options,
    files_of,
    needing_extra,
)
from analyzer.cli.show import file_of, print_checked, print_table, put, terminal_width
from analyzer.inert import csv_of
from analyzer.terminal import Shown
from analyzer.terminal import progress as progress_of

if TYPE_CHECKING:
    from analyzer.energy.tables.comparison import Comparison
    from analyzer.models import Published

app = typer.Typer()


@app.command(
    "compare",
    epilog=examples(
        "All profiles of a folder:",
        "analyzer compare profiles/",
        "Against one of them, the cheapest first, for a paper:",
        "analyzer compare profiles/ --baseline ann --sort energy_mj --format latex",
    ),
)
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
    from analyzer.energy.tables.compare import compare
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
        put(found.to_csv(), end="")
    elif format is Format.json:
        frame = found.frame
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        put(json.dumps(rows, indent=1, allow_nan=False))
    elif format is Format.markdown:
        put(found.to_markdown())
    elif format is Format.latex:
        put(found.to_latex(), end="")
    else:
        _print_comparison(found, chosen=bool(columns))
        fired = {profile.name: spikes_in_words(profile) for profile in loaded}
        lines = [f"{name}: {words}." for name, words in fired.items() if words]
        put("\n".join([*lines, *found.notes]))


def _print_comparison(found: Comparison, *, chosen: bool) -> None:
    """Prints a comparison as wide as the terminal, and says what it leaves out for that."""
    width = terminal_width()
    kept, gone = (None, []) if chosen or width is None else found.fitting(width)
    shown = found.shown(kept)
    print_table(shown.columns, shown.to_numpy().tolist(), frozenset({"Model"}))
    left_out = (
        [f"Left out to fit {width} columns: {', '.join(gone)}; see --columns."] if gone else []
    )
    put("\n".join([*left_out, f"Priced: {found.basis}."]))


@app.command(
    "summary",
    epilog=examples(
        "The whole tree:",
        "analyzer summary profiles/snn.json",
        "Two levels of it, with memory priced:",
        "analyzer summary profiles/snn.json --depth 2 --memory state --precision int8",
    ),
)
@expand_options(without={"convention"})
def summary_command(
    profile: SavedProfile,
    pricing: Pricing,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Levels below the model; all by default.")
    ] = None,
    convention: Annotated[
        str | None, typer.Option(help="Reading of the facts; what they allow by default.")
    ] = None,
) -> None:
    """Prints the tree of a model's layers, with shapes, parameters, work and energy."""
    prices = asdict(pricing) | {"convention": convention}
    found = analyzer.load(profile).summary(depth, **prices)
    shown = found.shown(terminal_width())
    put(f"{found.title}\n")
    print_table(shown.columns, shown.to_numpy().tolist(), frozenset({"Layer", "Input", "Output"}))
    put("\n".join(["", found.basis, *found.notes]))


@app.command(
    "report",
    epilog=examples(
        "A page with figures and tables:",
        "analyzer report profiles/ -o reports/mine",
        "Two figures alone, as wide as a column of IEEE:",
        "analyzer report profiles/ -o reports/mine --width ieee --only energy,layers",
    ),
)
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
    progress: Progress = Shown.auto,
) -> None:
    """Writes index.html, figures/, tables/ and profiles/; or checks such a folder."""
    if check is not None:
        if profiles or output:
            raise typer.BadParameter("--check takes a folder and nothing else.")
        with needing_extra("a report"):
            from analyzer.report.check import check as checked
        print_checked(checked(check))
        return
    if not profiles or output is None:
        raise typer.BadParameter("give profiles and --output, or --check and a folder.")
    with needing_extra("a report"):
        from analyzer.report.page import render, stages
    files = files_of(profiles)
    names = [name.strip() for name in only.split(",")] if only else None
    left = f"{output} is as it was" if output.exists() else "nothing was written"
    with (
        kept(lambda: left),
        progress_of("report", len(files) + stages(names), progress) as steps,
    ):
        loaded = []
        for path in files:
            steps.next(f"reading {path.name}")
            loaded.append(analyzer.load(path))
        page = render(
            loaded,
            output,
            **asdict(pricing),
            title=title or None,
            width=float(width) if width.replace(".", "", 1).isdigit() else width,
            font=font or None,
            only=names,
            noted=steps.next,
        )
    put(f"wrote {page}")


@app.command(
    "audit",
    epilog=examples(
        "Each line of a table, the worst first:",
        "analyzer audit table.csv",
        "At other prices, for a README:",
        "analyzer audit table.csv --precision fp16 --format markdown",
    ),
)
def audit_command(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE.csv", help="Columns model, energy_mJ and perhaps more.")
    ],
    technology: Technology = "45nm",
    precision: Precision = "fp32",
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.table,
) -> None:
    """Says of each energy in a published table whether it can be right."""
    found = analyzer.audit(table, technology, precision)
    shown = found.shown()
    if format is Format.csv:
        put(csv_of(found.frame), end="")
    elif format is Format.json:
        put(found.frame.to_json(orient="records", indent=1))
    elif format is Format.markdown:
        put(found.to_markdown(), end="")
    elif format is Format.latex:
        put(found.to_latex(), end="")
    else:
        print_table(shown.columns, shown.to_numpy().tolist())
        put(found.summary)


@app.command(
    "models",
    epilog=examples(
        "All models that have a name:",
        "analyzer models",
        "Those of one family:",
        "analyzer models | grep spikformer",
    ),
)
def models_command() -> None:
    """Lists the reference models: those that can be built, then those that are only rows."""
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
                "×".join(map(str, card.input_shape)) + " tokens" * card.takes_tokens,
                str(card.timesteps),
                f"{card.parameters:,}",
                "yes" if models.weights_path(name).exists() else "–",
                *_figures(best),
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
    put("\nOnly rows, of networks that can not be built here:\n")
    print_table(
        [
            "Row", "Parameters", "Published top-1", "Published energy", "at", "Source",
            "What is missing",
        ],
        [
            [
                row.name,
                "–" if row.parameters_m is None else f"{row.parameters_m:g} M",
                *_figures(next(iter(models.published(row.name)), None)),
                row.source,
                row.missing,
            ]
            for row in models.unbuilt()
        ],
    )  # fmt: skip
    put(
        "\nPublished figures follow the rules of their papers; those with * were read in a copy.\n"
        "analyzer.models.published(name) has all of them, with their sources."
    )


def _figures(found: Published | None) -> list[str]:
    """Accuracy, energy and conditions of a published result, for a table."""
    if found is None:
        return ["–"] * 3
    return [
        "–" if found.top1 is None else f"{found.top1:g} %",
        "–" if found.energy_mj is None else f"{found.energy_mj:.2f} mJ",
        _measured_at(found),
    ]


def _measured_at(found: Published) -> str:
    """The resolution and T of a published figure, as far as its source says; ``*`` marks a copy."""
    parts = [str(found.resolution or ""), f"T={found.timesteps}" if found.timesteps else ""]
    return " ".join(p for p in parts if p) + ("" if found.kind == "primary" else " *")


@app.command(
    "technologies",
    epilog=examples(
        "All constants and where they are from:",
        "analyzer technologies",
        "The file of one, to start your own from:",
        "analyzer technologies --toml 45nm",
    ),
)
def technologies_command(
    toml: Annotated[str, file_of("technologies", "technology")] = "",
) -> None:
    """Lists the technologies with their constants, what these include, and sources."""
    from analyzer.energy.declared.technology import technology

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


@app.command(
    "conventions",
    epilog=examples(
        "All readings and where they are from:",
        "analyzer conventions",
        "The file of one, to start your own from:",
        "analyzer conventions --toml exact",
    ),
)
def conventions_command(
    toml: Annotated[str, file_of("conventions", "convention")] = "",
) -> None:
    """Lists the conventions with their rules and sources."""
    from analyzer.energy.declared.convention import convention

    known = [convention(name) for name in analyzer.conventions()]
    rows = [[c.name, c.confidence, c.summary, c.source] for c in known]
    print_table(["Convention", "Confidence", "Rules", "Source"], rows)


@app.command(
    "memory-models",
    epilog=examples(
        "All models of memory and where they are from:",
        "analyzer memory-models",
        "The file of one, to start your own from:",
        "analyzer memory-models --toml state",
    ),
)
def memory_models_command(
    toml: Annotated[str, file_of("memories", "memory model")] = "",
) -> None:
    """Lists the memory models with their rules and sources."""
    from analyzer.energy.declared.memory import memory_model, memory_models

    known = [memory_model(name) for name in memory_models()]
    rows = [[m.name, m.confidence, m.settings, m.summary, m.source] for m in known]
    print_table(["Memory model", "Confidence", "Settings", "Rules", "Source"], rows)
