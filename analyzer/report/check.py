"""Whether the folder of a report is what it says: ``analyzer report --check``."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts.sent import listed
from analyzer.profiles import load
from analyzer.report.folder import MANIFEST, read_manifest
from analyzer.report.live.payload import unpack
from analyzer.report.page import render
from analyzer.specs import split
from analyzer.version import __version__

__all__ = ["Checked", "check"]

_MOST = 6
"""How many files a sentence names."""

_PICTURE = re.compile(r"\.(pdf|png)$")


@dataclass(frozen=True)
class Checked:
    """What a check of a folder found.

    Attributes:
        folder: The folder.
        files: How many files its manifest tells.
        missing: Those of them that are not there, but for pictures (PDF, PNG) whose SVG is.
        spared: How many such pictures are not there.
        changed: Those that are not what the manifest says.
        differing: Those that come out differently when the report is made again.
        made_by: Version that made the report.
    """

    folder: Path
    files: int
    missing: tuple[str, ...]
    spared: int
    changed: tuple[str, ...]
    differing: tuple[str, ...]
    made_by: str

    @property
    def passed(self) -> bool:
        """Whether all files are here and nothing differs."""
        return not (self.missing or self.changed or self.differing)

    @property
    def sentences(self) -> list[str]:
        """The result, a sentence each."""
        found = []
        if self.missing:
            found.append(
                f"{len(self.missing)} of {self.files} files are not here: "
                f"{listed(self.missing, _MOST)}."
            )
        if self.changed:
            found.append(f"Changed since the report was made: {listed(self.changed, _MOST)}.")
        if self.differing:
            differing = listed(self.differing, _MOST)
            found.append(f"Made again from the profiles, these differ: {differing}.")
        if self.made_by != __version__:
            found.append(f"The report was made by version {self.made_by}, this is {__version__}.")
        if self.spared:
            found.append(f"{self.spared} pictures (PDF, PNG) are not here; their SVG files are.")
        if self.passed:
            found.append(
                f"{self.folder}: {self.files - self.spared} files are what the manifest says, and "
                "the report made again from the profiles is the same."
            )
        return found


def check(folder: Path) -> Checked:
    """Compares a report with its manifest, makes it again, and compares it with that.

    Compressed files and the data of the page are compared by what they hold.

    Args:
        folder: What ``analyzer report`` wrote.

    Raises:
        AnalyzerError: Where the folder holds no report, or its profiles can not be priced.
    """
    said = read_manifest(folder)
    hashes: dict[str, str] = said["sha256"]
    here = {path for path in hashes if _inside(folder, path).is_file()}
    changed = [
        path
        for path in sorted(here)
        if hashlib.sha256((folder / path).read_bytes()).hexdigest() != hashes[path]
    ]
    lacking = [path for path in said["profiles"] if path not in here]
    if lacking:
        raise AnalyzerError(f"{folder} lacks the profile {lacking[0]}, so it can't be made again.")
    with tempfile.TemporaryDirectory() as place:
        again = Path(place) / "report"
        _render(folder, said, again)
        made = {p.relative_to(again).as_posix() for p in again.rglob("*") if p.is_file()}
        differing = [
            path
            for path in sorted(here & made)
            if not _same((folder / path).read_bytes(), (again / path).read_bytes(), path)
        ]
        differing += [f"{path} (only here)" for path in sorted(here - made)]
        differing += [
            f"{p} (not in the manifest)" for p in sorted(made - hashes.keys() - {MANIFEST})
        ]
    gone = sorted(hashes.keys() - here)
    # What repositories leave out, as this one does: the same picture is here as SVG.
    missing = tuple(
        path for path in gone if not (_PICTURE.search(path) and _PICTURE.sub(".svg", path) in here)
    )
    return Checked(
        folder,
        len(hashes),
        missing,
        len(gone) - len(missing),
        tuple(changed),
        tuple(differing),
        str(said["analyzer"]),
    )


def _inside(folder: Path, path: str) -> Path:
    if path.startswith("/") or ".." in Path(path).parts:
        raise AnalyzerError(f"the manifest of {folder} names {path!r}, which is not inside of it.")
    return folder / path


def _own(folder: Path, spec: str) -> str:
    """What the report was priced with; of a file in the folder, with the path of the folder."""
    name, _ = split(spec)
    return f"{_inside(folder, name)}{spec[len(name) :]}" if name.endswith(".toml") else spec


def _render(folder: Path, said: dict[str, Any], output: Path) -> None:
    profiles = [load(_inside(folder, str(path))) for path in said["profiles"]]
    asked = {key: said["priced"].get(key) for key in ("technology", "convention", "precision",
                                                      "memory")}  # fmt: skip
    priced: dict[str, Any] = {
        key: _own(folder, value) if isinstance(value, str) else value
        for key, value in asked.items()
    }
    drawn = {key: said["drawn"].get(key) for key in ("title", "width", "font", "only")}
    stems = [Path(path).name.removesuffix(".json.gz") for path in said["profiles"]]
    slim = bool(said["drawn"].get("slim"))
    render(profiles, output, **priced, **drawn, stems=stems, slim=slim)


def _same(one: bytes, other: bytes, path: str) -> bool:
    return one == other or _content(one, path) == _content(other, path)


def _content(data: bytes, path: str) -> Any:
    """What a file holds, however it was compressed."""
    try:
        if path.endswith(".gz"):
            return gzip.decompress(data)
        if path.endswith(".html"):
            text = data.decode()
            found = re.search(r'id="data">([A-Za-z0-9+/=]*)<', text)
            return (text.replace(found[1], ""), unpack(found[1])) if found else text
    except (OSError, EOFError, zlib.error, ValueError, TypeError):
        pass
    return data
