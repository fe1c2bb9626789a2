"""Converts units and formats figures for people; no other module does."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = [
    "MJ_PER_PJ",
    "PJ_PER_MJ",
    "energy_unit",
    "exactly",
    "format_bytes",
    "format_energy_mj",
    "format_energy_pj",
    "format_ratio",
    "format_share",
    "format_si",
    "of_counts",
    "signed",
    "with_margin",
]

MJ_PER_PJ = 1e-9
"""Millijoules in a picojoule."""

PJ_PER_MJ = 1e9
"""Picojoules in a millijoule; dividing by the other would not give the same floats."""

_DASH = "–"

_ENERGIES = ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"))


def format_si(value: float | None, digits: int = 3) -> str:
    """A count with an SI prefix: ``1234567`` is ``1.23 M``; a dash where it is unknown."""
    return _scaled(value, ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")), digits, "")


def format_energy_pj(value_pj: float | None, digits: int = 3) -> str:
    """An energy given in picojoules, in the unit that reads best: ``4.6e6`` is ``4.60 µJ``."""
    return _scaled(value_pj, _ENERGIES, digits, "pJ")


def format_energy_mj(value_mj: float) -> str:
    """An energy given in millijoules, likewise."""
    return format_energy_pj(value_mj * PJ_PER_MJ)


def energy_unit(largest_pj: float) -> tuple[float, str]:
    """The unit in which a set of energies up to this one reads best, and its size in picojoules."""
    return next(((size, unit) for size, unit in _ENERGIES if largest_pj >= size), (1.0, "pJ"))


def exactly(value: float) -> str:
    """A figure in full: ``1234567.25`` is ``1,234,567.25``.

    Example:
        >>> exactly(1234567.25), exactly(13.5), exactly(0.00123)
        ('1,234,567.25', '13.5', '0.00123')
    """
    if abs(value) < 1000:
        return f"{value:.6g}"
    return f"{value:,.2f}".removesuffix(".00")


def of_counts(value: float) -> str:
    """A count with a prefix, and in full where that says more.

    Example:
        >>> of_counts(1234567.25), of_counts(640)
        ('1.23 M (1,234,567.25)', '640')
    """
    short, full = format_si(value), exactly(value)
    return full if short == full else f"{short} ({full})"


def format_ratio(value: float | None) -> str:
    """A factor to three digits: ``9.7`` is ``9.70×``; a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return _DASH
    return "0×" if value == 0 else f"{_digits(_rounded(value, 3), 3)}×"


def format_bytes(value: float | None) -> str:
    """A size with a binary prefix: ``1536`` is ``1.50 KiB``."""
    return _scaled(value, ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")), 3, "B")


def format_share(value: float | None) -> str:
    """A share in per cent: ``0.974`` is ``97.4 %``; a nonzero share never reads as zero."""
    if value is None or math.isnan(value):
        return _DASH
    if value == 0 or value == 1:
        return f"{100 * value:.0f} %"
    return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def signed(value: float, text: Callable[[float], str] = format_energy_pj) -> str:
    """A difference with its sign: ``-4.6e6`` is ``−4.60 µJ``; zero has none."""
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{text(abs(value))}"


def with_margin(text: str, value: float, margin: float | None) -> str:
    """A figure with its margin, in one unit: ``4.60 µJ`` is ``4.60 ± 0.12 µJ``.

    Args:
        text: The figure as one of the functions above wrote it, perhaps behind ``≥``.
        value: Its value.
        margin: In the unit of the value; None or NaN where it is unknown, which leaves the text.
    """
    if margin is None or math.isnan(margin) or text == _DASH:
        return text
    bound, sign, rest = text.rpartition("≥ ")
    number, _, unit = rest.partition(" ")
    shown = float(number)
    size = 10.0 ** round(math.log10(abs(value / shown))) if shown else 1.0
    half = margin / size
    said = "0" if half == 0 else _digits(_rounded(half, 2), 2)
    return f"{bound}{sign}{number} ± {said} {unit}".rstrip()


def _scaled(
    value: float | None, scale: tuple[tuple[float, str], ...], digits: int, unit: str
) -> str:
    """A value to so many significant digits, with the unit whose factor leaves it at least 1."""
    if value is None or math.isnan(value):
        return _DASH
    # Rounded first, so that 999 999 is 1.00 M and not 1000 k.
    rounded = _rounded(value, digits)
    factor, unit = next(((f, u) for f, u in scale if abs(rounded) >= f), (1.0, unit))
    if factor == 1.0 and float(value).is_integer():
        return f"{value:.0f} {unit}".rstrip()
    return f"{_digits(rounded / factor, digits)} {unit}".rstrip()


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def _digits(value: float, digits: int) -> str:
    """A rounded value with as many decimals as its significant digits need."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(digits - 1 - magnitude, 0)}f}"
