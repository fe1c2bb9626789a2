"""Measures the study of paradigms: one network as an ANN, converted, trained by STBP, and Ge²mS-T.

Only the neurons differ. :func:`measure` profiles all variants on the embedded digits or on
Fashion-MNIST, compares the two forms of Ge²mS-T under several codings, and measures what a training
step costs. ``rendering`` writes the result as a page.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Sized
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from analyzer import models
from analyzer.data.digits import batches, digits
from analyzer.data.idx import FASHION
from analyzer.data.splits import open_splits
from analyzer.errors import unknown
from analyzer.measure.session.profiling import profile
from analyzer.measure.training.memory import training_memory
from analyzer.models.checkpoints import load_checkpoint
from analyzer.models.expg_if import Form, set_form
from analyzer.profiles import Profile
from analyzer.train import train

__all__ = ["CODINGS", "CONVERTED", "DATA", "FORMS", "STEPS", "Images", "Study", "groups_for",
           "measure", "test_images", "training_steps"]  # fmt: skip

DATA = ("digits", FASHION)
"""What the study can be measured on."""

CONVERTED = (4, 8, 16, 32)
"""Numbers of timesteps that the converted network is profiled at."""

STEPS = (1, 2, 4, 8, 16)
"""Numbers of timesteps that training steps are measured at."""

CODINGS = ((4, 1, None), (2, 2, None), (2, 2, 1), (1, 4, None), (1, 4, 2), (1, 4, 1))
"""The codings that are compared, all of four timesteps: groups, steps and most spikes a group."""

FORMS = (
    "groups",
    "steps",
    "max_spikes",
    "levels",
    "differing_predictions",
    "largest_logit_difference",
)
"""Columns of ``Study.forms``."""

_BATCH = 60
_TRAINING_BATCH = 16

Images = Dataset[tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Study:
    """The measurements of the study.

    Attributes:
        profiles: One profile for each paradigm on the test images, the ANN first.
        codings: One profile of Ge²mS-T for each coding, in the order of ``forms``.
        forms: One row for each coding: ``groups, steps, max_spikes, levels``, how many predictions
            of the training and the inference form differ, and the ``largest_logit_difference``.
        training: One row for each paradigm and number of timesteps: ``model, timesteps, samples,
            saved_bytes, measured_peak_bytes, seconds`` of a training step.
        trained: Epochs that each coding was trained for, 0 if the shipped weights were used.
    """

    profiles: tuple[Profile, ...]
    codings: tuple[Profile, ...]
    forms: pd.DataFrame
    training: pd.DataFrame
    trained: int

    @property
    def data(self) -> str:
        """What it was measured on."""
        return str(self.profiles[0].metadata["data"])


def measure(
    samples: int | None = None,
    *,
    data: str = "digits",
    train_epochs: int = 0,
    noted: Callable[[str], object] = print,
) -> Study:
    """Measures the study with the trained weights that the package ships.

    Args:
        samples: How many of the test images to use (360 digits, 10,000 of Fashion-MNIST), all by
            default.
        data: One of :data:`DATA`.
        train_epochs: Epochs to train each coding from scratch. With 0 all codings use the weights
            that were trained with G=2, K=2.
        noted: Called with a line of text before each measurement.

    Raises:
        AnalyzerError: If the data is not known or not there, or has no weights.
    """
    if data not in DATA:
        raise unknown("data of a study", data, DATA)
    test = test_images(data, samples)
    subjects = [
        ("ann", models.build("ge2mst-tiny-ann", pretrained=data)),
        *(
            (f"converted T={T}", models.build("ge2mst-tiny-converted", data, timesteps=T))
            for T in CONVERTED
        ),
        ("stbp T=4", models.build("ge2mst-tiny-stbp", pretrained=data)),
        ("ge2mst T=4", models.build("ge2mst-tiny", pretrained=data)),
    ]
    number = len(subjects) + len(CODINGS) + 1
    profiles = []
    for at, (name, model) in enumerate(subjects, 1):
        noted(f"{at} of {number}: profiling {name}")
        profiles.append(_profiled(model, name, test, data, "shipped"))
    found, forms = [], []
    for at, (groups, steps, limit) in enumerate(CODINGS, len(subjects) + 1):
        name = f"G={groups} K={steps}" + ("" if limit is None else f" m={limit}")
        noted(f"{at} of {number}: profiling the coding {name}")
        coding = {"groups": groups, "steps": steps, "max_spikes": limit}
        model = _coded(coding, data, train_epochs)
        weights = f"trained for {train_epochs} epochs" if train_epochs else "shipped"
        found.append(_profiled(model, name, test, data, weights))
        levels = model.config.coding.levels  # type: ignore[union-attr]
        forms.append(coding | {"levels": levels} | _forms(model, test))
    noted(f"{number} of {number}: measuring training steps")
    return Study(
        tuple(profiles), tuple(found), pd.DataFrame(forms), training_steps(), trained=train_epochs
    )


def test_images(data: str, samples: int | None) -> Subset[tuple[torch.Tensor, ...]]:
    """The first test images of a data set, or all of them, as the networks of studies read them."""
    whole = open_splits(data, (1, 32, 32)).test
    count = len(cast(Sized, whole))
    return Subset(whole, range(min(samples or count, count)))


def groups_for(model: nn.Module) -> dict[str, int]:
    """The groups that sparsity is counted in, by axis."""
    return {"temporal": min(getattr(model, "timesteps", 1), 4), "spatial": 2, "structural": 4}


def _coded(coding: dict[str, Any], data: str, epochs: int) -> nn.Module:
    if not epochs:
        return models.build("ge2mst-tiny", pretrained=data, **coding)
    model = models.build("ge2mst-tiny", **coding)
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            "ge2mst-tiny",
            output=Path(folder) / "w.safetensors",
            data=data,
            epochs=epochs,
            options=coding,
        )
        load_checkpoint(model, result.output)
    return model


def _profiled(model: nn.Module, name: str, test: Images, data: str, weights: str) -> Profile:
    groups = groups_for(model)
    made = profile(model.eval(), batches(test, _BATCH), groups=groups, name=name, progress=False)
    about = {"data": data, "split": "test", "weights": weights}
    return replace(made, metadata={**made.metadata, **about})


@torch.no_grad()
def _forms(model: nn.Module, test: Images) -> dict[str, float]:
    """By how much the outputs of the training form and the inference form differ."""
    differing, largest = 0, 0.0
    for images, _ in batches(test, _BATCH):
        logits = []
        for form in get_args(Form):
            set_form(model, form)
            logits.append(model(images))
        differing += int((logits[0].argmax(1) != logits[1].argmax(1)).sum())
        largest = max(largest, float((logits[0] - logits[1]).abs().max()))
    return {"differing_predictions": differing, "largest_logit_difference": largest}


def training_steps() -> pd.DataFrame:
    """Measures training steps of each paradigm at each number of :data:`STEPS`.

    Each in a new process: memory of one would hide that of the next.

    Returns:
        One row for each paradigm and number of timesteps, as ``Study.training``.
    """
    tasks = [("ann", 1), *((name, T) for name in ("ge2mst", "stbp") for T in STEPS)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return pd.DataFrame(list(pool.map(_training_step, tasks)))


def _training_step(task: tuple[str, int]) -> dict[str, object]:
    name, timesteps = task
    torch.set_num_threads(1)  # with several threads, times vary too much on busy cores
    if name == "ann":
        model = models.build("ge2mst-tiny-ann")
    elif name == "stbp":
        model = models.build("ge2mst-tiny-stbp", timesteps=timesteps)
    else:
        steps = min(timesteps, 2)
        model = models.build("ge2mst-tiny", form="training", groups=timesteps // steps, steps=steps)
    images, labels = digits()[0][:_TRAINING_BATCH]
    found = training_memory(
        model, images, loss=lambda logits: nn.functional.cross_entropy(logits, labels)
    )
    return {
        "model": name,
        "timesteps": timesteps,
        "samples": found.samples,
        "saved_bytes": found.saved_bytes,
        "measured_peak_bytes": found.measured_peak_bytes,
        "seconds": found.seconds,
    }
