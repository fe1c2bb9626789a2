"""Writes the report of some profiles into a folder: ``analyzer report``.

The folder gets ``index.html``, one page that opens offline and prices its models anew, the figures
as SVG, PDF and PNG, the tables as CSV and LaTeX, the profiles, a README and a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analyzer.entries import Entry, clean, collect, shown
from analyzer.inert import in_markdown
from analyzer.profiles import Profile
from analyzer.report import figures, findings, tables
from analyzer.report.folder import (
    argument,
    arguments,
    constants,
    manifest,
    options_of,
    profiles_of,
)
from analyzer.report.live.document import document
from analyzer.report.live.payload import payload
from analyzer.report.manifest import MANIFEST, earlier
from analyzer.report.output import place
from analyzer.version import __version__

__all__ = ["render", "stages", "template"]

_METADATA = (
    ("Data", "data"),
    ("Input shape", "input_shape"),
    ("Timesteps", "timesteps"),
    ("Number format", "dtype"),
    ("Device", "device"),
    ("Versions", "versions"),
    ("Seed", "seed"),
    ("Weights", "weights"),
    ("Measured energy", "measured_energy"),
)
"""Rows of the measurement table: label and key of the metadata."""

TABLES = ("comparison", "layers", "constants", "totals", "rates")

_OPTIONAL = frozenset({"measured_energy"})
"""Rows that are left out if no profile has them."""

OWNED = frozenset(
    {
        "index.html",
        "README.md",
        MANIFEST,
        *(f"figures/{name}" for name in (*figures.FILES, figures.CAPTIONS)),
        *(f"tables/{name}.{kind}" for name in TABLES for kind in tables.FORMATS),
    }
)

_EARLIER = frozenset(f"figures/{name}" for name in figures.EARLIER)


def render(
    profiles: Sequence[Profile],
    output: Path,
    *,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
    title: str | None = None,
    width: float | str = "page",
    font: str | None = None,
    only: Sequence[str] | None = None,
    stems: Sequence[str] | None = None,
    slim: bool = False,
    noted: Callable[[str], object] = lambda doing: None,
) -> Path:
    """Writes the report of some profiles, all files or none.

    The same profiles give the same bytes. Files of the user's in the folder are kept.

    Args:
        profiles: One or more; the others are compared with the first.
        output: Folder for ``index.html``, ``figures/``, ``tables/`` and ``profiles/``; made if it
            is missing.
        technology: Name of the energy constants.
        convention: Name of the rules that say which operations count as AC or MAC.
        precision: Number format that is priced.
        memory: Memory model, None for arithmetic alone.
        title: Heading of the page; by default it names the model or the number of models.
        width: Width of the figures, in inches or by journal, as :func:`analyzer.plot.style` takes
            it.
        font: Their font, likewise.
        only: Names of the figures to draw, of ``energy, layers, rates, ac_mac``; all by default.
        stems: What the files of the profiles are called, without their ending; by default as the
            profiles are.
        slim: Whether to leave out tables and figures, as a study has of its own.
        noted: Called with what is done next, :func:`stages` times at most.

    Returns:
        Path of the page.

    Raises:
        AnalyzerError: If there are no profiles, a name is unknown, or the folder can't be written.
    """
    output = Path(output)
    noted("pricing")
    asked = {
        "technology": technology,
        "convention": convention,
        "precision": precision,
        "memory": memory,
    }
    entries = collect(profiles, technology, convention, precision, memory)
    drawings = figures.draw(entries, width=width, font=font, only=[] if slim else only, noted=noted)
    noted("writing")
    made = tables.tables(entries)
    page = _page(entries, made, clean(title) if title else _title(entries), asked)
    files = {"index.html": page.encode()}
    for drawing in drawings:
        files |= {f"figures/{name}": content for name, content in drawing.files.items()}
    if drawings:
        files[f"figures/{figures.CAPTIONS}"] = _captions(drawings).encode()
    for table in () if slim else made.values():
        files |= {f"tables/{name}": content for name, content in table.files().items()}
    saved = profiles_of([entry.profile for entry in entries], stems)
    own = constants(asked)
    about = _readme(entries, list(saved), asked, title, constants=bool(own), slim=slim)
    files |= saved | own | {"README.md": about.encode()}
    drawn = {"title": title, "width": width, "font": font, "only": only and list(only)}
    drawn["slim"] = slim
    files[MANIFEST] = manifest(files, list(saved), asked, drawn)
    place(files, output, OWNED | _EARLIER | earlier(output))
    return output / "index.html"


def stages(only: Sequence[str] | None = None) -> int:
    """How many things :func:`render` does at most: it prices, draws each figure, and writes."""
    return 2 + len(figures.NAMES if only is None else set(only))


def template(package: str, name: str) -> Template:
    """Loads a jinja2 template of a package, with values escaped if it is an ``.html`` file."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _page(
    entries: Sequence[Entry],
    made: dict[str, tables.Table],
    title: str,
    asked: Mapping[str, Any],
) -> str:
    priced = entries[0].priced
    warnings = findings.warnings(entries)
    return document(
        template("analyzer.report", "page.html"),
        payload(entries, title=title, remarks=findings.shared(entries), **asked),
        title=title,
        summary=findings.summary(entries),
        warnings=warnings,
        tables=made,
        convention=priced.convention,
        technology=priced.technology,
        precision=priced.precision,
        metadata=_metadata(entries),
        names=[entry.name for entry in entries],
    )


def _readme(
    entries: Sequence[Entry],
    paths: Sequence[str],
    asked: Mapping[str, Any],
    title: str | None,
    *,
    constants: bool,
    slim: bool,
) -> str:
    """The README of the folder: what is in it, and how to price its profiles anew."""
    return template("analyzer.report", "README.md").render(
        title=in_markdown(clean(title) if title else _title(entries)),
        models=[
            (in_markdown(entry.name), path) for entry, path in zip(entries, paths, strict=True)
        ],
        paths=arguments(paths),
        first=argument(paths[0]),
        options=options_of(asked),
        constants=constants,
        slim=slim,
        version=__version__,
    )


def _captions(drawings: Sequence[figures.Drawing]) -> str:
    """A caption for each figure, to be copied into a paper."""
    texts = (
        f"## {each.title} (`{each.name}`)\n\n{in_markdown(each.caption)}\n" for each in drawings
    )
    return "\n".join(["# Captions of the figures\n", *texts])


def _title(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        return f"Work, activity and energy of {entries[0].name}"
    return f"Work, activity and energy of {len(entries)} models"


def _metadata(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """Rows of the measurement table: the label, then the value for each profile."""
    rows = [("Samples", [str(entry.profile.samples) for entry in entries])]
    if any(entry.spikes for entry in entries):
        rows.append(("Spiking layers", [entry.spikes or "–" for entry in entries]))
    for label, key in _METADATA:
        if key in _OPTIONAL and not any(key in entry.profile.metadata for entry in entries):
            continue
        rows.append((label, [shown(entry.profile.metadata.get(key)) for entry in entries]))
    return rows
