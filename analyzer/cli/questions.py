"""Commands that answer a question about saved profiles: they load no torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Protocol

import typer

import analyzer
from analyzer.cli.options import (
    Convention,
    Memory,
    Precision,
    Profiles,
    Technology,
    needing_extra,
)
from analyzer.cli.show import print_table

app = typer.Typer()


class _Answer(Protocol):
    """What all answers have."""

    @property
    def summary(self) -> str:
        """The answer in words."""

    @property
    def notes(self) -> list[str]:
        """What limits it."""


def _tell(found: _Answer, output: Path | None, home: str) -> None:
    """Prints an answer in words, and has a module of the reports write its page, if asked to."""
    typer.echo("\n".join([found.summary, *found.notes]))
    if output is not None:
        with needing_extra("a figure"):
            write = import_module(f"analyzer.report.{home}").write
        typer.echo(f"wrote {write(found, output)}")


@app.command("explain")
def explain_command(
    profile: Annotated[Path, typer.Argument(metavar="PROFILE", help="A saved profile.")],
    conventions: Annotated[
        str, typer.Option(metavar="A,B", help="Two conventions; see `conventions`.")
    ],
    technology: Technology = "45nm",
    precision: Precision = "fp32",
    memory: Memory = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the waterfall and tables.")
    ] = None,
) -> None:
    """Says where two conventions differ on one measurement, and why."""
    from analyzer.energy.explain import explain, shown_steps

    names = conventions.split(",")
    if len(names) != 2:
        raise typer.BadParameter("give two conventions, such as --conventions rate,exact.")
    first, second = (name.strip() for name in names)
    found = explain(analyzer.load(profile), first, second, technology, precision, memory)
    print_table(["Step", "Rows", "Difference", "Energy"], shown_steps(found))
    _tell(found, output, "waterfall")


@app.command("break-even")
def break_even_command(
    spiking: Annotated[Path, typer.Argument(metavar="SPIKING", help="A saved profile.")],
    dense: Annotated[Path, typer.Argument(metavar="DENSE", help="That of its dense twin.")],
    technology: Technology = "45nm",
    convention: Convention = "exact",
    precision: Precision = "fp32",
    memory: Memory = None,
    dense_memory: Annotated[
        str | None, typer.Option(metavar="M", help="Memory model of the dense twin, if another.")
    ] = None,
) -> None:
    """Says at what firing rate a spiking model takes as much as a dense one."""
    from analyzer.energy.break_even import break_even

    found = break_even(
        analyzer.load(spiking),
        analyzer.load(dense),
        technology,
        convention,
        precision,
        memory,
        dense_memory,
    )
    typer.echo("\n".join([found.summary, *found.notes]))


@app.command("sensitivity")
def sensitivity_command(
    profile: Annotated[Path, typer.Argument(metavar="PROFILE", help="A saved profile.")],
    technology: Technology = "45nm",
    convention: Convention = "exact",
    precision: Precision = "fp32",
    memory: Memory = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=LOW,HIGH",
            help="Another range: of a constant (add_pj.fp32), a setting of the memory model "
            "(weight_bits), a factor on prices of a level (levels.dram) or on spikes (activity).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the tornado and the table.")
    ] = None,
) -> None:
    """Says how far each constant alone moves the energy, within the range of its sources."""
    from analyzer.energy.sensitivity import sensitivity, shown, varied

    found = sensitivity(
        analyzer.load(profile), technology, convention, precision, memory, varied(vary or ())
    )
    table = shown(found)
    print_table(table.columns, table.to_numpy().tolist(), frozenset({"Constant"}))
    _tell(found, output, "tornado")


@app.command("timesteps")
def timesteps_command(
    profiles: Profiles,
    technology: Technology = "45nm",
    convention: Convention = "exact",
    precision: Precision = "fp32",
    memory: Memory = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the figure and the table.")
    ] = None,
) -> None:
    """Sets one model at several timesteps side by side: energy and accuracy against T."""
    from analyzer.energy.timesteps import against_timesteps, shown

    found = against_timesteps(
        [analyzer.load(path) for path in profiles], technology, convention, precision, memory
    )
    table = shown(found)
    print_table(table.columns, table.to_numpy().tolist(), frozenset())
    _tell(found, output, "against_timesteps")


@app.command("memory")
def memory_command(
    dense: Annotated[Path, typer.Argument(metavar="DENSE", help="A saved profile.")],
    spiking: Annotated[list[Path], typer.Argument(metavar="SPIKING...", help="Set against it.")],
    technology: Technology = "45nm",
    convention: Convention = "exact",
    precision: Precision = "fp32",
    memory: Annotated[
        list[str] | None,
        typer.Option(metavar="M", help="Memory models, or none; a choice of them by default."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the figure and the table.")
    ] = None,
) -> None:
    """Says whether spikes pay once memory counts, under every memory model."""
    from analyzer.energy.beyond import beyond_arithmetic, shown

    found = beyond_arithmetic(
        analyzer.load(dense),
        [analyzer.load(path) for path in spiking],
        technology,
        convention,
        precision,
        [None if name == "none" else name for name in memory] if memory else None,
    )
    table = shown(found)
    words = frozenset({"Memory model", "Model"})
    print_table(table.columns, table.to_numpy().tolist(), words)
    _tell(found, output, "memory_comparison")
