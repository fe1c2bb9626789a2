"""Models by name or as they are, counted by shapes, with published rates where there are any."""

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

    Args:
        model: A module, or a name of :func:`analyzer.models.names`, built on the meta device.
        input_shape: Shape of one sample, without the batch axis; by default that of the name.
        timesteps: Of a name, T; of a module, what is one pass.
        layouts: As for :func:`analyzer.profile`, where a module is given its timesteps.
        rates: Firing rate by module path, None where no spikes drive it; or a CSV file of them
            (columns ``module, firing_rate`` and maybe ``driven``).
        name: How tables call the profile.
        overrides: What else the builder of a name takes.

    Returns:
        A profile of one sample. Its activity columns are empty (not zero); with rates it is priced
        under ``convention="rate"``.

    Raises:
        AnalyzerError: Where the model needs values to run, or the shape or the rates do not fit.
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
