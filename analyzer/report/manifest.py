"""Reads the manifest of a folder: its kind, how it was made, and the files that it lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import MIB, read_text

__all__ = ["MANIFEST", "REPORT", "earlier", "listed", "read_manifest"]

MANIFEST = "manifest.json"

_MOST_BYTES = 4 * MIB
"""What a manifest may hold; a report of a thousand models has one of half a MiB."""

REPORT = "analyzer.report"

_OURS = re.compile(r"(?:profiles|constants|cards)/[^/\\]+")
"""Files whose names depend on what was reported, and which an earlier manifest tells."""


def read_manifest(folder: Path, kind: str = REPORT) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        AnalyzerError: Where there is none, or it is none of that kind.
    """
    path = folder / MANIFEST
    what = kind.rpartition(".")[2]
    try:
        found = json.loads(read_text(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise AnalyzerError(
            f"{folder} holds no {what} to check: {path.name} can not be read ({reason_of(error)})."
        ) from None
    known = {"priced": dict, "drawn": dict, "profiles": list, "sha256": dict, "analyzer": str}
    if (
        not isinstance(found, dict)
        or (kind and found.get("kind") != kind)
        or any(not isinstance(found.get(key), of) for key, of in known.items())
        or not all(
            isinstance(text, str) for text in (*found["profiles"], *found["sha256"].values())
        )
    ):
        raise AnalyzerError(f"{path} is no manifest of {kind}.")
    return found


def earlier(folder: Path, kind: str = REPORT) -> frozenset[str]:
    """Files that an earlier report in a folder wrote under names of their own."""
    return frozenset(filter(_OURS.fullmatch, listed(folder, kind)))


def listed(folder: Path, kind: str = "") -> frozenset[str]:
    """Files that the manifest of a folder lists, and itself; none where there is no manifest."""
    try:
        return frozenset({MANIFEST, *read_manifest(folder, kind)["sha256"]})
    except AnalyzerError:
        return frozenset()
