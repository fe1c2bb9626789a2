"""The command ``sweep``: profiles of many models, timesteps and data sets, some at once."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from analyzer.cli.cells import cells_of
from analyzer.cli.interruption import kept
from analyzer.cli.options import examples, needing_extra
from analyzer.cli.show import put, tell
from analyzer.cli.sweeps import Failure, Ledger, run_cells
from analyzer.errors import AnalyzerError

app = typer.Typer()


@app.command(
    "sweep",
    epilog=examples(
        "What a file describes, two profiles at once:",
        "analyzer sweep sweep.toml --workers 2 -o profiles/sweep",
        "The same on the workers of a Dask cluster, where it left off:",
        "analyzer sweep sweep.toml --scheduler tcp://node1:8786 -o profiles/sweep",
    ),
)
def sweep_command(
    sweep: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP.toml",
            help=r"Lists models, timesteps and data, and a table \[options] of `profile`.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the profiles.")] = Path(
        "profiles"
    ),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Profiles at once; by default one for two cores.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers see these files."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure also what is there already.")
    ] = False,
) -> None:
    """Profiles every model at every number of timesteps on all data.

    Profiles that are there, made with the same options, are not measured again. What fails is
    listed at the end, and stops nothing else. Changes in code, weights and data are not noticed:
    give --again after them.
    """
    cells = cells_of(sweep)
    ledger = Ledger(output)
    left = [cell for cell in cells if again or not ledger.has(cell)]
    there = len(cells) - len(left)
    if there:
        tell(f"{there} of {len(cells)} profiles are there already")
    failures: list[Failure] = []
    made = 0
    if left:
        ledger.drop(left)
        number = workers or max((os.cpu_count() or 2) // 2, 1)
        with needing_extra("a sweep", "sweep"), kept(lambda: f"{made} profiles were made"):
            cells_run = run_cells(left, ledger, workers=number, scheduler=scheduler)
            with closing(cells_run) as done:  # which ends what still runs
                for cell, failure in done:
                    made += failure is None
                    failures += [] if failure is None else [failure]
                    said = f"saved {ledger.target(cell)}" if failure is None else "failed"
                    tell(f"{made + len(failures)}/{len(left)} {cell.name}: {said}")
    put(f"{there + made} of {len(cells)} profiles are in {output}.")
    if failures:
        put("\nFailed:\n")
        for failure in sorted(failures, key=lambda failure: failure.name):
            put(f"- {failure.name}: {failure.why}")
        raise AnalyzerError(
            f"{len(failures)} of {len(cells)} profiles failed: mend what they say and run the same "
            f"command{' without --again' if again else ''}, which makes these alone."
        )
