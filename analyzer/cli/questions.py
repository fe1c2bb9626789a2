"""Commands that answer one question about saved profiles.

Which rows make two conventions differ, where a spiking model breaks even with a dense one, which
constants matter most, what more timesteps cost, whether spikes still pay once memory counts, and
what a quantised twin would take.
These commands price files and load no torch.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import analyzer
from analyzer.cli.options import (
    FigureFolder,
    Pricing,
    Profiles,
    SavedProfile,
    examples,
    expand_options,
    files_of,
    needing_extra,
)
from analyzer.cli.show import print_table, put

if TYPE_CHECKING:
    from analyzer.energy.answer import Told
    from analyzer.profiles import Profile

__all__ = ["app", "print_answer"]

app = typer.Typer()

Dense = Annotated[Path, typer.Argument(metavar="DENSE", help="A saved profile.")]
Spiking = Annotated[list[Path], typer.Argument(metavar="SPIKING...", help="Set against it.")]


def print_answer(found: Told, output: Path | None = None) -> None:
    """Prints an answer (table, words, what limits it), and writes it where a folder is given."""
    table = found.shown()
    if len(table):
        print_table(table.columns, table.to_numpy().tolist(), found.words)
    put("\n".join([found.summary, *found.notes]))
    _write(found, output)


def _write(found: Told, output: Path | None) -> None:
    """Writes the page of an answer, its figure and its tables, where a folder is given."""
    if output is None:
        return
    with needing_extra("a figure"):
        from analyzer.report.answers import write
    put(f"wrote {write(found, output)}")


@app.command(
    "explain",
    epilog=examples(
        "Which layers make two readings of one measurement differ:",
        "analyzer explain profiles/snn.json --conventions spikformer,exact",
        "With a waterfall and tables in a folder:",
        "analyzer explain profiles/snn.json --conventions rate,exact -o out/",
    ),
)
@expand_options(without={"convention"})
def explain_command(
    profile: SavedProfile,
    conventions: Annotated[
        str, typer.Option(metavar="A,B", help="Two conventions; see `conventions`.")
    ],
    pricing: Pricing,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the waterfall and tables.")
    ] = None,
) -> None:
    """Says where two conventions differ on one measurement, and why."""
    from analyzer.energy.explaining.explain import explain

    names = re.split(r",(?![^(]*\))", conventions)  # not those in brackets
    if len(names) != 2:
        raise typer.BadParameter("give two conventions, such as --conventions rate,exact.")
    first, second = (name.strip() for name in names)
    found = explain(
        analyzer.load(profile),
        first,
        second,
        pricing.technology,
        pricing.precision,
        pricing.memory,
    )
    print_answer(found, output)


@app.command(
    "break-even",
    epilog=examples(
        "The firing rate below which the spiking network takes less:",
        "analyzer break-even profiles/snn.json profiles/ann.json",
        "In 8-bit integers:",
        "analyzer break-even profiles/snn.json profiles/ann.json --precision int8",
    ),
)
@expand_options()
def break_even_command(
    spiking: Annotated[Path, typer.Argument(metavar="SPIKING", help="A saved profile.")],
    dense: Annotated[Path, typer.Argument(metavar="DENSE", help="That of its dense twin.")],
    pricing: Pricing,
    dense_memory: Annotated[
        str | None, typer.Option(metavar="M", help="Memory model of the dense twin, if another.")
    ] = None,
    output: FigureFolder = None,
) -> None:
    """Says at what firing rate a spiking model takes as much as a dense one."""
    from analyzer.energy.paradigms.break_even import break_even

    found = break_even(
        analyzer.load(spiking), analyzer.load(dense), **asdict(pricing), dense_memory=dense_memory
    )
    print_answer(found, output)


@app.command(
    "spread",
    epilog=examples(
        "AC, MAC and energy with their intervals, from the least to the most of a sample:",
        "analyzer spread profiles/before.json",
        "Sample by sample, as CSV:",
        "analyzer spread profiles/before.json --samples | head -n 5",
    ),
)
@expand_options()
def spread_command(
    profile: SavedProfile,
    pricing: Pricing,
    samples: Annotated[
        bool, typer.Option("--samples", help="Print a line of CSV a sample, and nothing else.")
    ] = False,
) -> None:
    """Says how work and energy differ from sample to sample, with intervals of the means."""
    found = analyzer.load(profile).spread(**asdict(pricing))
    if samples:
        put(found.samples.to_csv(index=False, lineterminator="\n"), end="")
    else:
        print_answer(found)


@app.command(
    "paired",
    epilog=examples(
        "Two checkpoints, each measured with --per-sample on the same data:",
        "analyzer paired profiles/before.json profiles/after.json",
        "A spiking network that takes each image once a timestep, and a dense one:",
        "analyzer paired profiles/dense.json profiles/spiking.json --aligned",
    ),
)
@expand_options()
def paired_command(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A saved profile.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="That of the other model.")],
    pricing: Pricing,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned", help="The samples are the same, though what the models were given differs."
        ),
    ] = False,
) -> None:
    """Compares two models sample by sample: mean difference, interval and p-value."""
    from analyzer.energy.intervals.paired import paired
    from analyzer.entries import named_apart

    one, two = named_apart([analyzer.load(first), analyzer.load(second)])
    found = paired(one, two, **asdict(pricing), aligned=aligned)
    print_answer(found)


@app.command(
    "sensitivity",
    epilog=examples(
        "Which constants decide the energy:",
        "analyzer sensitivity profiles/snn.json",
        "With half to twice the spikes, as a figure and a table:",
        "analyzer sensitivity profiles/snn.json --vary activity=0.5,2 -o out/",
    ),
)
@expand_options()
def sensitivity_command(
    profile: SavedProfile,
    pricing: Pricing,
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
    from analyzer.energy.explaining.sensitivity import sensitivity, varied

    found = sensitivity(analyzer.load(profile), **asdict(pricing), vary=varied(vary or ()))
    print_answer(found, output)


@app.command(
    "timesteps",
    epilog=examples(
        "One network measured at 4 and at 8 timesteps:",
        "analyzer timesteps profiles/T4.json profiles/T8.json",
        "All profiles of a folder, with a figure:",
        "analyzer timesteps timesteps/ -o out/",
    ),
)
@expand_options()
def timesteps_command(
    profiles: Profiles,
    pricing: Pricing,
    output: FigureFolder = None,
) -> None:
    """Sets one model at several timesteps side by side: energy and accuracy against T."""
    from analyzer.energy.paradigms.timesteps import against_timesteps

    loaded = [analyzer.load(path) for path in files_of(profiles)]
    found = against_timesteps(loaded, **asdict(pricing))
    print_answer(found, output)


@app.command(
    "twin",
    epilog=examples(
        "Against the same network as a quantised ANN of as many levels:",
        "analyzer twin profiles/snn.json",
        "With the accuracy of the trained twin, and its profile for tables and reports:",
        "analyzer twin profiles/snn.json --accuracy 0.93 --save twin.json",
    ),
)
@expand_options(without={"precision", "memory"})
def twin_command(
    profile: SavedProfile,
    pricing: Pricing,
    levels: Annotated[
        int | None,
        typer.Option(metavar="L", help="Levels above the lowest; by default what spikes tell."),
    ] = None,
    weight_bits: Annotated[int, typer.Option(help="Width of the weights of both.")] = 8,
    accuracy: Annotated[
        str | None,
        typer.Option(metavar="A", help="Of the trained twin: a share, or a saved profile."),
    ] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option(metavar="M", help="Memory models; by default a choice of them."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Writes the profile of the twin.")
    ] = None,
    output: FigureFolder = None,
) -> None:
    """Sets a spiking model against the same network as a quantised ANN."""
    from analyzer.twins.against import against_twin

    found = against_twin(
        analyzer.load(profile),
        pricing.technology,
        pricing.convention,
        levels=levels,
        weight_bits=weight_bits,
        accuracy=_accuracy(accuracy),
        memories=None if memory is None else tuple(memory),
    )
    print_answer(found)
    if save is not None:
        put(f"saved {found.twin.save(save)}")
    _write(found, output)


def _accuracy(given: str | None) -> float | Profile | None:
    if given is None:
        return None
    try:
        return float(given)
    except ValueError:
        return analyzer.load(given)


@app.command(
    "bit-budget",
    epilog=examples(
        "Work weighted with the widths of its factors, of 4-bit weights:",
        "analyzer bit-budget profiles/ann.json profiles/snn.json --weight-bits 4",
        "Where spikes carry two bits, with a table in a folder:",
        "analyzer bit-budget profiles/snn.json --spike-bits 2 -o out/",
    ),
)
@expand_options()
def bit_budget_command(
    profiles: Profiles,
    weight_bits: Annotated[int, typer.Option(help="Width of a weight.")] = 8,
    spike_bits: Annotated[int, typer.Option(help="Width of a spike.")] = 1,
    activation_bits: Annotated[
        int, typer.Option(help="Width of an activation that is no spike.")
    ] = 8,
    output: FigureFolder = None,
) -> None:
    """Weighs work with the widths of its factors: S-ACE and NS-ACE."""
    from analyzer.energy.paradigms.bit_budget import bit_budget

    found = bit_budget(
        [analyzer.load(path) for path in files_of(profiles)],
        weight_bits=weight_bits,
        spike_bits=spike_bits,
        activation_bits=activation_bits,
    )
    print_answer(found, output)


@app.command(
    "chips",
    epilog=examples(
        "Under all technologies, with a figure:",
        "analyzer chips profiles/ann.json profiles/snn.json -o out/",
        "Where a host does the multiply-accumulates that a chip lacks:",
        "analyzer chips profiles/ann.json profiles/snn.json --host 45nm",
    ),
)
@expand_options(without={"technology", "precision", "memory"})
def chips_command(
    dense: Dense,
    spiking: Spiking,
    pricing: Pricing,
    technology: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="Technologies; all of `technologies` by default."),
    ] = None,
    dense_technology: Annotated[
        str | None, typer.Option(metavar="T", help="That of the dense model, if one for all.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="T", help="What does multiply-accumulates that a chip lacks."),
    ] = None,
    output: FigureFolder = None,
) -> None:
    """Prices models under every technology, each at its own cheapest number format."""
    from analyzer.energy.paradigms.chips import chips

    found = chips(
        analyzer.load(dense),
        [analyzer.load(path) for path in spiking],
        pricing.convention,
        technologies=technology,
        dense_technology=dense_technology,
        host=host,
    )
    print_answer(found, output)


@app.command(
    "memory",
    epilog=examples(
        "Against the dense network, under a choice of memory models:",
        "analyzer memory profiles/ann.json profiles/snn.json",
        "Arithmetic alone, and one model of memory:",
        "analyzer memory profiles/ann.json profiles/snn.json --precision int8",
    ),
)
@expand_options(without={"memory"})
def memory_command(
    dense: Dense,
    spiking: Spiking,
    pricing: Pricing,
    memory: Annotated[
        list[str] | None,
        typer.Option(metavar="M", help="Memory models, or none; a choice of them by default."),
    ] = None,
    output: FigureFolder = None,
) -> None:
    """Says whether spikes pay once memory counts, under every memory model."""
    from analyzer.energy.paradigms.beyond import beyond_arithmetic

    found = beyond_arithmetic(
        analyzer.load(dense),
        [analyzer.load(path) for path in spiking],
        pricing.technology,
        pricing.convention,
        pricing.precision,
        [None if name == "none" else name for name in memory] if memory else None,
    )
    print_answer(found, output)
