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
from analyzer.measure.shapes import count as count_shapes
from analyzer.profiles import Profile
from analyzer.rates import read_rates, with_rates

if TYPE_CHECKING:
    from torch import nn

__all__ = ["count"]


def count(
    model: nn.Module | str,
    input_shape: tuple[int, ...] | None = None,
    *,
    timesteps: int | None = None,
    layouts: Mapping[str, str] | None = None,
    rates: Mapping[str, float | None] | str | Path | None = None,
    name: str | None = None,
    **overrides: Any,
) -> Profile:
    """Counts parameters, dense work and memory of a model by its shapes, without running it.

    Use it for models that are too large to run, and for published networks of which only firing
    rates are known. To measure the activity of a model on data, use :func:`analyzer.profile`.

    Args:
        model: A module, or a name of :func:`analyzer.models.names`, which is built on the meta
            device and takes no memory for its weights.
        input_shape: Shape of one sample, without the batch axis, such as ``(3, 224, 224)``. By
            default that of the registered model.
        timesteps: For a name, the T that the model is built with. For a module, how many
            timesteps one forward pass has.
        layouts: Axes of tensors by module pattern, as for :func:`analyzer.profile`.
        rates: Firing rates in [0, 1] by module path, None for modules that no spikes drive; or
            the path of a CSV file with columns ``module, firing_rate`` and optionally ``driven``.
        name: The name of the profile in tables.
        overrides: Further arguments of the builder of a registered model, see
            :func:`analyzer.models.build`.

    Returns:
        A profile of one sample. Its activity columns are empty, not zero. With ``rates`` it can
        be priced under ``convention="rate"``.

    Raises:
        AnalyzerError: If the model needs values to run, or the shape or the rates do not fit.

    Example:
        >>> import analyzer
        >>> counted = analyzer.count("vit-tiny")
        >>> counted.parameters, counted.totals["dense_macs"]
        (206026, 15008896)
        >>> from torch import nn
        >>> layer = analyzer.count(nn.Linear(16, 10), (16,), rates={"": 0.25})
        >>> layer.energy(convention="rate").total_pj
        36.0
    """
    if isinstance(model, str):
        given: dict[str, Any] = {} if timesteps is None else {"timesteps": timesteps}
        card = models.describe(model)
        with torch.device("meta"):
            built = models.build(model, input_shape=input_shape, **given, **overrides).eval()
        name, input_shape, model = name or card.name, input_shape or card.input_shape, built
        timesteps = None
    elif overrides:
        raise AnalyzerError(f"a module is built already: it takes no {', '.join(overrides)}.")
    if input_shape is None:
        raise AnalyzerError("count needs the shape of one sample, such as (3, 224, 224).")
    counted = count_shapes(
        model, tuple(input_shape), timesteps=timesteps, layouts=layouts, name=name
    )
    if rates is None:
        return counted
    return with_rates(counted, rates if isinstance(rates, Mapping) else read_rates(rates))
