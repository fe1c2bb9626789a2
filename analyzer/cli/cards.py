"""``analyzer card``: energy cards of saved profiles, and the check of their archive."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import analyzer
from analyzer.cli.options import AnyProfiles, Pricing, examples, expand_options, files_of
from analyzer.cli.show import print_checked, put

app = typer.Typer()


@app.command(
    "card",
    epilog=examples(
        "A card of each model, and an archive:",
        "analyzer card profiles/ -o artefact",
        "Of one model, in integers and with memory priced:",
        "analyzer card profiles/snn.json -o artefact --precision int8 --memory state",
    ),
)
@expand_options()
def card_command(
    pricing: Pricing,
    profiles: AnyProfiles = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|ZIP",
            help="Compute the cards in DIR or in an archive again; say what differs.",
        ),
    ] = None,
) -> None:
    """Writes energy cards with an archive that others can check; or checks one."""
    if check is not None:
        if profiles or output:
            raise typer.BadParameter("--check takes a folder or an archive and nothing else.")
        from analyzer.cards.check import check as checked

        print_checked(checked(check))
        return
    if not profiles or output is None:
        raise typer.BadParameter("give profiles and --output, or --check and an archive.")
    files = files_of(profiles)
    archive = analyzer.card([analyzer.load(path) for path in files], output, **asdict(pricing))
    cards = "a card" if len(files) == 1 else f"{len(files)} cards"
    put(f"wrote {cards} in {output / 'cards'} and {archive}")
