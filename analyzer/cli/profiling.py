"""The command ``profile``: with one worker, with several, or one share of the data.

It imports torch when it is called, not when the command line starts.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import analyzer
from analyzer.cli.hosting import hosted
from analyzer.cli.interruption import kept
from analyzer.cli.launched import launched
from analyzer.cli.options import (
    AnyProfileToWrite,
    Model,
    Progress,
    SubjectOptions,
    examples,
    expand_options,
    groups_of,
)
from analyzer.cli.parts import in_parts
from analyzer.cli.show import tell
from analyzer.cli.workers import TIMEOUT_S, meeting
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.files import refuse_unwritable
from analyzer.specs import called
from analyzer.terminal import Shown

if TYPE_CHECKING:
    from analyzer.cli.subject import Subject
    from analyzer.profiles import Profile

app = typer.Typer()


@app.command(
    "profile",
    epilog=examples(
        "A model of yours on a folder of images, class by class:",
        "analyzer profile nets.py:Net --data images/ --checkpoint weights.pth",
        "A model that takes its timesteps first, on random data:",
        "analyzer profile nets.py:snn --input 8,8 --timesteps 4 --layout 'T B H W'",
        "A trained model of this package, on the digits that come with it:",
        "analyzer profile vit-tiny --samples 60",
        "With what single samples did, for intervals:",
        "analyzer profile vit-tiny --samples 60 --per-sample",
        "A long run, which goes on where it was killed:",
        "analyzer profile vit-tiny --samples 60 --parts 3",
        "A job of an array, whose share is one of eight:",
        "analyzer profile vit-tiny --shard 2/8 -o parts/2.json.gz",
    ),
)
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
    per_sample: Annotated[
        bool,
        typer.Option(
            "--per-sample",
            help="Also keep what single samples did, for intervals and `paired`; runs one sample "
            "at a time.",
        ),
    ] = False,
    output: AnyProfileToWrite = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Count one share of the data, such as 2/8; `merge` puts all of them together.",
            show_default=False,
        ),
    ] = "",
    parts: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Count in N parts that are kept until all are done: where the run is killed, the "
            "same command goes on.",
        ),
    ] = None,
    worker_timeout: Annotated[
        float,
        typer.Option(min=1, help="Seconds after which a worker that is not heard of is given up."),
    ] = TIMEOUT_S,
    progress: Progress = Shown.auto,
) -> None:
    """Measures a model on data and saves the profile.

    Under torchrun, srun or mpirun each worker counts a share of the data, and worker 0 writes the
    file, which is that of one worker.
    """
    from analyzer.merging import merged_in_order

    of = _shard_of(shard)
    who = None if of else launched(os.environ)
    part = f"-{of[0]}-of-{of[1]}" if of else ""
    target = output or Path("profiles") / f"{name or called(model)}{part}.json"
    refuse_unwritable(target)
    if measure and (of or who):
        raise AnalyzerError(
            "the counter of energy hears of all workers of a machine: leave --measure out, or "
            "profile with one worker."
        )

    if per_sample and (of or who or parts):
        raise AnalyzerError(
            "--per-sample keeps samples of a whole run: leave it out, or profile with one worker "
            "and in one part."
        )
    if parts and (of or who or measure):
        raise AnalyzerError(
            "--parts counts a run of one worker in parts: leave it out with --shard, --measure or "
            "several workers, of which each counts a part."
        )
    given.refuse_missing(model)

    from analyzer.cli.subject import open_subject

    def measured_as(of: tuple[int, int] | None, shown: Shown) -> Profile:
        subject = open_subject(model, given, "profile")
        with hosted(model):
            return _measured(
                subject, given, name, fold, of, shown, energy=measure, per_sample=per_sample
            )

    if parts:
        in_parts(
            parts,
            target,
            {"model": model, **asdict(given), "name": name, "fold": fold},
            lambda of: measured_as(of, progress),
            lambda whole: _say(whole, target),
        )
        return
    if who is None:
        with kept(lambda: _as_before(target)):
            measured = measured_as(of, progress)
        _say(measured, target)
        return
    with meeting(who, target, worker_timeout) as workers:
        with warnings.catch_warnings(), kept(lambda: _as_before(target)):
            # Worker 0 gives them, and that of operations without a rule for all shares at once.
            said = "no rule covers" if who.rank == 0 else ""
            warnings.filterwarnings("ignore", said, AnalyzerWarning)
            share = measured_as((who.rank + 1, who.size), Shown.off if who.rank else progress)
        if who.rank:
            workers.hand_in(share)
        else:
            from analyzer.measure.session.results import warn_of_uncovered

            others = (analyzer.load(path) for path in workers.collected())
            whole = merged_in_order(chain([share], others))
            warn_of_uncovered(whole.uncounted)
            _say(whole, target)


def _measured(
    subject: Subject,
    given: SubjectOptions,
    name: str,
    fold: bool,
    of: tuple[int, int] | None,
    progress: Shown,
    *,
    energy: bool,
    per_sample: bool,
) -> Profile:
    """The profile of a subject, or of one share of its data."""
    from analyzer.facts.shards import share_of

    measured = analyzer.profile(
        subject.model,
        subject.batches,
        **subject.frame,
        groups=groups_of(given.groups) or None,
        predict=subject.predict,
        name=name or subject.name,
        fold_batch_norm=fold,
        per_sample=per_sample,
        progress=progress,
        shard=of,
    )
    held = subject.samples
    if held is not None and of is not None:
        start, stop = share_of(*of, len(subject.batches))
        held = min(held, stop * given.batch_size) - min(held, start * given.batch_size)
    if held not in (None, measured.samples):
        raise AnalyzerError(
            f"{given.data} holds {held} samples on its first axis, and the model took them as "
            f"{measured.samples} (told by {measured.metadata['frame']['samples']}): name the axes "
            "that it takes, such as --layout 'T B C H W'."
        )
    about = dict(subject.about)
    if energy:
        from analyzer.measure.hardware import measure_energy

        found = measure_energy(subject.model, subject.batches, **subject.frame)
        about["measured_energy"] = found.as_metadata()
        tell(f"energy of this device: {found}")
    return replace(measured, metadata={**measured.metadata, **about})


def _say(measured: Profile, target: Path) -> None:
    """Saves a profile, and says what it is in a line or two."""
    from analyzer.facts.sent import in_words
    from analyzer.units import format_si

    measured.save(target)
    steps = measured.metadata["timesteps"] or "unknown"
    work = ""
    if measured.samples:
        figures = measured.per_sample()
        work = f", {format_si(figures['ac'])} AC and {format_si(figures['mac'])} MAC per sample"
    tell(
        f"{measured.name}: {measured.samples} samples, T = {steps}{work}"
        f"{_accuracy_of(measured)}; saved {target}"
    )
    fired = in_words(measured.sent or ())
    if fired:
        tell(fired)
    if measured.sampled is not None:
        tell(measured.spread().summary)


def _shard_of(text: str) -> tuple[int, int] | None:
    """Parses a share such as ``2/8``; empty text gives None."""
    if not text:
        return None
    index, slash, of = text.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
        raise typer.BadParameter(f"{text!r} is no share: write 2/8, from 1/8 to 8/8.")
    return int(index), int(of)


def _accuracy_of(measured: Profile) -> str:
    """The accuracy, or why there is none, as it goes on after a comma."""
    if measured.accuracy is not None:
        return f", accuracy {measured.accuracy:.1%}"
    if measured.metadata.get("data") == "random":
        return ""
    if not measured.samples:
        return ", no batch in this share"
    return f", no accuracy ({measured.metadata.get('accuracy') or 'the data hold no labels'})"


def _as_before(target: Path) -> str:
    return f"nothing was written{f', and {target} is as it was' if target.exists() else ''}"
