"""Figures as cards write them: rounded for reading, and in full for comparing."""

from __future__ import annotations

from analyzer.units import format_si

__all__ = ["exactly", "of_counts"]


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
