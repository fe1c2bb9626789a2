"""Commands that set a measurement against another, against what it could be, and against limits.

What changed between two profiles and why, what a profile could save, and whether it keeps a budget.
They price files and load no torch.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

import analyzer
from analyzer.cli.options import Pricing, SavedProfile, examples, expand_options
from analyzer.cli.questions import print_answer
from analyzer.cli.show import print_table, put, say
from analyzer.errors import AnalyzerError

__all__ = ["app"]

app = typer.Typer()

Folder = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder for the page and the tables.")
]


@app.command(
    "diff",
    epilog=examples(
        "What changed between two measurements, layer by layer, and why:",
        "analyzer diff profiles/T4.json profiles/T8.json",
        "One measurement under two technologies, with tables in a folder:",
        "analyzer diff profiles/snn.json profiles/snn.json --technology-b 7nm -o out/",
    ),
)
@expand_options()
def diff_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A saved profile.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    pricing: Pricing,
    technology_b: Annotated[
        str | None, typer.Option("--technology-b", metavar="T", help="Another technology for B.")
    ] = None,
    convention_b: Annotated[
        str | None, typer.Option("--convention-b", metavar="C", help="Another convention for B.")
    ] = None,
    precision_b: Annotated[
        str | None, typer.Option("--precision-b", metavar="P", help="Another number format for B.")
    ] = None,
    memory_b: Annotated[
        str | None,
        typer.Option("--memory-b", metavar="M", help="Another memory model for B, or none."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare also what did not see the same data.")
    ] = False,
    output: Folder = None,
) -> None:
    """Says what changed between two measurements: per layer, ranked by energy, with a reason."""
    found = analyzer.diff(
        analyzer.load(first),
        analyzer.load(second),
        **asdict(pricing),
        technology_b=technology_b,
        convention_b=convention_b,
        precision_b=precision_b,
        memory_b=memory_b,
        anyway=anyway,
    )
    a, b = found.first, found.second
    if a.name == b.name and first != second:  # as of two checkpoints of one network
        a, b = replace(a, name=str(first)), replace(b, name=str(second))
        found = replace(found, first=a, second=b)
    print_answer(found, output)


@app.command(
    "advise",
    epilog=examples(
        "Which layers cost most, and what changing them would save:",
        "analyzer advise profiles/snn.json",
        "In 8-bit integers, with tables in a folder:",
        "analyzer advise profiles/snn.json --precision int8 -o out/",
    ),
)
@expand_options()
def advise_command(
    profile: SavedProfile,
    pricing: Pricing,
    layers: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of the layers that cost most.")
    ] = 10,
    output: Folder = None,
) -> None:
    """Says which layers cost most and why, and what each change that facts suggest would save."""
    found = analyzer.advise(analyzer.load(profile), **asdict(pricing))
    costs = found.shown_costs(layers)
    if layers:
        rows = costs.to_numpy().tolist()
        print_table(costs.columns, rows, frozenset({"Module", "Operation", "Why"}))
        put("")
    print_answer(found, output)


@app.command(
    "check",
    epilog=examples(
        "Exit code 1 where a limit is not kept, for CI:",
        "analyzer check profiles/snn.json --budget budget.toml",
        "The same limits under another technology:",
        "analyzer check profiles/snn.json --budget budget.toml --technology 7nm",
    ),
)
def check_command(
    profile: SavedProfile,
    budget: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A TOML file of limits: energy_mj, ac, mac, parameters, firing_rate, accuracy, "
            r"and \[layers.PATTERN] of them.",
        ),
    ],
    technology: Annotated[
        str | None,
        typer.Option(metavar="T", help="Constants; by default what the budget says, or 45nm."),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(metavar="C", help="Reading of the facts; likewise, or exact."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="P", help="Number format; likewise, or fp32.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="M", help="Memory model; likewise, or none.")
    ] = None,
) -> None:
    """Holds a measurement against a budget: exit code 0 if it is kept, 1 if not, 2 if misused."""
    try:
        found = analyzer.check(
            analyzer.load(profile), budget, technology, convention, precision, memory
        )
    except AnalyzerError as error:
        say("error", str(error), "red")
        raise typer.Exit(2) from None
    print_answer(found)
    if not found.ok:
        raise typer.Exit(1)
