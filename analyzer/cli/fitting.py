"""Commands about the limits of neuromorphic chips: whether a model fits, and which chips there are.

They read saved profiles and data files, and load no torch.
"""

from __future__ import annotations

from typing import Annotated

import typer

import analyzer
from analyzer.cli.options import FigureFolder, SavedProfile, examples
from analyzer.cli.questions import print_answer
from analyzer.cli.show import file_of, print_table

__all__ = ["app"]

app = typer.Typer()


@app.command(
    "fit",
    epilog=examples(
        "Which layers fit on a chip, in how many cores:",
        "analyzer fit profiles/snn.json --chip loihi",
        "With weights of 4 bits, and a figure:",
        "analyzer fit profiles/snn.json --chip loihi --weight-bits 4 -o out/",
    ),
)
def fit_command(
    profile: SavedProfile,
    chip: Annotated[
        str, typer.Option(metavar="NAME", help="A name of `hardware`, or a .toml file.")
    ],
    weight_bits: Annotated[
        int | None,
        typer.Option(metavar="N", help="Bits of a weight; the most that the chip has by default."),
    ] = None,
    output: FigureFolder = None,
) -> None:
    """Says which layers fit on a neuromorphic chip, in how many cores, and how far spikes go."""
    found = analyzer.fit(analyzer.load(profile), chip, weight_bits=weight_bits)
    print_answer(found, output)


@app.command(
    "hardware",
    epilog=examples(
        "All chips whose limits are known:",
        "analyzer hardware",
        "The file of one, to start your own from:",
        "analyzer hardware --toml loihi",
    ),
)
def hardware_command(
    toml: Annotated[str, file_of("hardware", "chip")] = "",
) -> None:
    """Lists the limits of neuromorphic chips, each figure with its source."""
    from analyzer.energy.fitting.limits import chip

    rows = [
        [name, limit.key, limit.text, limit.confidence, limit.source]
        for name in analyzer.hardware()
        for limit in chip(name).limits.values()
    ]
    print_table(["Chip", "Limit", "Value", "Confidence", "Source"], rows)
