"""The command ``merge``, which reads saved profiles and loads no torch."""

from __future__ import annotations

from typing import Annotated

import typer

import analyzer
from analyzer.cli.options import Profiles, ProfileToWrite, examples, files_of
from analyzer.cli.show import tell
from analyzer.files import refuse_unwritable

app = typer.Typer()


@app.command(
    "merge",
    epilog=examples(
        "The shards of a run, each of which `profile --shard I/N` wrote:",
        "analyzer merge parts/1.json.gz parts/2.json.gz -o whole.json.gz",
        "All that are in a folder:",
        "analyzer merge parts/ -o whole.json.gz",
    ),
)
def merge_command(
    profiles: Profiles,
    output: ProfileToWrite,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Merge also where machines of several kinds counted the first batch "
            "otherwise, as they round in other ways.",
        ),
    ] = False,
) -> None:
    """Puts the shards of a run together: the profile of a single run, in any order of the files."""
    refuse_unwritable(output)
    files = files_of(profiles, output)
    whole = analyzer.merge(files, anyway=anyway)
    whole.save(output)
    tell(f"{whole.name}: {len(files)} shards, {whole.samples} samples; saved {output}")
