"""Writes the study of paradigms into a folder: a page, tables, figures and the profiles.

The measurements come from ``paradigms``. :func:`read` loads them from the folder again, so that
the page can be rendered without measuring.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.tables.compare import compare
from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, read_limited
from analyzer.inert import cell_of, in_markdown
from analyzer.plot.canvas import blank, figure_of, paper, saved
from analyzer.plot.maps import groups as draw_groups
from analyzer.plot.tradeoffs import pareto
from analyzer.profiles import Profile, load
from analyzer.report.folder import stem_of
from analyzer.report.page import render as render_report
from analyzer.report.page import template
from analyzer.report.tables import Table
from analyzer.study.paradigms import FORMS, Study
from analyzer.study.shared import (
    FIRST_LAYER,
    draw_training_costs,
    legend_below,
    memory_slopes,
    shown_groups,
    shown_slopes,
    shown_training,
    sparsity_by_group,
    write,
)
from analyzer.tabular import to_markdown
from analyzer.units import format_bytes, format_energy_mj, format_ratio, format_share, format_si

__all__ = ["read", "render"]


def render(
    study: Study, output: Path, *, technology: str = "45nm", convention: str = "exact"
) -> Path:
    """Writes the study into a folder; the same measurements give the same bytes."""
    output = Path(output)
    raw = {
        "paradigms": _paradigms(study.profiles, technology, convention),
        "groups": sparsity_by_group(study.profiles),
        "codings": _codings(study, technology, convention),
        "training": study.training,
        "slopes": memory_slopes(study.training),
    }
    tables = [_table(name, table) for name, table in raw.items()]
    drawn = _accuracy_energy(raw["paradigms"], raw["codings"])
    drawn |= _groups_sparsity(study.profiles) | _training_cost(study.training)
    render_report(
        study.profiles,
        output,
        technology=technology,
        convention=convention,
        title="Four paradigms on the topology of Ge²mS-T",
        stems=[stem_of(profile.name) for profile in study.profiles],
    )
    figures = {f"figures/{file}": content for file, content in drawn.items()}
    page = write(output, "paradigms.md", _page(raw, tables, study), tables, figures)
    for profile in (*study.profiles, *study.codings):
        profile.save(_path(output, profile.name))
    return page


def read(folder: Path) -> Study:
    """Loads a study from a folder that :func:`render` wrote.

    Raises:
        AnalyzerError: If the folder holds no study.
    """
    try:
        tables = {
            name: _table_of(folder / "tables" / f"{name}.csv")
            for name in ("paradigms", "codings", "training")
        }
        profiles, codings = (
            tuple(load(_path(folder, model)) for model in tables[name]["model"])
            for name in ("paradigms", "codings")
        )
        forms = tables["codings"][list(FORMS)]
    except (OSError, ValueError, KeyError) as error:
        raise AnalyzerError(
            f"{folder} holds no study to render again: {reason_of(error)}."
        ) from None
    weights = str(codings[0].metadata.get("weights"))
    epochs = [int(word) for word in weights.split() if word.isdigit()]
    return Study(profiles, codings, forms, tables["training"], trained=sum(epochs))


def _table_of(path: Path) -> pd.DataFrame:
    content = io.BytesIO(read_limited(path, MIB))
    return pd.read_csv(content, converters={"model": cell_of})


def _path(folder: Path, model: str) -> Path:
    return folder / "profiles" / f"{stem_of(model)}.json.gz"


def _paradigms(profiles: Sequence[Profile], technology: str, convention: str) -> pd.DataFrame:
    table = compare(profiles, technology, convention).frame
    for key in ("neuron_state_bytes", "activations_bytes", "peak_activations_bytes"):
        table[key] = [profile.memory[key] for profile in profiles]
    return table


def _codings(study: Study, technology: str, convention: str) -> pd.DataFrame:
    table = compare(study.codings, technology, convention).frame
    spikes = []
    for profile in study.codings:
        layers = profile.counts
        driven = layers[layers["op"].str.startswith("conv") & (layers["module"] != FIRST_LAYER)]
        fired = driven["input_nonzeros"].sum() / driven["input_elements"].sum()
        spikes.append(profile.metadata["timesteps"] * fired)
    figures = table[["model", "accuracy", "ac", "mac", "energy_mj"]]
    return pd.concat(
        [figures, pd.Series(spikes, name="spikes_per_neuron"), study.forms], axis="columns"
    )


def _shown_paradigms(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Accuracy": table["accuracy"].map(format_share),
            "AC": table["ac"].map(format_si),
            "MAC": table["mac"].map(format_si),
            "Energy": table["energy_mj"].map(format_energy_mj),
            "Energy per correct answer": table["energy_per_correct_mj"].map(format_energy_mj),
            "To the ANN": table["ratio"].map(format_ratio),
            "Sparsity": table["sparsity"].map(format_share),
            "Weights": table["parameters_bytes"].map(format_bytes),
            "State": table["neuron_state_bytes"].map(format_bytes),
            "Peak activations": table["peak_activations_bytes"].map(format_bytes),
        }
    )


def _shown_groups(table: pd.DataFrame) -> pd.DataFrame:
    return shown_groups(table, "model", table["sparsity"].map(format_share))


def _shown_codings(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Coding": table["model"],
            "Levels": table["levels"].astype(str),
            "Accuracy": table["accuracy"].map(format_share),
            "Spikes a neuron": table["spikes_per_neuron"].map("{:.3f}".format),
            "AC": table["ac"].map(format_si),
            "Energy": table["energy_mj"].map(format_energy_mj),
            "Predictions that differ": table["differing_predictions"].astype(str),
            "Largest logit difference": table["largest_logit_difference"].map("{:.2g}".format),
        }
    )


_SHOWN: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = MappingProxyType(
    {
        "paradigms": _shown_paradigms,
        "groups": _shown_groups,
        "codings": _shown_codings,
        "training": shown_training,
        "slopes": shown_slopes,
    }
)
_CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "paradigms": "One topology in four paradigms on test images, a sample.",
        "groups": "Sparsity of temporal, spatial and structural groups.",
        "codings": "Codings of four timesteps: G groups of K steps, at most m spikes a group.",
        "training": "One training step of 16 images: forward and backward.",
        "slopes": "How the bytes that are saved for backward grow with the timesteps.",
    }
)


def _table(name: str, raw: pd.DataFrame) -> Table:
    shown = _SHOWN[name](raw)
    return Table(name, _CAPTIONS[name], raw, shown, text=frozenset(shown.columns[:1]))


def _accuracy_energy(paradigms: pd.DataFrame, codings: pd.DataFrame) -> dict[str, bytes]:
    with paper("accuracy_energy"):
        figure = blank(2.8)
        panels = figure.subplots(1, 2)
        for axes, title, table in zip(
            panels, ("paradigms", "codings"), (paradigms, codings), strict=True
        ):
            pareto(table, ax=axes).set_title(title)
        return saved(figure, "accuracy_energy")


def _groups_sparsity(profiles: Sequence[Profile]) -> dict[str, bytes]:
    with paper("groups_sparsity"):
        panels = draw_groups(profiles, skip=[FIRST_LAYER])
        return saved(figure_of(panels[0]), "groups_sparsity")


def _training_cost(training: pd.DataFrame) -> dict[str, bytes]:
    with paper("training_cost"):
        figure = blank(2.8)
        panels = figure.subplots(1, 2)
        draw_training_costs(panels, training)
        legend_below(figure, panels[0], ncols=4, fontsize=None)
        return saved(figure, "training_cost")


def _page(raw: dict[str, pd.DataFrame], tables: Sequence[Table], study: Study) -> str:
    return template("analyzer.study", "paradigms.md").render(
        tables={table.name: to_markdown(table.shown) for table in tables},
        captions=_CAPTIONS,
        findings=[in_markdown(text) for text in _findings(raw, study)],
        trained=study.trained,
        samples=study.profiles[0].samples,
        data=study.data,
    )


def _findings(raw: dict[str, pd.DataFrame], study: Study) -> list[str]:
    """The results of the study in sentences, made from the numbers of its tables."""
    *others, ours = raw["paradigms"].to_dict("records")
    reads = [_against(ours, other) for other in others]
    forms = study.forms
    lossless = int(forms["differing_predictions"].sum())
    growth = dict(zip(raw["slopes"]["model"], raw["slopes"]["growth"], strict=True))
    longest = study.training["timesteps"].max()
    n = study.profiles[0].samples
    accuracy = raw["paradigms"]["accuracy"]
    interval = 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / n).max())
    return [
        *reads,
        f"Each network was trained once, with one seed, and {n} images were tested: an accuracy is "
        f"known to ±{100 * interval:.1f} points at most (95 %), and how much another seed would "
        "change is not known.",
        f"Training and inference form differ in {lossless} predictions over all "
        f"{len(forms)} codings; the largest logit difference is "
        f"{forms['largest_logit_difference'].max():.2g}.",
        f"From T=1 to T={longest} the bytes saved for backward grow {growth['stbp']:.2f} times by "
        f"STBP and {growth['ge2mst']:.2f} times in the training form.",
    ]


def _against(ours: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    energy = ours["energy_mj"] / other["energy_mj"]
    points = 100 * (ours["accuracy"] - other["accuracy"])
    less = "less" if energy < 1 else "more"
    better = "more" if points > 0 else "less"
    accuracy = "the same accuracy" if points == 0 else f"{abs(points):.2f} points {better} accuracy"
    state = ours["neuron_state_bytes"] - other["neuron_state_bytes"]
    zeros = 100 * (ours["sparsity"] - other["sparsity"])
    return (
        f"Against {other['model']}: {ours['model']} takes {energy:.3f} times the energy ({less}), "
        f"with {accuracy}, {zeros:+.1f} points of sparsity and {state:+,} bytes of neuron state."
    )
