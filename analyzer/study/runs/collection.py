"""The profiles of a study of trained runs, and the table of them that all others are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyzer.energy.tables.compare import compare
from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile, load

__all__ = ["ANN", "CONVERTED", "OURS", "STBP", "Collection", "about", "is_rival", "read", "runs_of"]

OURS, ANN = "ge2mst-tiny", "ge2mst-tiny-ann"
CONVERTED, STBP = "ge2mst-tiny-converted", "ge2mst-tiny-stbp"

TOPOLOGY = (ANN, CONVERTED, STBP, OURS)
"""The models that are one network with other neurons, in the order of tables."""


@dataclass(frozen=True)
class Collection:
    """The measurements of a study of trained runs.

    Attributes:
        profiles: One for each network and seed, in the order of tables.
        training: Training steps, as ``Study.training`` of the study of paradigms; may be empty.
    """

    profiles: tuple[Profile, ...]
    training: pd.DataFrame

    @property
    def samples(self) -> int:
        """How many test images each profile is of."""
        return self.profiles[0].samples

    @property
    def data(self) -> str:
        """What the images are."""
        return str(about(self.profiles[0])["data"])

    def of(self, series: str) -> dict[int, Profile]:
        """The profiles of a series by seed."""
        found = (p for p in self.profiles if about(p)["series"] == series)
        return {about(p)["seed"]: p for p in found}

    @property
    def series(self) -> list[str]:
        """All series, in the order of tables."""
        return list(dict.fromkeys(str(about(p)["series"]) for p in self.profiles))


def is_rival(series: str) -> bool:
    """Whether a series is one that Ge²mS-T is set against: the ANN, STBP and conversions."""
    return series in (ANN, STBP) or series.startswith(CONVERTED)


def about(profile: Profile) -> Mapping[str, Any]:
    """What the study noted of a profile beside its counts."""
    found: Mapping[str, Any] = profile.metadata["study"]
    return found


def read(folder: Path) -> Collection:
    """Loads the profiles that a measurement wrote into a folder.

    Raises:
        AnalyzerError: If there are none, the four paradigms' ANN or Ge²mS-T is missing, or they
            are of different images.
    """
    paths = sorted((folder / "profiles").glob("*.json.gz"))
    profiles = [p for p in map(load, paths) if "study" in p.metadata]
    known = {about(p)["series"] for p in profiles}
    lacking = [series for series in (ANN, OURS) if series not in known]
    if lacking:
        raise AnalyzerError(
            f"{folder} holds no profile of {' and '.join(lacking)}, which the others are compared "
            "with: measure a folder of runs that has them."
        )
    images = {(about(p)["data"], p.samples) for p in profiles}
    if len(images) > 1:
        said = ", ".join(f"{n} of {data}" for data, n in sorted(images))
        raise AnalyzerError(
            f"the profiles in {folder} are of different images ({said}): measure all of them on "
            "the same, or remove those that are left over."
        )
    table = folder / "tables" / "training.csv"
    training = pd.read_csv(table) if table.exists() else pd.DataFrame()
    return Collection(tuple(sorted(profiles, key=_order)), training)


def _order(profile: Profile) -> tuple[Any, ...]:
    told = about(profile)
    model = str(told["model"])
    plain = not told["options"] and not told["synops_weight"]
    place = TOPOLOGY.index(model) if model in TOPOLOGY else len(TOPOLOGY)
    varied = model in (OURS, STBP)
    return (
        # The plain paradigms first, then what else was trained, then what was run otherwise.
        place == len(TOPOLOGY),
        varied and not plain,
        not told["trained"] and model != CONVERTED,
        place,
        model,
        told["synops_weight"],
        profile.metadata.get("timesteps") or 1,
        str(told["series"]),
        told["seed"],
    )


def runs_of(profiles: Sequence[Profile], technology: str, convention: str) -> pd.DataFrame:
    """One row for each network and seed.

    Returns:
        The columns of :func:`analyzer.compare`, ``accuracy`` of all test images where the profile
        says it, and ``accuracy_images, series, seed, paradigm, trained,
        synops_weight, spikes_per_neuron`` and, of ExpG-IF neurons, ``levels,
        differing_predictions, largest_logit_difference, twin_accuracy``, NaN of others.
    """
    table = compare(profiles, technology, convention).frame
    told = [about(p) for p in profiles]
    for key in ("series", "seed", "paradigm", "trained", "synops_weight"):
        table[key] = [each[key] for each in told]
    table["base"] = [each["model"] for each in told]
    for key in ("levels", "differing_predictions", "largest_logit_difference"):
        table[key] = [each.get(key, math.nan) for each in told]
    table["twin_accuracy"] = [
        each.get("twin_correct", math.nan) / p.samples
        for each, p in zip(told, profiles, strict=True)
    ]
    # Of all test images, also where work and energy are of fewer.
    right, images = (
        pd.Series([each.get(key, math.nan) for each in told], index=table.index, dtype=float)
        for key in ("correct_of_all", "images_of_all")
    )
    table["accuracy"] = (right / images).fillna(table["accuracy"])
    table["accuracy_images"] = images.fillna(table["samples"]).astype(int)
    table["energy_per_correct_mj"] = table["energy_mj"] / table["accuracy"].where(
        table["accuracy"] > 0
    )
    table["spikes_per_neuron"] = [_spikes_per_neuron(p) for p in profiles]
    return table


def _spikes_per_neuron(profile: Profile) -> float:
    """Spikes that a neuron sends for an image, NaN where none are sent."""
    sent = profile.spikes().dropna(subset=["spikes"])
    neurons = float(sent["neurons"].sum()) * profile.samples
    return float(sent["spikes"].sum()) / neurons if neurons else math.nan
