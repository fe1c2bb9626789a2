"""Axes to draw on: new figures, grids of panels, and figures for files that open no window."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import matplotlib
import seaborn as sns
from matplotlib import pyplot
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import findfont, get_font
from matplotlib.legend import Legend
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter

from analyzer.errors import AnalyzerError
from analyzer.plot.style import NARROW, points, style

__all__ = [
    "FORMATS",
    "as_list",
    "blank",
    "columns_of",
    "figure_of",
    "fit_texts",
    "grid",
    "legend",
    "missing_glyphs",
    "note",
    "numbered",
    "one",
    "paper",
    "pitch",
    "rows_on_top",
    "saved",
    "several",
    "width_of",
]

FORMATS = ("svg", "pdf", "png")

_NO_METADATA: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
        "png": {"Software": None},
    }
)


def _without_pyplot(**settings: Any) -> Figure:
    figure = Figure(**settings)
    FigureCanvasAgg(figure)
    return figure


_MAKE: ContextVar[Callable[..., Figure]] = ContextVar("make", default=pyplot.figure)
"""What makes a figure: pyplot, so that notebooks and windows show it, or not for files."""


@contextmanager
def paper(name: str, target: str | float = "page", *, font: str | None = None) -> Iterator[None]:
    """Figures drawn in the block are for files: pyplot does not know them, and bytes repeat."""
    token = _MAKE.set(_without_pyplot)
    try:
        with style(target, font=font):
            matplotlib.rcParams.update({"svg.hashsalt": name, "savefig.dpi": 200})
            yield
    finally:
        _MAKE.reset(token)


def blank(height: float) -> Figure:
    """An empty figure of the width that is set; the height in inches."""
    width = matplotlib.rcParams["figure.figsize"][0]
    return _MAKE.get()(figsize=(width, height), layout="constrained")


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to, also inside of subfigures."""
    figure: Figure | SubFigure | None = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    assert figure is not None
    return figure


def one(ax: Axes | None, height: float) -> Axes:
    """The axes that were given, or those of a new figure of so many inches.

    Raises:
        AnalyzerError: If something else was given.
    """
    if ax is not None and not isinstance(ax, Axes):
        raise AnalyzerError(f"ax is one matplotlib Axes, not {type(ax).__name__}.")
    return blank(height).subplots() if ax is None else ax


def width_of(ax: Axes) -> float:
    """How wide axes are, in inches, before the figure is laid out."""
    return float(ax.get_window_extent().width / figure_of(ax).dpi)


def as_list(ax: Axes | Sequence[Axes]) -> list[Axes]:
    """Axes that were given as one, as a sequence, or as the array of ``pyplot.subplots``."""
    return [ax] if isinstance(ax, Axes) else list(getattr(ax, "flat", ax))


def numbered(axis: Axis) -> None:
    """Gives a logarithmic axis plain numbers at 1, 2 and 5."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def note(
    ax: Axes, text: str, at: tuple[float, float], away: tuple[float, float] = (4, 0), **more: Any
) -> Annotation:
    """Writes a text beside a point, so many typographic points away; by default to its right."""
    how: dict[str, Any] = {"va": "center", "fontsize": points(), **more}
    return ax.annotate(text, at, away, textcoords="offset points", **how)


def several(
    ax: Axes | Sequence[Axes] | None, count: int, what: str, make: Callable[[], list[Axes]]
) -> list[Axes]:
    """The axes that were given, one a panel, or those of a new figure.

    Raises:
        AnalyzerError: If another number of axes was given.
    """
    if ax is None:
        return make()
    axes = as_list(ax)
    if len(axes) != count:
        raise AnalyzerError(
            f"{count} {what} need as many axes, and {len(axes)} were given: pass a list of "
            f"{count}, or leave ax out for a new figure."
        )
    return axes


def pitch() -> float:
    """Height of a row with a tick label, in inches."""
    return points() * 0.0194


def columns_of(count: int) -> int:
    """How many panels stand side by side in a figure of so many."""
    narrow = matplotlib.rcParams["figure.figsize"][0] < NARROW
    return 1 if count == 1 or narrow else 2


def grid(rows: Sequence[int], extra: float = 0.0) -> list[Axes]:
    """The axes of a new figure with a grid of panels in which all rows have the same height."""
    count, columns = len(rows), columns_of(len(rows))
    lines = [max(max(rows[i : i + columns]), 3) for i in range(0, count, columns)]
    figure = blank(sum(n * pitch() + 0.62 for n in lines) + extra)
    table = figure.subplots(len(lines), columns, squeeze=False, height_ratios=lines)
    axes = list(table.flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    for i, ax in enumerate(axes[:count]):
        ax.set_ylim(lines[i // columns] - 0.4, -0.6)
    return axes[:count]


def rows_on_top(ax: Axes) -> None:
    """Puts the axis of figures on top of rows, and takes the frame away."""
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    sns.despine(ax=ax, top=False, right=True, left=True, bottom=True)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=2.5, pad=1.5)


def legend(ax: Axes, handles: Sequence[Artist], *, own: bool, ncols: int = 4) -> None:
    """Explains colours above a figure of our own, which grows for it, or inside of given axes."""
    if not own:
        # Outside of axes it would take room from neighbours, and with it change its own place.
        _as_text(ax.legend(handles=handles, framealpha=0.85, fontsize=points()))
        return
    figure = figure_of(ax)
    for columns in range(min(ncols, len(handles)), 0, -1):
        made = figure.legend(
            handles=handles, frameon=False, loc="outside upper left", ncols=columns
        )
        _as_text(made)
        with _without_warnings_of_glyphs():
            box = made.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        made.remove()
    more = box.height / figure.dpi - 2.2 * points("legend.fontsize") / 72
    figure.set_figheight(figure.get_figheight() + max(more, 0))


def _as_text(made: Legend) -> None:
    for text in made.get_texts():
        text.set_parse_math(False)


def _lay_out(figure: Figure) -> None:
    """Gives axes their places, as drawing would, without the time that a drawing takes."""
    engine = figure.get_layout_engine()
    if engine is None:
        figure.draw_without_rendering()
    else:
        engine.execute(figure)


def fit_texts(ax: Axes, texts: Sequence[Annotation]) -> None:
    """Widens the horizontal axis, linear or logarithmic, until all texts at data lie inside of it.

    A text keeps its width while the point that it stands at moves.
    """
    figure = figure_of(ax)
    for text in texts:
        text.set_in_layout(False)  # else the layout makes room for it outside of the axes
    for _ in range(5):
        with _without_warnings_of_glyphs():
            _lay_out(figure)
        inside = ax.get_window_extent()
        right = left = 1.0
        for text in texts:
            at = ax.transData.transform((float(text.xy[0]), 0))[0]
            box = text.get_window_extent()
            right = max(right, _stretch(at - inside.x0, box.x1 - at + _GAP, inside.width))
            left = max(left, _stretch(inside.x1 - at, at - box.x0 + _GAP, inside.width))
        if max(right, left) < _SURE:
            return
        scale = ax.transScale.transform
        (low, _), (high, _) = scale([(x, 1) for x in ax.get_xlim()])
        ends = [(high - left * (high - low), 0), (low + right * (high - low), 0)]
        ax.set_xlim(*ax.transScale.inverted().transform(ends)[:, 0])


_GAP = 4
"""Pixels between a text and the end of its axes."""

_SURE = 1.005
"""An axis that lacks less than this factor is wide enough."""


def _stretch(before: float, overhang: float, width: float) -> float:
    """By how much an axis has to grow for a text that hangs over from a point on it."""
    return before / max(width - overhang, 0.2 * width)


def saved(figure: Figure, name: str) -> dict[str, bytes]:
    """Saves a figure in every format, reproducibly: contents by file name."""
    files = {}
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if not axis.get_label_text():
                # Else matplotlib measures all ticks anew in every drawing to find a place for it.
                axis.set_label_coords(0, 0)
    with _without_warnings_of_glyphs():
        _lay_out(figure)
        # The layout is found: with an engine, of whatever kind, every format would be drawn twice.
        figure.set_layout_engine(None)
        for kind in FORMATS:
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, metadata=_NO_METADATA[kind])
            files[f"{name}.{kind}"] = stream.getvalue()
    return files


@contextmanager
def _without_warnings_of_glyphs() -> Iterator[None]:
    """A report warns once about missing letters; matplotlib would for each letter and drawing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def missing_glyphs(text: str) -> str:
    """The characters of a text that are missing in the font of the PDF and PNG files."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(sorted({c for c in text if ord(c) not in known}))
