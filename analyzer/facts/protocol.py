"""What pricing reads of a profile, so that it needs to know no class that users hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pandas as pd

from analyzer.facts.layers import Layer
from analyzer.facts.records import Shape, Tally
from analyzer.facts.sampled import Sampled
from analyzer.facts.sent import Sent

__all__ = ["Facts"]


class Facts(Protocol):
    """The facts of one model on some data, as conventions, prices and comparisons read them.

    :class:`analyzer.Profile` is one; anything else with these attributes can be priced as well.
    """

    @property
    def name(self) -> str:
        """How tables and messages call it."""

    @property
    def samples(self) -> int:
        """Number of samples that all totals are sums over."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Model, timesteps, dtype, weights and the like."""

    @property
    def rows(self) -> pd.DataFrame:
        """One row per module, operation and input class; columns of ``analyzer.facts.table``."""

    @property
    def sampled(self) -> Sampled | None:
        """What single samples did; None where that was not measured."""

    def rows_of_samples(self) -> Iterator[pd.DataFrame]:
        """The rows of single samples, some at a time; ``profile`` is the number of the sample."""

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """Element-wise work and updates of neurons."""

    @property
    def uncounted(self) -> tuple[Tally, ...]:
        """Arithmetic that no rule covers."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Products of which only shapes, and perhaps published rates, are known."""

    @property
    def sent(self) -> tuple[Sent, ...] | None:
        """What each spiking layer sent; None where that was not measured."""

    @property
    def layers(self) -> tuple[Layer, ...] | None:
        """All modules of the model, each behind the one that holds it; None where not known."""

    @property
    def silent_layers(self) -> tuple[str, ...]:
        """Spiking layers that never fired, as far as it is known what layers sent."""

    @property
    def parameters(self) -> int | None:
        """Number of parameters; None where it is not known."""

    @property
    def accuracy(self) -> float | None:
        """Share of samples classified correctly; None where it was not measured."""

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds per sample on the device; None where they were not measured."""

    def sparsity(self, by: str = "module") -> pd.DataFrame:
        """Elements and non-zeros that counted operations read, by module or another axis."""
