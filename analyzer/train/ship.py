"""Copies weights into the package and writes the README beside them, from their own records.

    python -m analyzer.train.ship RUNS analyzer/models/weights/fashion-mnist

Of each model that was trained without options and without a weight on accumulates, the smallest
seed is copied with its log; the README lists all runs of the folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from analyzer.errors import AnalyzerError
from analyzer.train.records import TrainedRun, processor, read_runs

__all__ = ["LIMIT_BYTES", "main", "ship"]

LIMIT_BYTES = 6_000_000
"""The files of weights of one folder are smaller than this together."""

_TEXT = """# Weights trained on {data}

Written by `python -m analyzer.train.ship` from the record in each file of weights and the log
beside it. The files in this folder are those named in the table: of each model the run of the
smallest seed without options. The others were trained for the study in `reports/`.

| {heads} |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |
{rows}

{converted}The log of each training lies beside its weights. The processor time is that of the
process, so pauses do not count, and shared cores make it longer than it would be alone.
Convolutions of networks of ExpG-IF neurons are rounded to multiples of 2^-10 after training. The
same seed gives the same file on the same machine with the same number of threads; elsewhere
rounding differs and so do the weights.
{about}"""

_HEADS = (
    "file", "model", "parameters", "seed", "epochs", "test accuracy", "best held out",
    "processor time", "machine", "torch", "command",
)  # fmt: skip

_CONVERTED = """\
`ge2mst-tiny-converted` takes the weights of `ge2mst-tiny-ann`, which hold its thresholds.
"""

_ABOUT = MappingProxyType(
    {
        "fashion-mnist": """
The data are [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul and
Vollgraf, 2017, MIT licence), 28×28 with a black border of two pixels: `apt-get install
dataset-fashion-mnist`. No image is in this package. How the recipe was chosen is in
`reports/fashion/tried.md` of the repository.
"""
    }
)
_NAMES = MappingProxyType({"fashion-mnist": "Fashion-MNIST"})


def ship(runs: Path, target: Path, machine: str) -> Path:
    """Copies one run of each model with its log, and writes ``README.md``.

    Args:
        runs: Folder of the weights and logs that ``analyzer train`` wrote.
        target: Folder in the package, called after the data.
        machine: What the machine of runs is called whose record does not say.

    Returns:
        The path of the README.

    Raises:
        AnalyzerError: If a run can't be read, a log is missing, or the files grow too large.
    """
    found = read_runs(runs)
    shipped = _shipped(found)
    unlogged = [run.path.name for run in shipped.values() if run.cpu_seconds is None]
    if unlogged:
        raise AnalyzerError(f"there is no log beside {', '.join(unlogged)}: train with --log.")
    size = sum(run.path.stat().st_size for run in shipped.values())
    if size >= LIMIT_BYTES:
        raise AnalyzerError(
            f"the weights of {', '.join(shipped)} take {size:,} bytes together, and "
            f"{LIMIT_BYTES:,} is the limit: ship fewer models."
        )
    target.mkdir(parents=True, exist_ok=True)
    for old in (*target.glob("*.safetensors"), *target.glob("*.csv")):
        old.unlink()
    for name, run in shipped.items():
        shutil.copy(run.path, target / f"{name}.safetensors")
        shutil.copy(run.path.with_suffix(".csv"), target / f"{name}.csv")
    readme = target / "README.md"
    readme.write_text(_readme(found, shipped, target.name, machine), "utf-8")
    return readme


def _shipped(runs: Sequence[TrainedRun]) -> dict[str, TrainedRun]:
    """The run of each model that goes into the package, by the model's name."""
    plain = [run for run in runs if not run.options and not run.synops_weight]
    names = sorted({run.name for run in plain})
    return {
        name: min((run for run in plain if run.name == name), key=lambda run: run.seed)
        for name in names
    }


def _readme(
    runs: Sequence[TrainedRun], shipped: dict[str, TrainedRun], data: str, machine: str
) -> str:
    here = {run.path for run in shipped.values()}
    rows = [
        "| "
        + " | ".join(
            (
                f"`{run.name}.safetensors`" if run.path in here else "–",
                f"`{run.name}`",
                f"{run.parameters:,}",
                str(run.seed),
                str(run.epochs),
                f"{100 * run.test_accuracy:.2f} %",
                "–" if run.held_out_accuracy is None else f"{100 * run.held_out_accuracy:.2f} %",
                "–" if run.cpu_seconds is None else f"{run.cpu_seconds:,.0f} s",
                run.machine or machine,
                run.torch,
                f"`{run.command}`",
            )
        )
        + " |"
        for run in sorted(runs, key=lambda r: (r.name, r.synops_weight, str(r.options), r.seed))
    ]
    return _TEXT.format(
        data=_NAMES.get(data, data),
        heads=" | ".join(_HEADS),
        rows="\n".join(rows),
        converted=_CONVERTED if "ge2mst-tiny-ann" in shipped else "",
        about=_ABOUT.get(data, ""),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs :func:`ship` on the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Copies weights into the package.")
    parser.add_argument("runs", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--machine", default=processor(), help="of runs whose record does not say; this one"
    )
    given = parser.parse_args(arguments)
    sys.stdout.write(f"wrote {ship(given.runs, given.target, given.machine)}\n")


if __name__ == "__main__":
    main()
