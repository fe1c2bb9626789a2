"""``analyzer.count``: the counts of a model from its shapes alone, without running it.

It joins three parts: the registry of models (a name instead of a module), counting on the meta
device, and firing rates from a table, which turn the result into a profile that can be priced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.measure.frame.frame import Forward
from analyzer.measure.frame.samples import DeclaredSamples
from analyzer.measure.shapes.counting import count as count_shapes
from analyzer.measure.shapes.inputs import is_sample_shape
from analyzer.profiles import Profile
from analyzer.rates import read_rates, with_rates

if TYPE_CHECKING:
    from torch import nn

__all__ = ["count"]


def count(
    model: nn.Module | str,
    input_shape: Any = None,
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    samples: DeclaredSamples = None,
    forward: Forward | None = None,
    rates: Mapping[str, float | None] | str | Path | None = None,
    name: str | None = None,
    **overrides: Any,
) -> Profile:
    """Counts parameters, dense work and memory of a model by its shapes, without running it.

    Use it for models that are too large to run, and for published networks of which only firing
    rates are known. To measure the activity of a model on data, use :func:`analyzer.profile`.

    Args:
        model: A module, or a name of :func:`analyzer.models.names`, which is built on the meta
            device and takes no memory for its weights. Build large modules there too, under
            ``with torch.device("meta"):``.
        input_shape: What the model is given. A tuple of whole numbers such as ``(3, 224, 224)`` is
            the shape of one sample, without the batch axis; by default that of the registered
            model. All else is one batch as :func:`analyzer.profile` takes it (a tensor, a tuple or
            dict of arguments), in which ``("int64", (1, 2048))`` stands for a tensor by dtype and
            whole shape, and ``(1, 3, 224, 224)`` for one in the dtype of the weights. Of tensors
            the values are used where a model asks for them, as for those of an attention mask.
        timesteps: For a name, the T that the model is built with. For a module, how many
            timesteps one forward pass has.
        layouts: Axes of tensors by module pattern, as for :func:`analyzer.profile`.
        samples: How many samples the batch holds, or a function that tells it of the batch; by
            default the length of the batch axis of its first tensor.
        forward: A function ``(model, batch) -> output`` to count in place of ``model(...)``, such
            as one that calls ``model.generate``. It must run the model that it is given.
        rates: Firing rates in [0, 1] by module path, None for modules that no spikes drive; or
            the path of a CSV file with columns ``module, firing_rate`` and optionally ``driven``.
        name: The name of the profile in tables.
        overrides: Further arguments of the builder of a registered model, see
            :func:`analyzer.models.build`.

    Returns:
        A profile of the batch, of one sample where a sample's shape was given. Its activity columns
        are empty, not zero. With ``rates`` it can be priced under ``convention="rate"``. There is
        no activity to group, so groups are for :func:`analyzer.profile`.

    Raises:
        AnalyzerError: If the model needs values to run, or the inputs or the rates do not fit.

    Example:
        >>> import analyzer
        >>> counted = analyzer.count("vit-tiny")
        >>> counted.parameters, counted.totals["dense_macs"]
        (206026, 15008896)
        >>> from torch import nn
        >>> layer = analyzer.count(nn.Linear(16, 10), (16,), rates={"": 0.25})
        >>> layer.energy(convention="rate").total_pj
        36.0
        >>> tokens = nn.Sequential(nn.Embedding(100, 16), nn.Linear(16, 10))
        >>> analyzer.count(tokens, ("int64", (3, 20))).per_sample()["dense_macs"]
        3200.0
    """
    if isinstance(overrides.get("groups"), Mapping):
        raise AnalyzerError(
            "groups tell where activity is, which shapes do not tell: give them to "
            "analyzer.profile."
        )
    if isinstance(model, str):
        given: dict[str, Any] = {} if timesteps is None else {"timesteps": timesteps}
        card = models.describe(model)
        built_for = tuple(input_shape) if is_sample_shape(input_shape) else None
        with torch.device("meta"):
            built = models.build(model, input_shape=built_for, **given, **overrides).eval()
        name, model = name or card.name, built
        if input_shape is None and forward is None:
            input_shape = card.input_shape
        if card.takes_tokens and is_sample_shape(input_shape):
            input_shape = ("int64", (1, built.timesteps))
        timesteps = None
    elif overrides:
        raise AnalyzerError(f"a module is built already: it takes no {', '.join(overrides)}.")
    if input_shape is None and (forward is None or samples is None):
        raise AnalyzerError(
            "count needs the shape of one sample, such as (3, 224, 224), or a batch, such as "
            '{"input_ids": ("int64", (1, 2048))}.'
        )
    counted = count_shapes(
        model,
        input_shape,
        timesteps=timesteps,
        layouts=layouts,
        samples=samples,
        forward=forward,
        name=name,
    )
    if rates is None:
        return counted
    return with_rates(counted, rates if isinstance(rates, Mapping) else read_rates(rates))
