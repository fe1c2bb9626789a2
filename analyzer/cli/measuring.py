"""Commands that build models: count, verify and train.

They import torch when they are called, not when the command line starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

import analyzer
from analyzer.cli.hosting import hosted
from analyzer.cli.options import (
    AnyProfileToWrite,
    Inputs,
    Layout,
    Model,
    Progress,
    SubjectOptions,
    Technology,
    Timesteps,
    examples,
    expand_options,
    groups_of,
    inputs_of,
    layouts_of,
    options_of,
)
from analyzer.cli.show import print_counts, print_table, put, tell
from analyzer.errors import AnalyzerError
from analyzer.files import refuse_unwritable
from analyzer.terminal import Shown

app = typer.Typer()


@app.command(
    "count",
    epilog=examples(
        "Dense work of a published network, of which nothing runs:",
        "analyzer count spikformer-8-512 --input 3,224,224",
        "A model of yours that reads tokens:",
        "analyzer count nets.py:tokens --input input_ids=int64:1,128",
    ),
)
def count_command(
    model: Model,
    inputs: Inputs = None,
    timesteps: Timesteps = None,
    layout: Layout = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Samples that the inputs hold, where their shape does not tell."),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(metavar="F.csv", help="Firing rates: columns module, firing_rate, driven."),
    ] = None,
    technology: Technology = "45nm",
    name: Annotated[str, typer.Option(help="How tables call it.")] = "",
    output: AnyProfileToWrite = None,
) -> None:
    """Counts a model by its shapes, without running it; with rates, prices it."""
    from analyzer.cli.subject import meta_subject, with_own_layouts
    from analyzer.units import format_bytes, format_si

    if output is not None:
        refuse_unwritable(output)
    subject, given = meta_subject(model, inputs_of(inputs or ()), timesteps)
    with hosted(model):
        counted = analyzer.count(
            subject.model,
            given,
            timesteps=timesteps,
            layouts=with_own_layouts(subject.model, layouts_of(layout)),
            samples=samples,
            rates=rates,
            name=name or subject.name,
        )
    dense = counted.totals["dense_macs"] / counted.samples
    rows = [
        ["parameters", f"{counted.parameters:,}"],
        ["dense MACs", f"{dense:,.0f}"],
        *([key.removesuffix("_bytes").replace("_", " "), format_bytes(size)]
          for key, size in counted.memory.items() if size is not None),
    ]  # fmt: skip
    notes: list[str] = []
    if rates is not None:
        priced = counted.energy(technology, "rate")
        rows += [[c.upper(), format_si(float(priced.table[c].sum()))] for c in ("ac", "mac")]
        rows.append(["energy", f"{priced.total_text} ({priced.basis})"])
        notes = priced.notes
    if not counted.uncovered.empty:
        rows.append(["not covered", ", ".join(sorted(set(counted.uncovered["op"])))])
    size = "×".join(map(str, counted.metadata["input_shape"])) or "one number"
    many = "" if counted.samples == 1 else f"{counted.samples}, each "
    print_table(
        [counted.name, f"one sample of {many}{size}, T = {counted.metadata['timesteps']}"], rows
    )
    for note in notes:
        put(note)
    if output is not None:
        tell(f"saved {counted.save(output)}")


@dataclass(frozen=True)
class VerifiedSubject(SubjectOptions):
    """The options of ``verify``: those of ``profile``, with one small batch by default."""

    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 2
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to take; one batch by default.")
    ] = None


@app.command(
    "verify",
    epilog=examples(
        "The counts of a model of yours, held against three other counters:",
        "analyzer verify nets.py:Net --data images/ --samples 2",
        "A model of this package:",
        "analyzer verify vit-tiny",
    ),
)
@expand_options(without=("predict",))
def verify_command(model: Model, given: VerifiedSubject) -> None:
    """Holds dense counts against fvcore and PyTorch's counter, events against brute force.

    So are the parts of a profile: what each timestep and each group does, by brute force.
    """
    given.refuse_missing(model)
    from analyzer.cli.subject import open_subject
    from analyzer.verification.comparison import verify

    subject = open_subject(
        model, replace(given, samples=given.samples or given.batch_size), "verify"
    )
    with hosted(model):
        found = verify(
            subject.model,
            subject.batches,
            **subject.frame,
            groups=groups_of(given.groups) or None,
        )
    print_counts(found.rows)
    put(f"{subject.name}, {found.samples} samples: {found.summary}.")
    if found.unexplained:
        put("\nWithout a known reason:\n")
        print_counts(found.unexplained)
        count = len(found.unexplained)
        differ = "operation differs" if count == 1 else "operations differ"
        raise AnalyzerError(f"{count} {differ} without a known reason.")


@app.command(
    "train",
    epilog=examples(
        "On the digits that come with the package:",
        "analyzer train ge2mst-tiny --epochs 30 -o runs/mine.safetensors",
        "On images of yours, with a log; --resume goes on after an interruption:",
        "analyzer train vit-tiny --data images/ --log runs/vit.csv --resume",
    ),
)
def train_command(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A name from `analyzer models`.")],
    epochs: Annotated[int, typer.Option(min=1)] = 40,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option()] = 0,
    data: Annotated[
        str,
        typer.Option(
            metavar="digits|fashion-mnist|DIR",
            help="A folder is one of IDX files (MNIST), of CIFAR (binary), or has train and val.",
        ),
    ] = "digits",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a better held-out accuracy."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=2, help="Train on so many images only, evenly spaced.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="none|flip,shift,affine",
            help="How images are changed at random; by default affine, and flip where it is safe.",
        ),
    ] = None,
    synops_weight: Annotated[
        float,
        typer.Option(
            metavar="W", help="Added to the loss for each accumulate of an image, such as 1e-7."
        ),
    ] = 0.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")
    ] = False,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the model, such as groups=4; may be repeated."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Metrics, a row of CSV an epoch.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Weights to write (safetensors).")
    ] = None,
    progress: Progress = Shown.auto,
) -> None:
    """Trains a reference model on the embedded digits, or on images of yours."""
    from analyzer.train import train

    target = output or Path("runs") / f"{model}.safetensors"
    result = train(
        model,
        output=target,
        data=data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        patience=patience,
        images=images,
        augment=None if augment is None else [] if augment == "none" else augment.split(","),
        synops_weight=synops_weight,
        resume=resume,
        log=log,
        progress=progress,
        options=options_of(options or []),
    )
    put(f"{model}: {100 * result.test_accuracy:.2f} % of the test images; saved {result.output}")
