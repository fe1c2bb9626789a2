"""Reference networks by name. Listing them needs no torch; building imports one model file."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal

from analyzer.errors import AnalyzerError, unknown

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ModelCard",
    "build",
    "describe",
    "load_weights",
    "names",
    "weights_path",
]

Paradigm = Literal["ANN", "conversion", "STBP", "Ge2mS-T"]


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without building it; `input_shape` is (C, H, W)."""

    name: str
    source: str
    paradigm: Paradigm
    input_shape: tuple[int, int, int]
    timesteps: int
    num_classes: int
    summary: str


@dataclass(frozen=True)
class _Entry:
    card: ModelCard
    module: str
    size: str
    trained: str | None = None  # the model whose weights it takes, itself by default


def _ge2mst() -> list[_Entry]:
    """The topology in every size and paradigm."""
    source = "after Hao et al., Ge²mS-T, ACM MM 2026, arXiv:2604.08894"
    sizes: dict[str, tuple[tuple[int, int, int], int]] = {
        "tiny": ((1, 32, 32), 10),
        "s": ((3, 224, 224), 1000),
        "b": ((3, 224, 224), 1000),
        "l": ((3, 224, 224), 1000),
    }
    stages = "two convolutional and two GW-SSA stages"
    paradigms: tuple[tuple[str, Paradigm, int, str], ...] = (
        ("", "Ge2mS-T", 4, f"ExpG-IF neurons (G=2, K=2), {stages}"),
        ("-ann", "ANN", 1, "the topology of Ge²mS-T with ReLU in full precision"),
        ("-converted", "conversion", 8, "the ANN with rate-coded IF neurons in place of ReLU"),
        ("-stbp", "STBP", 4, "the topology of Ge²mS-T with LIF neurons and surrogate gradients"),
    )
    return [
        _Entry(
            ModelCard(f"ge2mst-{size}{suffix}", source, paradigm, shape, T, classes, summary),
            module="analyzer.models.ge2mst",
            size=f"{size}{suffix}",
            trained=f"ge2mst-{size}-ann" if paradigm == "conversion" else None,
        )
        for size, (shape, classes) in sizes.items()
        for suffix, paradigm, T, summary in paradigms
    ]


def _registry(*entries: _Entry) -> Mapping[str, _Entry]:
    return MappingProxyType({entry.card.name: entry for entry in entries})


_REGISTRY = _registry(
    *_ge2mst(),
    _Entry(
        ModelCard(
            name="spikformer-tiny",
            source="Zhou et al., Spikformer, ICLR 2023, arXiv:2209.15425; size of this package",
            paradigm="STBP",
            input_shape=(1, 32, 32),
            timesteps=4,
            num_classes=10,
            summary="LIF neurons, CIFAR flavour, width 64, 2 blocks, 4 heads",
        ),
        module="analyzer.models.spikformer",
        size="tiny",
    ),
    _Entry(
        ModelCard(
            name="spikformer-8-512",
            source="Zhou et al., Spikformer, ICLR 2023, arXiv:2209.15425",
            paradigm="STBP",
            input_shape=(3, 224, 224),
            timesteps=4,
            num_classes=1000,
            summary="LIF neurons, ImageNet flavour, width 512, 8 blocks, 8 heads",
        ),
        module="analyzer.models.spikformer",
        size="8-512",
    ),
    _Entry(
        ModelCard(
            name="vit-tiny",
            source="Dosovitskiy et al., ViT, ICLR 2021, arXiv:2010.11929; size of this package",
            paradigm="ANN",
            input_shape=(1, 32, 32),
            timesteps=1,
            num_classes=10,
            summary="dense softmax attention, patches of 4, width 64, 4 blocks, 4 heads",
        ),
        module="analyzer.models.vit",
        size="tiny",
    ),
)


def names() -> list[str]:
    """The names `build` knows."""
    return list(_REGISTRY)


def describe(name: str) -> ModelCard:
    """The card of one model."""
    return _entry(name).card


def build(name: str, pretrained: bool = False, **overrides: Any) -> "nn.Module":
    """Build a model: images [B, C, H, W] -> logits [B, classes].

    Overrides are fields of the model's config (`num_classes`, `image_size`, `in_channels`,
    `timesteps` where it has time, ...). Ge²mS-T also takes `form`, "inference" by default.
    """
    entry = _entry(name)
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
    except TypeError as error:
        raise AnalyzerError(
            f"Model {name!r} cannot be built with {', '.join(sorted(overrides))}: {error}."
        ) from error
    if pretrained:
        load_weights(model, name)
    return model


def weights_path(name: str) -> Path:
    """Where the trained weights of a model are shipped, whether or not they exist."""
    entry = _entry(name)
    return Path(__file__).with_name("weights") / f"{entry.trained or entry.card.name}.safetensors"


def load_weights(model: "nn.Module", name: str) -> None:
    """Load the shipped weights of `name` into `model`; every key and shape must match."""
    path = weights_path(name)
    if not path.exists():
        trained = [other for other in names() if weights_path(other).exists()]
        raise AnalyzerError(
            f"No trained weights are shipped for {name!r}; there are some for "
            f"{', '.join(trained) or 'no model'}."
        )
    from analyzer.checkpoints import load_checkpoint

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
