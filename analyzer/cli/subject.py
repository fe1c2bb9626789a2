"""Turns the text that a command is given into its subject: a model with weights, and its data.

A model is a registered name or a factory of the user's (``package.module:factory`` or
``path/to/file.py:factory``). ``profile`` and ``verify`` use :func:`open_subject`; ``count`` uses
:func:`meta_subject`, which allocates no weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analyzer import models
from analyzer.cli.candidates import unnamed
from analyzer.cli.factories import Factory, is_place, module_of
from analyzer.cli.options import SubjectOptions, figures_of, layouts_of, shape_of
from analyzer.data.arrangement import Arrangement
from analyzer.data.idx import FASHION, find_idx
from analyzer.data.sources import Batches, open_data
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint
from analyzer.models.warm import warm
from analyzer.specs import named

__all__ = [
    "Loaded",
    "Subject",
    "meta_subject",
    "open_model",
    "open_subject",
    "with_own_layouts",
]


@dataclass(frozen=True)
class Loaded:
    """A model that was built from text, and what is known about it.

    Attributes:
        model: The module, in evaluation mode.
        name: The name that tables print.
        input_shape: Of one sample of a registered model, None for a user's model.
        weights: ``shipped``, also with what they were trained on if not the digits; the file name
            of the checkpoint; ``untrained``; or ``of the factory``.
        beside: The module or file that a factory is in, which may define ``forward`` and
            ``predict``; None of a registered model.
        vocabulary: How many tokens a registered language model knows, None for other models.
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...] | None
    weights: str
    beside: Any = None
    vocabulary: int | None = None

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function that the factory's file defines, None where it doesn't."""
        found = getattr(self.beside, name, None)
        return found if callable(found) else None


@dataclass(frozen=True)
class Subject:
    """A model together with the data that it is measured on.

    Attributes:
        model: The module, in evaluation mode.
        name: The name that tables print.
        batches: The batches to run.
        frame: How it runs, as arguments of all that run one: ``layouts`` is None to use what the
            model declares, ``forward`` is of the factory's file where that defines it.
        about: Metadata of the profile: weights, data and seed.
        predict: From an output to class numbers: what was named, else ``predict`` of that file.
    """

    model: nn.Module
    name: str
    batches: Batches
    frame: dict[str, Any]
    about: dict[str, Any]
    predict: Callable[[Any], Any] | None = None

    @property
    def samples(self) -> int | None:
        """How many samples the data hold, None where that is not known."""
        data = getattr(self.batches, "dataset", None)
        return len(data) if isinstance(data, Sized) else None


def open_subject(spec: str, given: SubjectOptions, command: str = "profile") -> Subject:
    """Builds a model and opens the data to measure it on, as the options of a command say.

    Without data these are the digits for a registered model that reads images of one channel, else
    random. On Fashion-MNIST only weights that were trained on it load. If the layout has a time
    axis, samples without one are repeated T times, unless the model computes one timestep a call.
    """
    shape, layouts = shape_of(given.input_shape), layouts_of(given.layout)
    mean, std = figures_of(given.mean), figures_of(given.std)
    loaded = open_model(
        spec,
        checkpoint=given.checkpoint,
        shape=shape,
        timesteps=given.timesteps,
        seed=given.seed,
        trained_on=_trained_on(given.data),
        command=f"analyzer {command}",
    )
    own = loaded.input_shape
    batches, about = open_data(
        given.data or ("digits" if own is not None and own[0] == 1 < len(own) else "random"),
        shape=shape or own,
        batch_size=given.batch_size,
        samples=given.samples,
        seed=given.seed,
        arrangement=Arrangement(
            layouts.get("", ""), None if given.loop else given.timesteps, mean, std
        ),
        scale=given.scale,
        below=loaded.vocabulary,
    )
    weights = loaded.weights
    if weights == "untrained" and own is not None:
        first = next(iter(batches))
        if warm(loaded.model, first[0] if isinstance(first, (tuple, list)) else first):
            weights = "untrained, statistics of the first batch"
    about |= {"weights": weights, "seed": given.seed}
    frame = {
        "timesteps": given.timesteps,
        "loop": given.loop,
        "layouts": with_own_layouts(loaded.model, layouts),
        "forward": loaded.function("forward"),
    }
    predict = _function(given.predict, loaded) if given.predict else loaded.function("predict")
    return Subject(loaded.model, loaded.name, batches, frame, about, predict)


def _function(spec: str, loaded: Loaded) -> Callable[[Any], Any]:
    """The function that text names: ``place:name``, or a name in the file of the model."""
    place, _, name = spec.rpartition(":")
    if place:
        with module_of(place) as module:
            found = getattr(module, name, None)
    else:
        found = loaded.function(name)
    if not callable(found):
        raise AnalyzerError(
            f"{spec!r} names no function: write package.module:function, path/to/file.py:function, "
            "or the name of a function in the file of the model."
        )
    return found  # type: ignore[no-any-return]


def with_own_layouts(model: nn.Module, given: Mapping[str, str]) -> dict[str, str] | None:
    """Axes by module pattern, given ones before those of the model; None where none is given."""
    if not given:
        return None
    declared = getattr(model, "layouts", None)
    others = declared if isinstance(declared, dict) else {}
    return {**given, **{k: axes for k, axes in others.items() if k not in given}}


def meta_subject(spec: str, inputs: Any = None, timesteps: int | None = None) -> tuple[Loaded, Any]:
    """Builds a model for counting by shapes alone, on the meta device if it can be built there.

    So no memory is taken for its weights, also where a user's factory makes them. A factory that
    needs values, as one that loads weights, runs as it is.

    Args:
        spec: The model, as :func:`open_model` takes it.
        inputs: What :func:`analyzer.count` is given; by default one sample of a registered model.
        timesteps: Passed to the builder of a registered model.

    Returns:
        The model and its inputs.

    Raises:
        AnalyzerError: If the model can't be built, or no inputs are known.
    """
    sample = inputs if isinstance(inputs, tuple) and isinstance(inputs[0], int) else None
    if ":" in spec.partition("(")[0]:
        loaded = open_model(spec, on_meta=True, command="analyzer count")
    else:
        with torch.device("meta"):
            loaded = open_model(
                spec, shape=sample, timesteps=timesteps, weights=False, command="analyzer count"
            )
    found = loaded.input_shape if inputs is None else inputs
    if loaded.vocabulary is not None and (inputs is None or sample is not None):
        found = ("int64", (1, *(loaded.input_shape or ())))
    if found is None:
        raise AnalyzerError(
            f"{spec} needs the shape of one sample, or of each of its inputs: give --input "
            "3,224,224 or --input input_ids=int64:1,2048."
        )
    return loaded, found


def open_model(
    spec: str,
    *,
    checkpoint: Path | None = None,
    shape: tuple[int, ...] | None = None,
    timesteps: int | None = None,
    seed: int = 0,
    weights: bool = True,
    on_meta: bool = False,
    trained_on: str = "digits",
    command: str = "analyzer profile",
) -> Loaded:
    """Builds a model and loads its weights.

    Args:
        spec: A registered name, ``package.module:factory`` or ``path/to/file.py:factory``. A
            factory is called with the keyword arguments that follow it, all of them literals, as
            in ``file.py:factory(num_classes=10, T=4)``, and returns a module. A name takes
            arguments in the same way.
        checkpoint: File of weights to load. Without it, a registered model loads the weights
            that the package ships for it, if there are any.
        shape: Shape of one sample that a registered model is built for.
        timesteps: Passed to the builder of a registered model.
        seed: Seed of the initial weights.
        weights: Whether to load the shipped weights.
        on_meta: Whether a factory's model is built on the meta device, if it can be.
        trained_on: The data that shipped weights must have been trained on.
        command: What was typed before the model, for errors.

    Raises:
        AnalyzerError: If there is no such model, it can't be built, or the weights do not fit.
    """
    torch.manual_seed(seed)
    beside: Any = None
    vocabulary: int | None = None
    if ":" in spec.partition("(")[0]:
        factory = Factory.parse(spec)
        beside, model = factory.build(on_meta=on_meta, command=command)
        name, shape, source = factory.name, None, "as the factory made them"
    else:
        name, call = named(spec)
        _check_name(name, command)
        card = models.describe(name)
        resized = shape is not None and tuple(shape) != card.input_shape
        overrides: dict[str, Any] = {} if timesteps is None else {"timesteps": timesteps}
        overrides |= call | ({"input_shape": shape} if resized else {})
        shipped = weights and checkpoint is None and not resized
        shipped = shipped and models.was_trained(name, trained_on)
        if "pretrained" in call:
            raise AnalyzerError(f"{name} takes no pretrained: shipped weights load where they fit.")
        model = models.build(name, **overrides)
        shipped = shipped and _took_shipped(model, name, trained_on, needed=not call)
        shape = shape or card.input_shape
        if card.takes_tokens:
            language: Any = model
            shape, vocabulary = (language.timesteps,), language.config.vocabulary
        of = "" if trained_on == "digits" else f", trained on {trained_on}"
        source = f"shipped{of}" if shipped else "untrained"
    if checkpoint is not None:
        load_checkpoint(model, checkpoint)
        source = checkpoint.name
    return Loaded(model.eval(), name, shape, source, beside, vocabulary)


def _check_name(name: str, command: str) -> None:
    """Refuses a name that is none of this package's models, and says what it is instead."""
    if name in models.names() or any(row.name == name for row in models.unbuilt()):
        return  # what is only a row is refused where it is described
    if is_place(name):
        with module_of(name) as module:
            raise unnamed(command, name, module)
    if Path(name).is_file():
        raise AnalyzerError(
            f"{name} is no model but a file: name the model, and give its weights by --checkpoint, "
            f"such as {command} nets.py:Net --checkpoint {name}."
        )
    if not difflib.get_close_matches(name, models.names()):
        raise AnalyzerError(
            f"unknown model {name!r}: give a name from `analyzer models`, package.module:factory "
            "or path/to/file.py:factory."
        )


def _trained_on(data: str) -> str:
    """What the weights to load for some data must have been trained on."""
    files = find_idx(data) if data else None
    return FASHION if files is not None and files.name == FASHION else "digits"


def _took_shipped(model: nn.Module, name: str, trained_on: str, *, needed: bool) -> bool:
    """Loads the shipped weights; whether they fitted, which is an error only where ``needed``."""
    try:
        models.load_weights(model, name, trained_on)
    except AnalyzerError:
        if needed:
            raise
        return False
    return True
