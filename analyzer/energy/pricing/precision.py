"""Number formats: what an operation costs in ``fp32``, ``int8``, or at given integer widths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analyzer.energy.declared.convention import is_layer
from analyzer.energy.declared.technology import Technology
from analyzer.errors import AnalyzerError

__all__ = ["Prices", "price_name", "prices"]

_WIDTHS = re.compile(r"(?:w(?P<weight>[1-9]\d*))?a(?P<activation>[1-9]\d*)(?:s(?P<sum>[1-9]\d*))?")
_FORMATS: Mapping[str, str] = MappingProxyType(
    {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
)
_SUM_BITS = 32
"""Width of a sum where none is given: what integer hardware accumulates in."""


@dataclass(frozen=True)
class Prices:
    """What arithmetic costs in one number format.

    Attributes:
        precision: The format by name.
        ac_pj: An accumulate.
        mac_pj: A multiply-accumulate of each row of a table.
        multiply_pj: A multiplication of two activations; None on a chip that has none.
        constants: What was used, by name: ``ac_pj``, and ``mac_pj`` or one for each pair of
            widths, ``mac_4x8_pj``.
        between: Whether they lie between widths that the technology has.
    """

    precision: str
    ac_pj: float
    mac_pj: Any
    multiply_pj: float | None
    constants: Mapping[str, float]
    between: bool = False

    def bit_serial(self, bits: float) -> Prices:
        """The same where a multiply-accumulate is so many accumulates, one per set bit."""
        price = bits * self.ac_pj
        constants = {"ac_pj": self.ac_pj, "mac_pj": price}
        return replace(self, mac_pj=np.full(len(self.mac_pj), price), constants=constants)


def prices(technology: Technology, precision: str, rows: pd.DataFrame, dtype: str) -> Prices:
    """The prices of the rows of a table.

    Args:
        technology: The constants.
        precision: A format that it has, such as ``fp32``; ``auto`` for what the model computed in;
            or widths of integers: ``w4a8`` of weights and activations, ``w4a8s16`` also of sums
            (32 bits if not given), ``a8`` with each layer's weights as wide as they were seen to
            be.
        rows: As a convention reads them, with ``weight_bits``, NaN where weights are reals.
        dtype: What the model computed in.

    Raises:
        AnalyzerError: Where the technology has no such price, or weights no width.
    """
    if not technology.add_pj:  # a chip or a processor, of one price
        precision = "any"
    if precision == "auto":
        if dtype not in _FORMATS:
            raise AnalyzerError(f"precision 'auto' needs a known number format, not {dtype!r}.")
        precision = _FORMATS[dtype]
    widths = _WIDTHS.fullmatch(precision)
    if widths is None:
        ac, mac = technology.ac_pj(precision), technology.mac_pj(precision)
        both = {"ac_pj": ac} | ({"mac_pj": mac} if technology.multiplies else {})
        multiply = mac - ac if technology.add_pj else mac if technology.multiplies else None
        return Prices(precision, ac, np.full(len(rows), mac), multiply, both)
    activation = int(widths["activation"])
    ac = _add(technology, int(widths["sum"] or _SUM_BITS))
    layer = is_layer(rows).to_numpy(bool)
    if widths["weight"] is not None:
        found = np.full(len(rows), float(widths["weight"]))
    else:
        found = rows["weight_bits"].to_numpy("float64", na_value=np.nan)
        found = np.where(found > 0, found, np.nan)
    # What is no weight is an activation.
    width = np.where(layer, found, activation)
    lacking = rows[np.isnan(width)]
    if len(lacking):
        raise AnalyzerError(
            f"the weights of {lacking['module'].iloc[0]!r} are no integers of one step, so "
            f"{precision!r} finds no width of them: give one, such as w8{precision}."
        )
    multiply = _multiply(technology, activation, activation)
    by_width = {w: ac + _multiply(technology, int(w), activation) for w in np.unique(width)}
    each = np.array([by_width[w] for w in width])
    used = np.unique(width[rows["mac"].to_numpy("float64", na_value=0) > 0])
    named = {f"mac_{int(w)}x{activation}_pj": by_width[w] for w in used}
    return Prices(precision, ac, each, multiply, {"ac_pj": ac} | named, between=True)


def price_name(key: str) -> str:
    """What tables call a constant: ``mac_4x8_pj`` is ``MAC 4×8``."""
    operation, _, widths = key.removesuffix("_pj").partition("_")
    return f"{operation.upper()} {widths.replace('x', '×')}".strip()


def _add(technology: Technology, bits: int) -> float:
    """An integer addition: between the widths that the technology has, in proportion."""
    return _between(technology, "add_pj", bits, lambda width: width)


def _multiply(technology: Technology, one: int, other: int) -> float:
    """An integer multiplication, whose array grows with the product of both widths."""
    return _between(technology, "multiply_pj", one * other, lambda width: width**2)


def _between(technology: Technology, section: str, size: int, grows: Any) -> float:
    """A price between those of known integer widths, interpolated linearly from 0 on."""
    table = technology.sections.get(section, {})
    known = sorted((int(k[3:]), v) for k, v in table.items() if re.fullmatch(r"int\d+", k))
    if not known or size > grows(known[-1][0]):
        raise AnalyzerError(
            f"technology {technology.name!r} has no integers that wide under [{section}]: it knows "
            f"{', '.join(f'int{width}' for width, _ in known) or 'none'}."
        )
    sizes = [0, *(grows(width) for width, _ in known)]
    return float(np.interp(size, sizes, [0.0, *(price for _, price in known)]))
