"""Whether the folder of a report is what it says: ``analyzer report --check``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from analyzer.profiles import load
from analyzer.report.compared import (
    Checked,
    compared,
    inside,
    lacking,
    priced_with,
    typed,
    unpacked,
)
from analyzer.report.folder import stem_in
from analyzer.report.live.payload import unpack
from analyzer.report.manifest import read_manifest
from analyzer.report.page import render

__all__ = ["Checked", "check"]

_DRAWN: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "title": (str, NoneType),
        "width": (str, int, float),
        "font": (str, NoneType),
        "only": (list, NoneType),
    }
)


def check(folder: Path) -> Checked:
    """Compares a report with its manifest, makes it again, and compares it with that.

    Compressed files and the data of the page are compared by what they hold.

    Args:
        folder: What ``analyzer report`` wrote.

    Raises:
        AnalyzerError: Where the folder holds no report, or its profiles can not be priced.
    """
    said = read_manifest(folder)
    lacking(folder, said)
    with tempfile.TemporaryDirectory() as place:
        again = Path(place) / "report"
        _render(folder, said, again)
        made = {p.relative_to(again).as_posix(): p for p in again.rglob("*") if p.is_file()}
        return compared(folder, said, {path: p.read_bytes() for path, p in made.items()}, _content)


def _render(folder: Path, said: dict[str, Any], output: Path) -> None:
    profiles = [load(inside(folder, str(path))) for path in said["profiles"]]
    drawn = typed(folder, said["drawn"], _DRAWN)
    stems = [stem_in(path) for path in said["profiles"]]
    slim = bool(said["drawn"].get("slim"))
    render(profiles, output, **priced_with(folder, said), **drawn, stems=stems, slim=slim)


def _content(data: bytes, path: str) -> Any:
    """What a file holds, however it was compressed."""
    try:
        if path.endswith(".gz"):
            return unpacked(data)
        if path.endswith(".html"):
            text = data.decode()
            found = re.search(r'id="data">([A-Za-z0-9+/=]*)<', text)
            return (text.replace(found[1], ""), unpack(found[1])) if found else text
    except (OSError, ValueError):
        pass
    return data
