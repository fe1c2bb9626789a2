"""What the figures share: matplotlib settings, colours, row labels, grids of panels, and saving.

Figures are drawn without pyplot, so that they open no window, and saved without dates and random
ids, so that the same data give the same bytes.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from types import MappingProxyType
from typing import Any

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

__all__ = [
    "AC_STYLE",
    "FORMATS",
    "GUIDE",
    "MAC_STYLE",
    "MOVE_STYLES",
    "PITCH",
    "WIDTH",
    "blank",
    "fold",
    "inline",
    "missing_glyphs",
    "panels",
    "paper",
    "path_labels",
    "saved",
    "wrapped",
]

FORMATS = ("svg", "pdf", "png")

WIDTH = 7.2
"""Width of a figure in inches, the text width of a page: printed unscaled, 8 pt stay 8 pt."""

PITCH = 0.155
"""Height of a row with an 8 pt label, in inches."""

GUIDE = "#d0d0d0"
"""Colour of auxiliary lines."""

# Colours of Okabe and Ito, which colour-blind readers can tell apart, also in grey; and a hatch.
AC_STYLE: Mapping[str, Any] = MappingProxyType(
    {"facecolor": "#0072b2", "edgecolor": "#00344f", "linewidth": 0.5}
)
MAC_STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "facecolor": "#f2b84b",
        "edgecolor": "#7a4a00",
        "linewidth": 0.5,
        "hatch": "/////",
    }
)

MOVE_STYLES: tuple[Mapping[str, Any], ...] = tuple(
    MappingProxyType({"facecolor": face, "edgecolor": edge, "linewidth": 0.5, "hatch": hatch})
    for face, edge, hatch in (
        ("#56b4e9", "#1f4f6b", "...."),
        ("#cc79a7", "#5e2f4a", ""),
        ("#009e73", "#00412f", "xxxx"),
        ("#f0e442", "#6b6500", ""),
        ("#d55e00", "#5c2800", "----"),
    )
)
"""Styles of the energy of neurons, weights, activations, state and addressing, in this order."""

_OURS: Mapping[Any, Any] = MappingProxyType(
    {
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "savefig.dpi": 200,
        "font.family": ["sans-serif"],
        # The first one comes with matplotlib and is the widest, so that the others fit, too.
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
        "font.size": 8.5,
        "axes.labelsize": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8.5,
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
_NO_METADATA: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
        "png": {"Software": None},
    }
)


@contextmanager
def paper(name: str) -> Iterator[None]:
    """Within this context, figures have the same style whatever the user's matplotlib settings.

    The settings are restored afterwards.

    Args:
        name: Name of the figure; the ids in its SVG are derived from it.
    """
    with matplotlib.rc_context():
        kept = ("backend", "interactive", "toolbar", "webagg", "date.epoch")
        defaults = matplotlib.rcParamsDefault
        matplotlib.rcParams.update({k: v for k, v in defaults.items() if not k.startswith(kept)})
        matplotlib.rcParams.update(sns.axes_style("ticks"))
        matplotlib.rcParams.update({**_OURS, "svg.hashsalt": name})
        yield


def blank(height: float, width: float = WIDTH) -> Figure:
    """An empty figure without pyplot; height and width in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def saved(figure: Figure, name: str) -> dict[str, bytes]:
    """Saves a figure in every format, reproducibly.

    Args:
        figure: The figure.
        name: Stem of the file names.

    Returns:
        Contents by file name.
    """
    files = {}
    with warnings.catch_warnings():
        # The page warns once about missing letters; matplotlib would for each letter and drawing.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for kind in FORMATS:
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, metadata=_NO_METADATA[kind])
            files[f"{name}.{kind}"] = stream.getvalue()
    return files


def missing_glyphs(text: str) -> str:
    """The characters of a text that are missing in the font of the PDF and PNG files."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(sorted({c for c in text if ord(c) not in known}))


def inline(svg: bytes, name: str, alt: str) -> str:
    """Turns an SVG file into an element of a page.

    Args:
        svg: The file.
        name: Put before each id, so that no two figures of a page share one.
        alt: Description for screen readers.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1).strip()


def wrapped(name: str, width: int = 26) -> str:
    """A model's name on at most two lines; of a longer name the middle is left out."""
    lines = textwrap.wrap(name, width, break_on_hyphens=True) or [""]
    if len(lines) > 2 or max(map(len, lines)) > width:
        lines = textwrap.wrap(_elided(name, 2 * width - 6), width)[:2]
    return "\n".join(lines)


def path_labels(modules: Sequence[str], ops: Sequence[str], width: int = 28) -> list[str]:
    """Row labels: the module path, and the operation if the module has several rows.

    Args:
        modules: Module path of each row.
        ops: Operation of each row.
        width: Most characters of a label.
    """
    times = Counter(modules)
    several = [times[module] > 1 for module in modules]
    return [
        _short_path(module, width - (len(op) + 3 if more else 0)) + (f" · {op}" if more else "")
        for module, op, more in zip(modules, ops, several, strict=True)
    ]


def fold(modules: Sequence[str], labels: Sequence[str], limit: int) -> list[tuple[str, list[int]]]:
    """Groups rows of a figure until there are at most `limit`.

    Rows are grouped by their parent module if that gives a useful number of groups, else adjacent
    rows are joined.

    Args:
        modules: Module path of each row.
        labels: Label of each row.
        limit: Most groups.

    Returns:
        The label of each group and the positions of its rows; every row is in one group.
    """
    if len(modules) <= limit:
        return [(label, [i]) for i, label in enumerate(labels)]
    for depth in range(max(m.count(".") for m in modules), 0, -1):
        groups: dict[str, list[int]] = {}
        for i, module in enumerate(modules):
            groups.setdefault(".".join(module.split(".")[:depth]), []).append(i)
        if limit // 5 < len(groups) <= limit:
            return [
                (
                    labels[rows[0]]
                    if len(rows) == 1
                    else f"{_short_path(parent, 18)} ({len(rows)} rows)",
                    rows,
                )
                for parent, rows in groups.items()
            ]
    size = -(-len(modules) // limit)
    runs = [list(range(i, min(i + size, len(modules)))) for i in range(0, len(modules), size)]
    return [
        (labels[rows[0]] if len(rows) == 1 else f"{labels[rows[0]]} +{len(rows) - 1}", rows)
        for rows in runs
    ]


def panels(rows: Sequence[int], extra: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of panels in which all rows have the same height.

    Args:
        rows: Number of rows in each panel.
        extra: Additional height of the figure in inches.

    Returns:
        The figure, and the axes of the panels.
    """
    count = len(rows)
    columns = 1 if count == 1 else 2
    lines = [max(rows[i : i + columns]) for i in range(0, count, columns)]
    figure = blank(sum(max(n, 3) * PITCH + 0.62 for n in lines) + extra)
    grid = figure.subplots(
        len(lines), columns, squeeze=False, height_ratios=[max(n, 3) for n in lines]
    )
    axes = [ax for line in grid for ax in line]
    for unused in axes[count:]:
        unused.set_axis_off()
    for i, ax in enumerate(axes[:count]):
        ax.set_ylim(max(lines[i // columns], 3) - 0.4, -0.6)
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        sns.despine(ax=ax, top=False, right=True, left=True, bottom=True)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", length=2.5, pad=1.5)
    return figure, axes[:count]


def _short_path(path: str, width: int) -> str:
    """Abbreviates parts of a long path to one letter, from the left; numbers are kept whole."""
    parts = path.split(".")
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= width:
            break
        if not part.isdigit():
            parts[i] = part[:1]
    return _elided(".".join(parts), width)


def _elided(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    head = max(width // 3, 1)
    return f"{text[:head]}…{text[len(text) - max(width - head - 1, 1) :]}"
