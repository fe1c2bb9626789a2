"""The four paradigms on one topology: what is measured."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from analyzer import models
from analyzer.data.digits import batches, digits
from analyzer.measure.session import profile
from analyzer.measure.training import training_memory
from analyzer.models.checkpoints import load_checkpoint
from analyzer.models.expg_if import Form, set_form
from analyzer.profiles import Profile
from analyzer.train import train

__all__ = ["CODINGS", "CONVERTED", "FORMS", "GROUPS", "STEPS", "Study", "measure"]

CONVERTED = (4, 8, 16, 32)
"""Timesteps of the conversion."""

STEPS = (1, 2, 4, 8, 16)
"""Timesteps that training is measured at."""

CODINGS = ((4, 1, None), (2, 2, None), (2, 2, 1), (1, 4, None), (1, 4, 2), (1, 4, 1))
"""Groups, steps a group and most spikes a group of the ablation, all of four timesteps."""

FORMS = (
    "groups",
    "steps",
    "max_spikes",
    "levels",
    "differing_predictions",
    "largest_logit_difference",
)
"""Columns of ``Study.forms``."""

GROUPS = ("temporal", "spatial", "structural")

_BATCH = 60
_TRAINING_BATCH = 16

Images = Dataset[tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Study:
    """All that the study measured.

    Attributes:
        profiles: The paradigms on the test digits, the ANN first.
        codings: The Ge²mS-T weights under other codings, in the order of ``forms``.
        forms: A row a coding: ``groups, steps, max_spikes, levels``, how many predictions of the
            two forms differ, and the ``largest_logit_difference``.
        training: A row a paradigm and number of timesteps: ``model, timesteps, samples,
            saved_bytes, measured_peak_bytes, seconds`` of a training step.
        trained: Epochs that each coding was trained for, 0 where the shipped weights were used.
    """

    profiles: tuple[Profile, ...]
    codings: tuple[Profile, ...]
    forms: pd.DataFrame
    training: pd.DataFrame
    trained: int


def measure(
    samples: int | None = None,
    *,
    train_epochs: int = 0,
    noted: Callable[[str], object] = print,
) -> Study:
    """Measures the study with the trained weights that the package ships.

    Args:
        samples: How many of the 360 test digits, all by default.
        train_epochs: For how many epochs to train each coding of the ablation, from scratch. With 0
            the weights that were trained with G=2, K=2 are given the other codings.
        noted: Called with what is measured next.
    """
    whole = digits()[1]
    test = Subset(whole, range(min(samples or len(whole), len(whole))))
    subjects = [
        ("ann", models.build("ge2mst-tiny-ann", pretrained=True)),
        *(
            (f"converted T={T}", models.build("ge2mst-tiny-converted", True, timesteps=T))
            for T in CONVERTED
        ),
        ("stbp T=4", models.build("ge2mst-tiny-stbp", pretrained=True)),
        ("ge2mst T=4", models.build("ge2mst-tiny", pretrained=True)),
    ]
    profiles = []
    for name, model in subjects:
        noted(f"profiling {name}")
        profiles.append(_profiled(model, name, test, "shipped"))
    found, forms = [], []
    for groups, steps, limit in CODINGS:
        name = f"G={groups} K={steps}" + ("" if limit is None else f" m={limit}")
        noted(f"profiling the coding {name}")
        coding = {"groups": groups, "steps": steps, "max_spikes": limit}
        model = _coded(coding, train_epochs)
        weights = f"trained for {train_epochs} epochs" if train_epochs else "shipped"
        found.append(_profiled(model, name, test, weights))
        levels = model.config.coding.levels  # type: ignore[union-attr]
        forms.append(coding | {"levels": levels} | _forms(model, test))
    noted("measuring training steps")
    return Study(
        tuple(profiles), tuple(found), pd.DataFrame(forms), _training(), trained=train_epochs
    )


def _coded(coding: dict[str, Any], epochs: int) -> nn.Module:
    if not epochs:
        return models.build("ge2mst-tiny", pretrained=True, **coding)
    model = models.build("ge2mst-tiny", **coding)
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            "ge2mst-tiny", output=Path(folder) / "w.safetensors", epochs=epochs, options=coding
        )
        load_checkpoint(model, result.output)
    return model


def _profiled(model: nn.Module, name: str, test: Images, weights: str) -> Profile:
    steps = getattr(model, "timesteps", 1)
    groups = {"temporal": min(steps, 4), "spatial": 2, "structural": 4}
    made = profile(model.eval(), batches(test, _BATCH), groups=groups, name=name, progress=False)
    about = {"data": "digits", "split": "test", "weights": weights}
    return replace(made, metadata={**made.metadata, **about})


@torch.no_grad()
def _forms(model: nn.Module, test: Images) -> dict[str, float]:
    """How the training form and the inference form differ."""
    differing, largest = 0, 0.0
    for images, _ in batches(test, _BATCH):
        logits = []
        for form in get_args(Form):
            set_form(model, form)
            logits.append(model(images))
        differing += int((logits[0].argmax(1) != logits[1].argmax(1)).sum())
        largest = max(largest, float((logits[0] - logits[1]).abs().max()))
    return {"differing_predictions": differing, "largest_logit_difference": largest}


def _training() -> pd.DataFrame:
    """Each step in a process of its own: what one leaves in memory would hide the next one's."""
    tasks = [("ann", 1), *((name, T) for name in ("ge2mst", "stbp") for T in STEPS)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return pd.DataFrame(list(pool.map(_trained, tasks)))


def _trained(task: tuple[str, int]) -> dict[str, object]:
    name, timesteps = task
    torch.set_num_threads(1)  # on busy cores several wait for each other, and times say nothing
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
