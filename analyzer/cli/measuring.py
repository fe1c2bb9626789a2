"""Commands that build models: profile, count, verify, train and study.

They import torch when they are called, not when the command line starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import analyzer
from analyzer.cli.options import (
    Convention,
    Inputs,
    Layout,
    Model,
    Samples,
    SubjectOptions,
    Technology,
    Timesteps,
    expand_options,
    figures_of,
    groups_of,
    inputs_of,
    layouts_of,
    needing_extra,
    options_of,
    shape_of,
)
from analyzer.cli.show import print_counts, print_table, stderr
from analyzer.errors import AnalyzerError
from analyzer.facts.sent import in_words

if TYPE_CHECKING:
    from analyzer.cli.subject import Subject

app = typer.Typer()


def _open_subject(model: str, given: SubjectOptions) -> Subject:
    """The model that a command names, with the weights and data that its options choose."""
    from analyzer.cli.subject import open_subject

    return open_subject(
        model,
        given.data,
        checkpoint=given.checkpoint,
        shape=shape_of(given.input_shape),
        timesteps=given.timesteps,
        batch_size=given.batch_size,
        samples=given.samples,
        layouts=layouts_of(given.layout),
        predict=given.predict,
        loop=given.loop,
        scale=given.scale,
        mean=figures_of(given.mean),
        std=figures_of(given.std),
        seed=given.seed,
    )


def _frame_of(subject: Subject, given: SubjectOptions) -> dict[str, Any]:
    """What tells how a subject runs: the same for all commands that run one."""
    return {
        "timesteps": given.timesteps,
        "loop": given.loop,
        "layouts": subject.layouts,
        "forward": subject.forward,
    }


@app.command("profile")
@expand_options()
def profile_command(
    model: Model,
    given: SubjectOptions,
    name: Annotated[str, typer.Option(help="How tables call it.")] = "",
    fold: Annotated[
        bool, typer.Option(help="Whether batch norm that folds into the layer before it is free.")
    ] = True,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also read the energy counter of the CPU or GPU.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Profile to write (.json or .json.gz).")
    ] = None,
) -> None:
    """Measures a model on data and saves the profile."""
    from analyzer.units import format_si

    subject = _open_subject(model, given)
    measured = analyzer.profile(
        subject.model,
        subject.batches,
        **_frame_of(subject, given),
        groups=groups_of(given.groups) or None,
        predict=subject.predict,
        name=name or subject.name,
        fold_batch_norm=fold,
    )
    held = subject.samples
    if held not in (None, measured.samples):
        raise AnalyzerError(
            f"{given.data} holds {held} samples on its first axis, and the model took them as "
            f"{measured.samples} (told by {measured.metadata['frame']['samples']}): name the axes "
            "that it takes, such as --layout 'T B C H W'."
        )
    about = dict(subject.about)
    if measure:
        from analyzer.measure.hardware import measure_energy

        found = measure_energy(
            subject.model,
            subject.batches,
            **_frame_of(subject, given),
        )
        about["measured_energy"] = found.as_metadata()
        stderr().print(f"energy of this device: {found}", highlight=False, soft_wrap=True)
    measured = replace(measured, metadata={**measured.metadata, **about})
    target = output or Path("profiles") / f"{measured.name}.json"
    measured.save(target)
    figures = measured.per_sample()
    stderr().print(
        f"{measured.name}: {measured.samples} samples, "
        f"T = {measured.metadata['timesteps'] or 'unknown'}, "
        f"{format_si(figures['ac'])} AC and {format_si(figures['mac'])} MAC per sample; "
        f"saved {target}",
        highlight=False,
        soft_wrap=True,
    )
    fired = in_words(measured.sent or ())
    if fired:
        stderr().print(fired, markup=False, highlight=False, soft_wrap=True)


@app.command("count")
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
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Profile to write (.json or .json.gz).")
    ] = None,
) -> None:
    """Counts a model by its shapes, without running it; with rates, prices it."""
    from analyzer.cli.subject import meta_subject, with_own_layouts
    from analyzer.units import format_bytes, format_si

    subject, given = meta_subject(model, inputs_of(inputs or ()), timesteps)
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
        typer.echo(note)
    if output is not None:
        typer.echo(f"saved {counted.save(output)}", err=True)


@dataclass(frozen=True)
class VerifiedSubject(SubjectOptions):
    """The options of ``verify``: those of ``profile``, with one small batch by default."""

    batch_size: Annotated[int, typer.Option(min=1, help="Samples a batch.")] = 2
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to take; one batch by default.")
    ] = None


@app.command("verify")
@expand_options(without=("predict",))
def verify_command(model: Model, given: VerifiedSubject) -> None:
    """Holds dense counts against fvcore and PyTorch's counter, events against brute force.

    So are the parts of a profile: what each timestep and each group does, by brute force.
    """
    from analyzer.verification.comparison import verify

    subject = _open_subject(model, replace(given, samples=given.samples or given.batch_size))
    found = verify(
        subject.model,
        subject.batches,
        **_frame_of(subject, given),
        groups=groups_of(given.groups) or None,
    )
    print_counts(found.rows)
    typer.echo(f"{subject.name}, {found.samples} samples: {found.summary}.")
    if found.unexplained:
        typer.echo("\nWithout a known reason:\n")
        print_counts(found.unexplained)
        count = len(found.unexplained)
        differ = "operation differs" if count == 1 else "operations differ"
        raise AnalyzerError(f"{count} {differ} without a known reason.")


@app.command("train")
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
        options=options_of(options or []),
    )
    typer.echo(
        f"{model}: {100 * result.test_accuracy:.2f} % of the test images; saved {result.output}"
    )


class Study(StrEnum):
    """The studies that `study` can run."""

    paradigms = "paradigms"
    published = "published"
    reproduction = "reproduction"


@app.command("study")
def study_command(
    subject: Annotated[Study, typer.Argument(help="What to compare.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    data: Annotated[
        str, typer.Option(metavar="digits|fashion-mnist", help="What to measure paradigms on.")
    ] = "digits",
    samples: Samples = None,
    runs: Annotated[
        Path | None,
        typer.Option(help="Folder of trained weights to compare: several seeds, and their logs."),
    ] = None,
    train_codings: Annotated[
        int, typer.Option(min=0, metavar="EPOCHS", help="Train each coding of the ablation anew.")
    ] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Render what the folder holds; measure nothing.")
    ] = False,
    technology: Technology = "45nm",
    convention: Convention = "exact",
) -> None:
    """Compares paradigms, or the published networks, or rebuilds published energies."""
    from analyzer.energy import convention as conventions
    from analyzer.energy import technology as technologies

    # An unknown name must fail now, not after hours of work.
    technologies.technology(technology), conventions.convention(convention)
    of_paradigms = samples or train_codings or convention != "exact" or data != "digits" or runs
    of_published = again or technology != "45nm"
    if (of_paradigms and subject is not Study.paradigms) or (
        of_published and subject is Study.reproduction
    ):
        raise typer.BadParameter(f"the study of {subject.value} takes fewer options.")
    if subject is Study.reproduction:
        with needing_extra("a study"):
            from analyzer.study import reproduction
        typer.echo(f"wrote {reproduction.render(output)}")
        return
    if subject is Study.published:
        with needing_extra("a study"):
            from analyzer.study import published
        if not again:
            published.measure(output, noted=lambda text: typer.echo(text, err=True))
        page = published.render(published.read(output), output, technology=technology)
        typer.echo(f"wrote {page}")
        return
    with needing_extra("a study"):
        from analyzer.study.rendering import read, render
        from analyzer.study.runs import rendering as of_runs
    from analyzer.study.paradigms import measure

    def note(text: str) -> None:
        typer.echo(text, err=True)

    if runs is not None or (again and of_runs.is_in(output)):
        if runs is not None and again:
            raise typer.BadParameter("--again renders what is there, and --runs measures.")
        if train_codings:
            raise typer.BadParameter("--runs takes trained weights, so it trains no codings.")
        if runs is not None:
            from analyzer.study.runs.measure import measure as measure_runs

            measure_runs(runs, output, data=data, samples=samples, noted=note)
        found_runs = of_runs.read(output)
        page = of_runs.render(found_runs, output, technology=technology, convention=convention)
        typer.echo(f"wrote {page}")
        return
    if again:
        found = read(output)
    else:
        found = measure(samples, data=data, train_epochs=train_codings, noted=note)
    page = render(found, output, technology=technology, convention=convention)
    typer.echo(f"wrote {page}")
