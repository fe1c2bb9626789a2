"""Reference networks by name. Listing them needs no torch; building imports one model file."""

import csv
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from analyzer.errors import AnalyzerError, unknown

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ModelCard",
    "Published",
    "build",
    "describe",
    "load_weights",
    "names",
    "published",
    "weights_path",
]

Paradigm = Literal["ANN", "conversion", "STBP", "Ge2mS-T", "integer"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without building it; `input_shape` is (C, H, W).

    `parameters` are those of the published state dict, with all that it never uses.
    """

    name: str
    source: str
    paradigm: Paradigm
    input_shape: tuple[int, int, int]
    timesteps: int
    num_classes: int
    parameters: int
    summary: str


@dataclass(frozen=True)
class Published:
    """One published result of a model on ImageNet; None where the source does not say.

    `top1` in percent, `energy_mj` in millijoules under the rules of its source; `kind` says
    whether the figure was read where it was first published, or in a secondary copy.
    """

    resolution: int | None
    timesteps: int | None
    top1: float | None
    energy_mj: float | None
    operations: str
    kind: Literal["primary", "secondary"]
    source: str
    notes: str


@dataclass(frozen=True)
class _Entry:
    card: ModelCard
    module: str
    size: str
    trained: str  # the model whose weights it takes


@cache
def _rows(name: str) -> tuple[Mapping[str, str], ...]:
    with (_HERE / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _entry_of(row: Mapping[str, str]) -> _Entry:
    side = int(row["image_size"])
    card = ModelCard(
        name=row["name"],
        source=row["paper"],
        paradigm=cast(Paradigm, row["paradigm"]),
        input_shape=(int(row["channels"]), side, side),
        timesteps=int(row["timesteps"]),
        num_classes=int(row["classes"]),
        parameters=int(row["parameters"]),
        summary=row["summary"],
    )
    module = f"analyzer.models.{row['module']}"
    return _Entry(card, module, row["size"], row["trained"] or card.name)


_REGISTRY: Mapping[str, _Entry] = MappingProxyType(
    {row["name"]: _entry_of(row) for row in _rows("cards.csv")}
)


def names() -> list[str]:
    """The names `build` knows."""
    return list(_REGISTRY)


def describe(name: str) -> ModelCard:
    """The card of one model."""
    return _entry(name).card


def published(name: str) -> list[Published]:
    """What was published of a model, the most complete figures first."""
    _entry(name)
    return [
        Published(
            resolution=int(row["resolution"]) if row["resolution"] else None,
            timesteps=int(row["timesteps"]) if row["timesteps"] else None,
            top1=float(row["top1"]) if row["top1"] else None,
            energy_mj=float(row["energy_mj"]) if row["energy_mj"] else None,
            operations=row["operations"],
            kind="primary" if row["kind"] == "primary" else "secondary",
            source=row["source"],
            notes=row["notes"],
        )
        for row in _rows("published.csv")
        if row["name"] == name
    ]


def build(
    name: str,
    pretrained: bool = False,
    input_shape: tuple[int, ...] | None = None,
    **overrides: Any,
) -> "nn.Module":
    """Build a model: images [B, C, H, W] -> logits [B, classes].

    Overrides are fields of the model's config (`num_classes`, `image_size`, `in_channels`,
    `timesteps` where it has time, ...). Ge²mS-T also takes `form`, "inference" by default, and so
    does SDT V3, "integer" by default. `input_shape` is (C, H, W) in place of two of them.
    """
    entry = _entry(name)
    if input_shape is not None:
        if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
            raise AnalyzerError(
                f"{name} takes square images (C, H, H), not a sample of {tuple(input_shape)}."
            )
        overrides = {"in_channels": input_shape[0], "image_size": input_shape[1]} | overrides
    module = importlib.import_module(entry.module)
    options = _options(module, entry.size)
    foreign = [repr(key) for key in overrides if key not in options]
    if foreign:
        raise AnalyzerError(
            f"{name} takes no {' and no '.join(foreign)}; it takes: {', '.join(options)}."
        )
    model: nn.Module
    try:
        model = module.build(entry.size, **overrides)
    except AnalyzerError:
        raise
    except Exception as error:
        raise AnalyzerError(
            f"Model {name!r} cannot be built with {', '.join(sorted(overrides))}: {error}."
        ) from error
    if pretrained:
        load_weights(model, name)
    return model


def weights_path(name: str) -> Path:
    """Where the trained weights of a model are shipped, whether or not they exist."""
    entry = _entry(name)
    return _HERE / "weights" / f"{entry.trained}.safetensors"


def load_weights(model: "nn.Module", name: str) -> None:
    """Load the shipped weights of `name` into `model`; every key and shape must match."""
    path = weights_path(name)
    if not path.exists():
        trained = [other for other in names() if weights_path(other).exists()]
        raise AnalyzerError(
            f"No trained weights are shipped for {name!r}; there are some for "
            f"{', '.join(trained) or 'no model'}."
        )
    from analyzer.models.checkpoints import load_checkpoint

    load_checkpoint(model, path)


def _entry(name: str) -> _Entry:
    entry = _REGISTRY.get(name)
    if entry is None:
        raise unknown("model", name, names())
    return entry


def _options(module: ModuleType, size: str) -> list[str]:
    """What a builder takes: the fields of its config, and keywords of its own."""
    keywords = inspect.signature(module.build).parameters.values()
    own = [p.name for p in keywords if p.kind is p.KEYWORD_ONLY]
    return list(dict.fromkeys([*(f.name for f in fields(module.CONFIGS[size])), *own]))
