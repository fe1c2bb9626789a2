"""Whether a folder or an archive of energy cards is what it says: ``analyzer card --check``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analyzer.cards.archive import refuse_large, unpack
from analyzer.cards.writing import ARCHIVE, KIND, contents
from analyzer.errors import AnalyzerError, reason_of
from analyzer.profiles import load
from analyzer.report.compared import (
    MOST_BYTES,
    Checked,
    compared,
    inside,
    lacking,
    priced_with,
    unpacked,
)
from analyzer.report.folder import stem_in
from analyzer.report.manifest import MANIFEST, read_manifest
from analyzer.specs import PRICED

__all__ = ["CheckedCards", "check"]

_MOST_LINES = 3
"""Lines of a card that are shown, of those that differ."""

_LARGEST_CONSTANTS = 2**20


@dataclass(frozen=True)
class CheckedCards:
    """What a check of cards found.

    Attributes:
        found: The files that lack, were changed or differ.
        lines: The first lines of cards that differ, as they are and as they should be.
        foreign: Files of an archive that its manifest does not tell.
    """

    found: Checked
    lines: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as the manifest and the profiles say."""
        return self.found.passed and not self.foreign

    @property
    def sentences(self) -> list[str]:
        """The result, a sentence each."""
        told = [*self.found.sentences, *self.lines]
        if self.foreign:
            told.append(f"Not in the manifest: {', '.join(self.foreign[:6])}.")
        return told


def check(path: Path) -> CheckedCards:
    """Compares cards with their manifest, computes them again, and compares them with that.

    Args:
        path: A folder that ``analyzer card`` wrote or that its archive was unpacked to, or the
            archive.

    Raises:
        AnalyzerError: Where it holds no cards, its profiles can not be priced, or an archive holds
            what it should not.
    """
    if path.is_dir():
        return _check(path, path)
    if not path.exists():
        raise AnalyzerError(f"there is no {path}: give a folder of energy cards or {ARCHIVE}.")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        members = unpack(path, folder)
        found = _check(folder, path)
        known = {MANIFEST, *read_manifest(folder, KIND)["sha256"]}
    return replace(found, foreign=tuple(sorted(set(members) - known)))


def _check(folder: Path, called: Path) -> CheckedCards:
    try:
        said = _manifest(folder)
        lacking(folder, said)
        files = _made_again(folder, said)
        found = replace(compared(folder, said, files, _content, "archive"), folder=called)
        return CheckedCards(found, tuple(_lines(folder, found, files)), ())
    except AnalyzerError as error:
        raise AnalyzerError(str(error).replace(str(folder), str(called))) from None
    except (ArithmeticError, RecursionError, ValueError, OSError) as error:
        raise AnalyzerError(f"{called} can't be computed again: {reason_of(error)}.") from None


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, which names nothing but files in it."""
    said = read_manifest(folder, KIND)
    files = {inside(folder, path) for path in said["sha256"]}
    if sum(file.stat().st_size for file in files if file.is_file()) > MOST_BYTES:
        raise AnalyzerError(f"{folder} is refused: it holds more than {MOST_BYTES // 2**20} MiB.")
    for path in (*said["sha256"], *said["profiles"]):
        if folder.resolve() not in inside(folder, path).resolve().parents:
            raise AnalyzerError(
                f"the manifest of {folder} names {path!r}, a link to outside of it."
            )
    for path in said["profiles"]:
        if not (path.startswith("profiles/") and path.endswith(".json.gz")) or path.count("/") > 1:
            raise AnalyzerError(f"the manifest of {folder} names {path!r}, which is no profile.")
    return said


def _made_again(folder: Path, said: dict[str, Any]) -> dict[str, bytes]:
    for path in said["profiles"]:
        refuse_large(folder / path, path)
    profiles = [load(folder / path) for path in said["profiles"]]
    held = [path for path in said["sha256"] if path.startswith("constants/")]
    for path in held:
        file = folder / path
        if file.is_file() and file.stat().st_size > _LARGEST_CONSTANTS:
            raise AnalyzerError(f"{folder} is refused: its {path} is larger than any.")
    own = {path: (folder / path).read_bytes() for path in held if (folder / path).is_file()}
    return contents(
        profiles,
        priced_with(folder, said),
        stems=[stem_in(path) for path in said["profiles"]],
        own=own,
        shown={key: said["priced"].get(key) for key in PRICED},
        version=said["analyzer"],
    )


def _content(data: bytes, path: str) -> Any:
    """What a file holds, however it was packed."""
    try:
        if path.endswith(".gz"):
            return unpacked(data)
    except OSError:
        pass
    return data


def _lines(folder: Path, found: Checked, made: dict[str, bytes]) -> list[str]:
    """The first lines that differ, of the cards in Markdown."""
    told: list[str] = []
    for path in found.differing:
        if not path.endswith(".md") or path not in made:
            continue
        here = (folder / path).read_bytes().decode("utf-8", "replace").splitlines()
        again = made[path].decode().splitlines()
        pairs = [
            (number, one, other)
            for number, (one, other) in enumerate(zip(here, again, strict=False), 1)
            if " ".join(one.split()) != " ".join(other.split())
        ]
        told += [
            f"{path}, line {number}: here {_short(one)}; computed again {_short(other)}."
            for number, one, other in pairs[:_MOST_LINES]
        ]
    return told[: 2 * _MOST_LINES]


def _short(line: str) -> str:
    text = " ".join(line.split())
    return repr(text if len(text) <= 160 else f"{text[:159]}…")
