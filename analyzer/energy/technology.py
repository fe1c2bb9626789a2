"""Technologies: what one operation costs, each figure with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analyzer.energy.data import available, read_toml
from analyzer.errors import AnalyzerError

__all__ = ["Technology", "technologies", "technology"]


@dataclass(frozen=True, slots=True)
class Technology:
    """Energy of single operations, in picojoules, by number format (``fp32``, ``int8``, ...)."""

    name: str
    title: str
    source: str
    add_pj: Mapping[str, float]
    multiply_pj: Mapping[str, float]

    def ac_pj(self, precision: str = "fp32") -> float:
        """One accumulate: an addition."""
        return self._figure(self.add_pj, "addition", precision)

    def mac_pj(self, precision: str = "fp32") -> float:
        """One multiply-accumulate: a multiplication and an addition."""
        return self._figure(self.multiply_pj, "multiplication", precision) + self.ac_pj(precision)

    def _figure(self, table: Mapping[str, float], operation: str, precision: str) -> float:
        if precision not in table:
            raise AnalyzerError(
                f"technology {self.name!r} has no {operation} in {precision!r}: "
                f"it knows {', '.join(table)}."
            )
        return table[precision]


def technology(name: str) -> Technology:
    """Reads a technology by name."""
    return Technology(**read_toml("technologies", name, "technology"))


def technologies() -> dict[str, str]:
    """Names of all technologies with their sources."""
    return {name: technology(name).source for name in available("technologies")}
