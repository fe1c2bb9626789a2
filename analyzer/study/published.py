"""The study of the published networks: all of them side by side, untrained, on one random image.

:func:`measure` profiles them, which takes hours; :func:`read` and :func:`render` make the page and
its tables from the saved profiles: work, energy under each convention, and layers that read no
spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch

from analyzer import models
from analyzer.energy.declared.convention import convention, conventions
from analyzer.energy.pricing.price import price
from analyzer.energy.tables.compare import compare
from analyzer.errors import AnalyzerError
from analyzer.measure.session.profiling import profile
from analyzer.models.warm import warm
from analyzer.profiles import Profile, load
from analyzer.report.folder import stem_of
from analyzer.report.page import render as render_report
from analyzer.report.page import template
from analyzer.report.tables import Table
from analyzer.study.shared import write
from analyzer.tabular import to_markdown
from analyzer.units import format_energy_mj, format_share, format_si

__all__ = ["NAMES", "hidden", "measure", "read", "render"]


def _names() -> tuple[str, ...]:
    """All networks for ImageNet, of Ge²mS-T only one size, and one SDT V3 in spikes, too."""
    whole = [n for n in models.names() if models.describe(n).num_classes == 1000]
    return *(n for n in whole if not n.startswith("ge2mst")), "ge2mst-s", "sdt-v3-5m-spikes"


_SPIKES = "-spikes"
"""Suffix of names for a network in its spiking form."""
_DENSE = ("ANN", "conversion")
"""Paradigms whose layers read real values by design."""
_DRIVES = frozenset({"zero", "binary", "ternary"})
"""Value classes that spike-driven hardware can take as events."""
NAMES = _names()
"""The names of the networks that are measured."""

_CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "published": "One random image, untrained, batch norm set on it; exact. *: read in a copy.",
        "conventions": "Energy in mJ under each convention. *: its rules were read in one copy.",
        "hidden": "Layers behind the stem that read no spikes, each a share of the whole work.",
    }
)


def measure(
    folder: Path,
    names: Sequence[str] = NAMES,
    *,
    noted: Callable[[str], object] = print,
) -> None:
    """Profiles each network and saves the profile in ``folder/profiles``.

    Networks whose profile is there already are skipped, so that an interrupted study continues.
    """
    for number, name in enumerate(names, 1):
        target = folder / "profiles" / f"{name}.json.gz"
        if target.exists():
            continue
        noted(f"{number} of {len(names)}: profiling {name}")
        _profiled(name).save(target)


def _profiled(name: str) -> Profile:
    torch.manual_seed(0)
    spikes = name.endswith(_SPIKES)
    form: dict[str, Any] = {"form": "spikes"} if spikes else {}
    model = models.build(name.removesuffix(_SPIKES), **form)
    image = torch.rand(1, *models.describe(name.removesuffix(_SPIKES)).input_shape)
    warm(model, image)
    made = profile(model.eval(), image, name=name)
    about = {"data": "random", "seed": 0, "weights": "untrained, batch norm set on the image"}
    # Which neurons were silent is megabytes for each network, and no table here asks for it.
    return replace(made, metadata={**made.metadata, **about}, sent=None)


def read(folder: Path) -> tuple[Profile, ...]:
    """Loads the profiles of a study, in the order of :data:`NAMES`.

    Raises:
        AnalyzerError: If the folder holds none.
    """
    found = [folder / "profiles" / f"{name}.json.gz" for name in NAMES]
    profiles = tuple(load(path) for path in found if path.exists())
    if not profiles:
        raise AnalyzerError(f"{folder} holds no profile of this study: run it without --again.")
    return profiles


def render(profiles: Sequence[Profile], output: Path, *, technology: str = "45nm") -> Path:
    """Writes ``published.md``, its tables, and the page of all profiles; the same give the same.

    Args:
        profiles: The profiles.
        output: Folder to write.
        technology: Name of the energy constants.
    """
    raw = {
        "published": _published(profiles, technology),
        "conventions": _conventions(profiles, technology),
        "hidden": pd.concat([hidden(p) for p in profiles], ignore_index=True),
    }
    tables = [
        Table(name, _CAPTIONS[name], table, _SHOWN[name](table), frozenset({"Model", "Layer"}))
        for name, table in raw.items()
    ]
    page = template("analyzer.study", "published.md").render(
        tables={table.name: to_markdown(table.shown, align=table.align) for table in tables},
        captions=_CAPTIONS,
        uncovered=sorted({p.name for p in profiles if not p.uncovered.empty}),
        number=len(profiles),
    )
    render_report(
        profiles,
        output,
        technology=technology,
        title="Published networks side by side",
        stems=[stem_of(profile.name) for profile in profiles],
        slim=True,
    )
    return write(output, "published.md", page, tables)


def hidden(profile: Profile) -> pd.DataFrame:
    """The hidden MACs of a profile: weight layers that read neither the image nor spikes.

    Papers often count such layers as accumulates. Heads, which go to the classes, are left out.

    Returns:
        Columns ``model, module, input_class, dense_macs`` (per sample) and ``share`` (of the dense
        work of all contractions).
    """
    rows = profile.counts
    total = rows["dense_macs"].sum()
    rows = rows[(rows["weight_elements"] > 0) & (rows["dense_macs"] > 0)]
    first = rows["module"].iloc[0]
    kinds = rows["input_class"].str.split("*").map(lambda k: bool(_DRIVES & set(k)))
    body = ~rows["module"].str.startswith("head") & (rows["module"] != first)
    found = rows[body & ~kinds]
    return pd.DataFrame(
        {
            "model": profile.name,
            "module": found["module"],
            "input_class": found["input_class"],
            "dense_macs": found["dense_macs"] // profile.samples,
            "share": found["dense_macs"] / total,
        }
    )


def _published(profiles: Sequence[Profile], technology: str) -> pd.DataFrame:
    table = compare(profiles, technology, "exact").frame
    table = table.drop(columns=["samples", "ratio", "accuracy", "mac_share"])
    table["hidden_share"] = [
        float("nan") if models.describe(p.name.removesuffix(_SPIKES)).paradigm in _DENSE
        else float(hidden(p)["share"].sum())
        for p in profiles
    ]  # fmt: skip
    found = [_published_result(p) for p in profiles]
    table["published_mj"] = [float("nan") if f is None else f.energy_mj for f in found]
    table["published_in"] = ["" if f is None else f"{f.kind}: {f.source}" for f in found]
    return table


def _published_result(profile: Profile) -> models.Published | None:
    """The published energy at the timesteps and the resolution of a profile, if there is one."""
    steps, side = profile.metadata["timesteps"], profile.metadata["input_shape"][-1]
    rows = [r for r in models.published(profile.name.removesuffix(_SPIKES)) if r.energy_mj]
    same = [r for r in rows if r.timesteps == steps and r.resolution in (side, None)]
    same.sort(key=lambda r: (r.resolution is None, r.kind != "primary"))
    return same[0] if same else None


def _conventions(profiles: Sequence[Profile], technology: str) -> pd.DataFrame:
    names = list(conventions())
    rows = [
        {"model": p.name} | {name: price(p, technology, name).total_mj for name in names}
        for p in profiles
    ]
    return pd.DataFrame(rows)


def _shown_published(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "T": table["timesteps"].astype(str),
            "Parameters": table["parameters"].map("{:,}".format),
            "Dense MACs": table["dense_macs"].map(lambda n: f"{int(n):,}"),
            "AC": table["ac"].map(format_si),
            "MAC": table["mac"].map(format_si),
            "Hidden MACs": table["hidden_share"].map(format_share),
            "Energy": table["energy_mj"].map(format_energy_mj),
            "Published": [
                "–" if pd.isna(e) else f"{e:.2f} mJ" + ("" if s.startswith("primary") else " *")
                for e, s in zip(table["published_mj"], table["published_in"], strict=True)
            ],
            "Sparsity": table["sparsity"].map(format_share),
        }
    )


def _shown_conventions(table: pd.DataFrame) -> pd.DataFrame:
    marks = {name: " *" if convention(name).confidence == "C" else "" for name in table.columns[1:]}
    figures = {name + mark: table[name].map("{:.3f}".format) for name, mark in marks.items()}
    return pd.DataFrame({"Model": table["model"], **figures})


def _shown_hidden(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Layer": table["module"],
            "Reads": table["input_class"],
            "Dense MACs": table["dense_macs"].map(format_si),
            "Share": table["share"].map(format_share),
        }
    )


_SHOWN: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = MappingProxyType(
    {
        "published": _shown_published,
        "conventions": _shown_conventions,
        "hidden": _shown_hidden,
    }
)
