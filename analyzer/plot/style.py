"""How figures look: widths and fonts of journals, and colours that also read in grey."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib
import seaborn as sns
from matplotlib.font_manager import FontProperties, findfont

from analyzer.errors import AnalyzerError

__all__ = [
    "AC_STYLE",
    "GUIDE",
    "LESS",
    "MAC_STYLE",
    "MARKERS",
    "MORE",
    "NARROW",
    "NEUTRAL",
    "PART_STYLES",
    "colors_of",
    "markers_of",
    "points",
    "style",
]

GUIDE = "#d0d0d0"
"""Colour of auxiliary lines."""

LESS, MORE, NEUTRAL = "#0072b2", "#d55e00", "#595959"
"""Colours of what lowers an energy, what raises it, and totals."""

MARKERS = "osD^vP*X<>ph"
"""Markers of series, in their order."""

# Colours of Okabe and Ito, which colour-blind readers can tell apart, also in grey; and a hatch.
AC_STYLE: Mapping[str, Any] = MappingProxyType(
    {"facecolor": "#0072b2", "edgecolor": "#00344f", "linewidth": 0.5}
)
MAC_STYLE: Mapping[str, Any] = MappingProxyType(
    {"facecolor": "#f2b84b", "edgecolor": "#7a4a00", "linewidth": 0.5, "hatch": "/////"}
)

PART_STYLES: tuple[Mapping[str, Any], ...] = tuple(
    MappingProxyType({"facecolor": face, "edgecolor": edge, "linewidth": 0.5, "hatch": hatch})
    for face, edge, hatch in (
        ("#b8b8b8", "#3d3d3d", "oo"),
        ("#56b4e9", "#1f4f6b", "...."),
        ("#cc79a7", "#5e2f4a", ""),
        ("#009e73", "#00412f", "xxxx"),
        ("#f0e442", "#6b6500", ""),
        ("#d55e00", "#5c2800", "----"),
    )
)
"""Styles of element-wise work, neurons, weights, activations, state and addressing, in order."""

_SANS = ("DejaVu Sans", "Verdana", "Arial", "Helvetica")
"""The first one comes with matplotlib and is the widest, so that the others fit, too."""

_SERIF = ("DejaVu Serif", "Times New Roman", "Times", "Nimbus Roman")


class _Target(NamedTuple):
    """Where a figure is printed: its width in inches, the size of its text in points, its font."""

    width: float
    size: float
    font: str


_TARGETS: Mapping[str, _Target] = MappingProxyType(
    {
        "page": _Target(7.2, 8.5, "sans"),
        "ieee": _Target(3.5, 8, "serif"),
        "acm": _Target(3.33, 8, "serif"),
        "neurips": _Target(5.5, 8.5, "serif"),
        "nature": _Target(89 / 25.4, 7, "sans"),
    }
)

NARROW = 4.5
"""Below this width, in inches, text is as small as journals allow, and panels are stacked."""

_NARROWEST, _WIDEST = 0.1, 100.0
"""Inches; beyond these a picture has no pixel, or more than memory has room for."""

_SETTINGS: Mapping[Any, Any] = MappingProxyType(
    {
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "savefig.dpi": 300,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "hatch.linewidth": 0.5,
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        # A dollar sign in a user's name must not start a formula.
        "text.parse_math": False,
        "text.usetex": False,
        "axes.unicode_minus": True,
    }
)


@contextmanager
def style(
    target: str | float = "page", *, font: str | None = None, size: float | None = None
) -> Iterator[None]:
    """Figures drawn in the block have the width, font and text size of a journal.

    Use it around the functions of :mod:`analyzer.plot`, and around figures of your own that stand
    beside them. A figure of this width is printed unscaled, so that its text keeps its size. The
    settings of matplotlib that were there before come back when the block ends. Save inside of the
    block: how fonts are embedded and how fine pixels are is decided when a figure is saved.

    Args:
        target: ``ieee`` (3.5 in), ``acm`` (3.33 in), ``neurips`` (5.5 in), ``nature`` (89 mm),
            ``page`` (7.2 in, the text width of a report), or a width in inches.
        font: ``sans``, ``serif``, or the name of an installed font; by default that of the target.
        size: Size of labels in points; by default that of the target. Ticks are half a point
            smaller.

    Raises:
        AnalyzerError: If the target or font is unknown, a width is not from 0.1 to 100 inches, or a
            size is not positive.

    Example:
        >>> import analyzer
        >>> import matplotlib
        >>> with analyzer.plot.style("ieee"):
        ...     print(matplotlib.rcParams["figure.figsize"][0])
        3.5
    """
    with _settings_put_back():
        defaults = matplotlib.rcParamsDefault
        kept = ("backend", "interactive", "toolbar", "webagg", "date.epoch")
        settings: Any = matplotlib.rcParams
        settings.update({k: v for k, v in defaults.items() if not k.startswith(kept)})
        settings.update(sns.axes_style("ticks"))
        settings.update({**_SETTINGS, **_sizes(*_target(target, font, size))})
        yield


@contextmanager
def _settings_put_back() -> Iterator[None]:
    """All of matplotlib's settings come back, but for whether it is interactive.

    A notebook turns that on when it draws its first figure, which may be in the block.
    """
    interactive = matplotlib.is_interactive()
    try:
        with matplotlib.rc_context():
            try:
                yield
            finally:
                interactive = matplotlib.is_interactive()
    finally:
        matplotlib.interactive(interactive)


def _target(target: Any, font: str | None, size: float | None) -> _Target:
    if isinstance(target, str):
        if target not in _TARGETS:
            raise AnalyzerError(
                f"no style is called {target!r}: choose one of {', '.join(_TARGETS)}, or give a "
                "width in inches."
            )
        found = _TARGETS[target]
    elif isinstance(target, int | float) and 0 < target < math.inf:
        found = _Target(float(target), 8 if target < NARROW else 8.5, "sans")
        if not _NARROWEST <= target <= _WIDEST:
            raise AnalyzerError(
                f"no figure can be {target:g} inches wide: give {_NARROWEST:g} to {_WIDEST:g}."
            )
    else:
        raise AnalyzerError(f"a style is the name of a journal or a width in inches, not {target}.")
    if size is not None and not 0.5 < size < math.inf:
        raise AnalyzerError(f"the size of text is a number of points above 0.5, not {size}.")
    if font not in (None, "sans", "serif"):
        try:
            findfont(font, fallback_to_default=False)
        except ValueError:
            raise AnalyzerError(
                f"no font is called {font!r} here: give sans, serif or an installed font."
            ) from None
    return found._replace(font=font or found.font, size=found.size if size is None else size)


def _sizes(width: float, size: float, font: str) -> dict[str, Any]:
    family = {"sans": "sans-serif"}.get(font, font)
    return {
        "figure.figsize": (width, width * 0.62),
        "font.family": [family],
        "font.sans-serif": list(_SANS),
        "font.serif": list(_SERIF),
        "font.size": size,
        "axes.labelsize": size,
        "axes.titlesize": size + 0.5,
        "xtick.labelsize": size - 0.5,
        "ytick.labelsize": size - 0.5,
        "legend.fontsize": size,
        "lines.markersize": 4,
        "lines.linewidth": 1,
    }


def points(name: str = "ytick.labelsize") -> float:
    """A size of text among matplotlib's settings, in points."""
    settings: Any = matplotlib.rcParams
    return float(FontProperties(size=settings[name]).get_size_in_points())


def colors_of(names: Iterable[object]) -> dict[str, Any]:
    """A colour for each name, the same in all panels of a figure."""
    known = list(dict.fromkeys(map(str, names)))
    # Without its two lightest, which thin lines on white do not show.
    dark = [color for i, color in enumerate(sns.color_palette("colorblind")) if i not in (6, 8)]
    palette = dark if len(known) <= len(dark) else sns.color_palette("husl", len(known))
    return dict(zip(known, palette, strict=False))


def markers_of(names: Iterable[object]) -> dict[str, dict[str, Any]]:
    """How lines and markers of each name are drawn: no two alike, also in grey, up to 24."""
    colors = colors_of(names)
    return {
        name: {
            "color": color,
            "marker": MARKERS[i % len(MARKERS)],
            "fillstyle": "none" if i // len(MARKERS) % 2 else "full",
        }
        for i, (name, color) in enumerate(colors.items())
    }
