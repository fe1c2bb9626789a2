"""Profiles trained networks on test images, and keeps what else their weights tell in the profile.

A profile that is there already for the same weights, settings and images is not measured again, so
that a long measurement may be interrupted. ``collection`` reads the profiles for tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from analyzer import models
from analyzer.counting import count
from analyzer.data.digits import batches
from analyzer.errors import AnalyzerError
from analyzer.files import write_atomically
from analyzer.inert import csv_of
from analyzer.measure.session.profiling import profile
from analyzer.models.checkpoints import load_checkpoint
from analyzer.models.conversion import Rectifier
from analyzer.models.expg_if import ExpGIF, set_form
from analyzer.profiles import Profile, load
from analyzer.study.paradigms import Images, groups_for, test_images, training_steps
from analyzer.study.runs.collection import CONVERTED, OURS
from analyzer.study.runs.subjects import CONVERSION_STEPS, OTHER_STEPS, Subject, subjects
from analyzer.study.runs.twins import WEIGHT_BITS
from analyzer.train.records import read_runs

__all__ = ["TWIN_LEVELS", "measure"]

TWIN_LEVELS = (2, 4, 6, 8, 15, 16, 32)
"""Levels that the activations of each ANN are quantised to, for its accuracy as a twin."""

_BATCH = 100


def measure(
    runs: Path,
    output: Path,
    *,
    data: str,
    samples: int | None = None,
    converted: Sequence[int] = CONVERSION_STEPS,
    other_steps: Sequence[int] = OTHER_STEPS,
    twin_levels: Sequence[int] = TWIN_LEVELS,
    steps: bool = True,
    noted: Callable[[str], object] = print,
) -> None:
    """Profiles every file of weights of a folder; writes ``profiles/`` and ``tables/training.csv``.

    Args:
        runs: Folder of the files of weights that ``analyzer train`` wrote, with their logs.
        output: Folder of the study.
        data: The test images, as :func:`analyzer.data.splits.open_splits` takes them.
        samples: How many of the test images to use, the first ones; all by default.
        converted: Numbers of timesteps of the conversions of each ANN.
        other_steps: Numbers of timesteps that plainly trained networks are run at as well.
        twin_levels: Levels that the activations of each ANN are quantised to.
        steps: Whether to measure training steps, where the folder has none yet.
        noted: Called with a line of text before each measurement.

    Raises:
        AnalyzerError: If the runs or the data can't be read.
    """
    found = read_runs(runs)
    test = test_images(data, samples)
    todo = list(subjects(found, converted, other_steps))
    for number, subject in enumerate(todo, 1):
        target = output / "profiles" / subject.file
        about = _about(subject, data, len(test), twin_levels)
        if not _is_there(target, about):
            noted(f"{number} of {len(todo)}: {subject.name}")
            _measured(subject, test, about).save(target)
        _note_accuracy(target, subject, test.dataset)
    table = output / "tables" / "training.csv"
    if steps and not table.exists():
        noted("training steps")
        write_atomically(table, csv_of(training_steps()).encode())


def _about(subject: Subject, data: str, samples: int, twin_levels: Sequence[int]) -> dict[str, Any]:
    """What a profile says of its subject; what is equal here is not measured again."""
    run = subject.run
    return {
        "series": subject.series,
        "model": subject.model,
        "paradigm": models.describe(subject.model).paradigm,
        "trained": subject.trained,
        "seed": run.seed,
        "options": subject.options,
        "synops_weight": run.synops_weight,
        "file": run.path.name,
        "digest": run.digest,
        "command": run.command,
        "epochs": run.epochs,
        "cpu_seconds": run.cpu_seconds,
        "machine": run.machine,
        "recorded_accuracy": run.test_accuracy,
        "data": data,
        "samples": samples,
        "twin_levels": list(twin_levels),
    }


def _is_there(target: Path, about: Mapping[str, Any]) -> bool:
    if not target.exists():
        return False
    try:
        made = load(target).metadata.get("study")
    except AnalyzerError:
        return False
    return isinstance(made, Mapping) and all(made.get(key) == about[key] for key in about)


def _measured(subject: Subject, test: Images, about: dict[str, Any]) -> Profile:
    model = _built(subject.model, subject.options, subject.run.path)
    logits: list[Tensor] = []

    def predict(output: Tensor) -> Tensor:
        logits.append(output)
        return output.argmax(1)

    made = profile(
        model,
        batches(test, _BATCH),
        groups=groups_for(model),
        predict=predict,
        name=subject.name,
        progress=False,
    )
    found: dict[str, Any] = {}
    if any(isinstance(module, ExpGIF) for module in model.modules()):
        found |= _forms(model, test, torch.cat(logits))
    if any(isinstance(module, Rectifier) for module in model.modules()):
        found["quantised_correct"] = {
            str(levels): _quantised(subject, levels, test) for levels in about["twin_levels"]
        }
    if subject.model == OURS:
        found |= _attention(subject.options)
    about = about | found
    meta = {"data": about["data"], "split": "test", "weights": about["file"], "study": about}
    return replace(made, metadata={**made.metadata, **meta})


def _note_accuracy(target: Path, subject: Subject, whole: Images) -> None:
    """Notes in a profile how many of all test images the network gets right, if it does not say.

    The record of the training tells it of a network that is run as it was trained. Others are run
    in the form without a time axis where they have one, which answers the same.
    """
    made, count = load(target), len(cast(Sized, whole))
    about = made.metadata["study"]
    if about.get("images_of_all") == count:
        return
    if subject.trained:
        right = round(subject.run.test_accuracy * count)
    else:
        model = _built(subject.model, subject.options, subject.run.path)
        set_form(model, "training")
        logits, labels = _answers(model, whole)
        right = int((logits.argmax(1) == labels).sum())
    about = {**about, "correct_of_all": right, "images_of_all": count}
    replace(made, metadata={**made.metadata, "study": about}).save(target)


def _built(name: str, options: Mapping[str, Any], weights: Path) -> nn.Module:
    model = models.build(name, **options).eval()
    load_checkpoint(model, weights)
    return model


def _forms(model: nn.Module, test: Images, sent: Tensor) -> dict[str, Any]:
    """How the training form differs from what the inference form answered, and its integer twin."""
    set_form(model, "training")
    levels, right = _answers(model, test)
    twin, _ = _answers(_rounded_weights(model), test)
    return {
        "levels": next(m.coding.levels for m in model.modules() if isinstance(m, ExpGIF)),
        "differing_predictions": int((levels.argmax(1) != sent.argmax(1)).sum()),
        "largest_logit_difference": float((levels - sent).abs().max()),
        "twin_correct": int((twin.argmax(1) == right).sum()),
    }


def _attention(options: Mapping[str, Any]) -> dict[str, int]:
    """Dense work of the products of attention, in windows and if each were the whole map."""
    windows = {"windows": ((None, None), (None, None))}
    found = {}
    for key, more in (("attention_macs", {}), ("whole_map_macs", windows)):
        table = count(OURS, **{**options, **more}).counts
        found[key] = int(table.loc[table["op"] == "matmul", "dense_macs"].sum())
    return found


def _quantised(subject: Subject, levels: int, test: Images) -> int:
    """How many images an ANN gets right with weights and activations quantised.

    Its conversion to so many timesteps, in the form without a time axis, has these activations:
    integers from 0 to the number of timesteps.
    """
    model = _built(CONVERTED, {"timesteps": levels, "form": "training"}, subject.run.path)
    logits, right = _answers(_rounded_weights(model), test)
    return int((logits.argmax(1) == right).sum())


@torch.no_grad()
def _rounded_weights(model: nn.Module) -> nn.Module:
    """Rounds the weights of all layers to integers of one step an output channel, in place."""
    top = 2 ** (WEIGHT_BITS - 1) - 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            step = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / top
            step = step.view(-1, *[1] * (weight.dim() - 1))
            weight.copy_((weight / step).round() * step)
    return model


@torch.no_grad()
def _answers(model: nn.Module, test: Images) -> tuple[Tensor, Tensor]:
    """The logits of all images, and their labels."""
    pairs = [(model(images), labels) for images, labels in batches(test, _BATCH)]
    return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])
