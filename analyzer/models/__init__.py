"""The reference networks: which there are, what was published of each, and how to build one.

A name such as ``spikformer-8-512`` stands for a network in a published size. ``cards.csv`` says
what each name is, ``published.csv`` what its authors report, ``unbuilt.csv`` which networks are
known by published figures alone, and what is missing to build them. Listing needs no torch;
``build`` imports torch and the one module that holds the network. Nothing else in the package
depends on these networks: they serve as examples, for the studies, and as tests of the counting.

Example:
    >>> import analyzer
    >>> "spikformer-8-512" in analyzer.models.names()
    True
    >>> sum(p.numel() for p in analyzer.models.build("resnet-18").parameters())
    11689512
"""

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
    "Unbuilt",
    "build",
    "describe",
    "load_weights",
    "names",
    "published",
    "unbuilt",
    "was_trained",
    "weights_path",
]

Paradigm = Literal["ANN", "conversion", "STBP", "Ge2mS-T", "integer"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class ModelCard:
    """What is known of a registered model without building it.

    Attributes:
        name: The name that :func:`build` takes.
        source: The paper.
        paradigm: How the network computes: as an ANN, converted from an ANN, trained through
            time (STBP), as Ge²mS-T, or with integers in training and spikes at inference.
        input_shape: (C, H, W) of one image, or (N,), how many tokens a language model takes.
        timesteps: T, 1 for an ANN; the tokens, where neurons integrate over these.
        num_classes: How many classes its head has, or tokens its vocabulary.
        parameters: Number of parameters in the published state dict, including those that the
            published code never uses.
        summary: The network in a few words.
    """

    name: str
    source: str
    paradigm: Paradigm
    input_shape: tuple[int, ...]
    timesteps: int
    num_classes: int
    parameters: int
    summary: str

    @property
    def takes_tokens(self) -> bool:
        """Whether it takes numbers of tokens [B, N] instead of images [B, C, H, W]."""
        return len(self.input_shape) == 1


@dataclass(frozen=True)
class Published:
    """One published result of a model on ImageNet; None where the source does not say.

    Attributes:
        resolution: Side of the image in pixels.
        timesteps: T of the result.
        top1: Accuracy in per cent.
        energy_mj: Energy of one image in millijoules, under the rules of the source.
        operations: Operations in G as the source prints them, whatever it counts.
        kind: ``primary`` if the figure was read where it was first published, ``secondary`` if
            it was read in a copy.
        source: Where it was read.
        notes: What a reader has to know to use the figure.
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
class Unbuilt:
    """A network that is only a row: figures were published, and its layers are not known.

    Attributes:
        name: A name that :func:`published` takes, and :func:`build` refuses.
        source: The paper.
        parameters_m: Parameters in millions, as published; None where no source says.
        missing: What is missing to build it, in a few words.
    """

    name: str
    source: str
    parameters_m: float | None
    missing: str


@dataclass(frozen=True)
class _Entry:
    card: ModelCard
    module: str
    size: str
    trained: str  # name of the model whose trained weights it loads


@cache
def _rows(name: str) -> tuple[Mapping[str, str], ...]:
    with (_HERE / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _entry_of(row: Mapping[str, str]) -> _Entry:
    side = int(row["image_size"])  # or the number of tokens, where there are no channels
    card = ModelCard(
        name=row["name"],
        source=row["paper"],
        paradigm=cast(Paradigm, row["paradigm"]),
        input_shape=(int(row["channels"]), side, side) if row["channels"] else (side,),
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
    """The names of all registered models, in the order of ``cards.csv``.

    Example:
        >>> from analyzer import models
        >>> "spikformer-8-512" in models.names()
        True
    """
    return list(_REGISTRY)


def unbuilt() -> list[Unbuilt]:
    """The networks that are only rows: published figures, without a network to build.

    Example:
        >>> from analyzer import models
        >>> row = next(row for row in models.unbuilt() if row.name == "spiliformer-10-768")
        >>> row.parameters_m, models.published(row.name)[0].energy_mj
        (69.1, 44.17)
    """
    return [
        Unbuilt(
            name=row["name"],
            source=row["paper"],
            parameters_m=float(row["parameters_m"]) if row["parameters_m"] else None,
            missing=row["missing"],
        )
        for row in _rows("unbuilt.csv")
    ]


def describe(name: str) -> ModelCard:
    """What is known of a model without building it.

    Args:
        name: A name of :func:`names`.

    Raises:
        AnalyzerError: If there is no such model; the error names similar ones.

    Example:
        >>> from analyzer import models
        >>> card = models.describe("spikformer-8-512")
        >>> card.input_shape, card.timesteps, card.parameters
        ((3, 224, 224), 4, 29705768)
    """
    return _entry(name).card


def published(name: str) -> list[Published]:
    """The results that were published for a model on ImageNet, the most complete ones first.

    Args:
        name: A name of :func:`names` or of :func:`unbuilt`.

    Returns:
        The results, with their sources; an empty list if none are known.

    Raises:
        AnalyzerError: If there is no such model.

    Example:
        >>> from analyzer import models
        >>> best = models.published("spikingformer-8-512")[0]
        >>> best.top1, best.kind
        (74.79, 'primary')
    """
    if all(row.name != name for row in unbuilt()):
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
    pretrained: bool | str = False,
    input_shape: tuple[int, ...] | None = None,
    **overrides: Any,
) -> "nn.Module":
    """Builds a model, which maps images [B, C, H, W] to logits [B, classes].

    A language model maps numbers of tokens [B, N] to logits [B, N, vocabulary].

    Args:
        name: A name of :func:`names`.
        pretrained: Whether to load the weights that the package ships for this name. True takes
            those trained on the embedded digits, the name of other data those trained on it:
            ``"fashion-mnist"``, whose weights a wheel leaves out.
        input_shape: (C, H, W) of an image, in place of `in_channels` and `image_size`; H = W.
            Of a language model (N,), in place of `context`.
        overrides: Fields of the model's config that are to differ, such as `num_classes`,
            `image_size`, `in_channels`, or `timesteps` if the model has time. Models with two
            forms also take `form`: Ge²mS-T "training" or "inference" (the default), SDT V3
            "integer" (the default) or "spikes", SpikeZIP "float", "quantised" (the default) or
            "spikes".

    Raises:
        AnalyzerError: If there is no such model, it does not take an override, the sizes do not
            fit each other, or there are no weights that fit.

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> model = models.build("spikformer-tiny", num_classes=7, timesteps=2)
        >>> model(torch.zeros(3, 1, 32, 32)).shape
        torch.Size([3, 7])
    """
    entry = _entry(name)
    if input_shape is not None and entry.card.takes_tokens:
        if len(input_shape) != 1:
            raise AnalyzerError(
                f"{name} takes tokens, of which a sample is (N,), not {tuple(input_shape)}."
            )
        overrides = {"context": input_shape[0]} | overrides
    elif input_shape is not None:
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
        load_weights(model, name, "digits" if pretrained is True else pretrained)
    return model


def weights_path(name: str, data: str = "digits") -> Path:
    """The path of the trained weights of a model; the file exists only for trained models.

    Args:
        name: A name of :func:`names`.
        data: What it was trained on.
    """
    folder = _HERE / "weights" if data == "digits" else _HERE / "weights" / data
    return folder / f"{_entry(name).trained}.safetensors"


def was_trained(name: str, data: str = "digits") -> bool:
    """Whether weights of a model were trained on some data, installed or not.

    A wheel holds the records of all trainings, and the weights of those on the digits alone.

    Args:
        name: A name of :func:`names`.
        data: What it was trained on.

    Example:
        >>> from analyzer import models
        >>> models.was_trained("vit-tiny"), models.was_trained("resnet-18")
        (True, False)
    """
    path = weights_path(name, data)
    return path.exists() or path.with_suffix(".csv").exists()


def load_weights(model: "nn.Module", name: str, data: str = "digits") -> None:
    """Loads the shipped weights of a registered name into a model.

    Args:
        model: The model; every name and shape of its state dict must match.
        name: A name of :func:`names`.
        data: What the weights were trained on.

    Raises:
        AnalyzerError: If no weights are shipped for this name and data, or they do not fit.
    """
    path = weights_path(name, data)
    if not was_trained(name, data):
        trained = [other for other in names() if was_trained(other, data)]
        raise AnalyzerError(
            f"No trained weights are shipped for {name!r} on {data}; there are some for "
            f"{', '.join(trained) or 'no model'}."
        )
    if not path.exists():
        file = path.relative_to(_HERE.parents[1]).as_posix()
        raise AnalyzerError(
            f"The weights of {name!r} trained on {data} are not in this installation, for a wheel "
            f"leaves them out: take {file} from the source distribution or the repository, and "
            "load it with --checkpoint or analyzer.models.checkpoints.load_checkpoint."
        )
    from analyzer.models.checkpoints import load_checkpoint

    load_checkpoint(model, path)


def _entry(name: str) -> _Entry:
    entry = _REGISTRY.get(name)
    if entry is not None:
        return entry
    row = next((row for row in unbuilt() if row.name == name), None)
    if row is None:
        raise unknown("model", name, names())
    raise AnalyzerError(
        f"{name} is only a row of published figures, not a network that can be built: "
        f"{row.missing}."
    )


def _options(module: ModuleType, size: str) -> list[str]:
    """The names of what a builder takes: the fields of its config and its own keywords."""
    keywords = inspect.signature(module.build).parameters.values()
    own = [p.name for p in keywords if p.kind is p.KEYWORD_ONLY]
    return list(dict.fromkeys([*(f.name for f in fields(module.CONFIGS[size])), *own]))
