"""A folder with a manifest, set against its hashes and against what its profiles give again.

The checks of reports and of energy cards end here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts.sent import listed
from analyzer.files import MIB, unzipped
from analyzer.report.manifest import MANIFEST
from analyzer.specs import PRICED, split
from analyzer.version import __version__

__all__ = [
    "MOST_BYTES", "MOST_UNPACKED", "Checked", "compared", "inside", "lacking", "priced_with",
    "typed", "unpacked",
]  # fmt: skip

_MOST = 6
"""How many files a sentence names."""

MOST_BYTES = 256 * MIB
"""What a file, or all in an archive, may hold."""

MOST_UNPACKED = 64 * MIB
"""What a compressed file may hold, unpacked; those of large models hold a few MiB."""

_PRICED: Mapping[str, tuple[type, ...]] = MappingProxyType(
    dict.fromkeys(PRICED, (str,)) | {"memory": (str, NoneType)}
)

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
        differing: Those that come out differently when it is made again.
        made_by: Version that made it.
        what: What the folder is called in sentences.
    """

    folder: Path
    files: int
    missing: tuple[str, ...]
    spared: int
    changed: tuple[str, ...]
    differing: tuple[str, ...]
    made_by: str
    what: str = "report"

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
            found.append(f"Changed since the {self.what} was made: {listed(self.changed, _MOST)}.")
        if self.differing:
            differing = listed(self.differing, _MOST)
            found.append(f"Made again from the profiles, these differ: {differing}.")
        if self.made_by != __version__:
            found.append(
                f"The {self.what} was made by version {self.made_by}, this is {__version__}."
            )
        if self.spared:
            found.append(f"{self.spared} pictures (PDF, PNG) are not here; their SVG files are.")
        if self.passed:
            found.append(
                f"{self.folder}: {self.files - self.spared} files are what the manifest says, and "
                f"the {self.what} made again from the profiles is the same."
            )
        return found


def compared(
    folder: Path,
    said: Mapping[str, Any],
    made: Mapping[str, bytes],
    content: Callable[[bytes, str], Any],
    what: str = "report",
) -> Checked:
    """Sets the files of a folder against its manifest, and against what was made again.

    Args:
        folder: The folder.
        said: Its manifest.
        made: Contents of the files that its profiles give now, by path.
        content: From bytes and a path to what is compared, where the bytes differ: a file may be
            compressed in several ways.
        what: What sentences call it.

    Raises:
        AnalyzerError: Where the manifest names a file outside of the folder, or one of them is
            larger than any.
    """
    hashes: dict[str, str] = said["sha256"]
    here = {path for path in hashes if inside(folder, path).is_file()}
    changed, differing = [], []
    for path in sorted(here):
        data = _read(folder, path)
        if hashlib.sha256(data).hexdigest() != hashes[path]:
            changed.append(path)
        if path in made and not _same(data, made[path], path, content):
            differing.append(path)
    differing += [f"{path} (only here)" for path in sorted(here - made.keys())]
    differing += [
        f"{p} (not in the manifest)" for p in sorted(made.keys() - hashes.keys() - {MANIFEST})
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
        what,
    )


def lacking(folder: Path, said: Mapping[str, Any]) -> None:
    """Refuses a folder that lacks a profile of its manifest, or has one twice.

    Nothing can be made again from it.

    Args:
        folder: The folder.
        said: Its manifest.

    Raises:
        AnalyzerError: Where a profile lacks, is named twice, or lies outside of the folder.
    """
    if len(set(said["profiles"])) < len(said["profiles"]):
        raise AnalyzerError(f"the manifest of {folder} names a profile twice.")
    for path in said["profiles"]:
        if path not in said["sha256"] or not inside(folder, path).is_file():
            raise AnalyzerError(f"{folder} lacks the profile {path}, so it can't be made again.")


def inside(folder: Path, path: str) -> Path:
    """A path of a manifest in its folder.

    Raises:
        AnalyzerError: Where it leads outside.
    """
    if path.startswith("/") or ".." in Path(path).parts:
        raise AnalyzerError(f"the manifest of {folder} names {path!r}, which is not inside of it.")
    return folder / path


def priced_with(folder: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder was priced with, as :func:`analyzer.entries.collect` takes it.

    Files of constants are those in the folder.

    Raises:
        AnalyzerError: Where such a file lies outside of the folder, or a value is no text.
    """
    return {
        key: _own(folder, value) if isinstance(value, str) else value
        for key, value in typed(folder, said["priced"], _PRICED).items()
    }


def typed(
    folder: Path, values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]
) -> dict[str, Any]:
    """Values of a manifest, None for those that it does not tell.

    Args:
        folder: The folder.
        values: A part of its manifest.
        types: What each of the values may be, by key; others are left out.

    Raises:
        AnalyzerError: Where one is something else.
    """
    found = {key: values.get(key) for key in types}
    for key, value in found.items():
        if key not in values and NoneType not in types[key]:
            raise AnalyzerError(
                f"the manifest of {folder} does not tell its {key}: write the folder again."
            )
        if type(value) not in types[key]:
            raise AnalyzerError(f"the manifest of {folder} says {value!r} for its {key}.")
    return found


def unpacked(data: bytes) -> bytes:
    """What a compressed file holds.

    Raises:
        OSError: Where it is damaged, or holds more than any.
    """
    content = unzipped(data, MOST_UNPACKED + 1)
    if len(content) > MOST_UNPACKED:
        raise OSError("it holds more than any file of a report")
    return content


def _read(folder: Path, path: str) -> bytes:
    file = folder / path
    if file.stat().st_size > MOST_BYTES:
        raise AnalyzerError(f"{folder} is refused: its {path} is larger than any.")
    return file.read_bytes()


def _own(folder: Path, spec: str) -> str:
    name, _ = split(spec)
    return f"{inside(folder, name)}{spec[len(name) :]}" if name.endswith(".toml") else spec


def _same(one: bytes, other: bytes, path: str, content: Callable[[bytes, str], Any]) -> bool:
    return one == other or content(one, path) == content(other, path)
