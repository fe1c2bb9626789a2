"""What is in the folder of a report beside its page: profiles, a README, and a manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile
from analyzer.report.live.prices import called
from analyzer.specs import split
from analyzer.tabular import distinct
from analyzer.version import __version__

__all__ = ["MANIFEST", "constants", "copied", "earlier", "manifest", "profiles_of",
           "read_manifest", "stem_of"]  # fmt: skip

MANIFEST = "manifest.json"

_KIND = "analyzer.report"
_OURS = re.compile(r"(?:profiles|constants)/[^/\\]+")
"""Files whose names depend on what was reported, and which an earlier manifest tells."""


def profiles_of(
    profiles: Sequence[Profile], stems: Sequence[str] | None = None
) -> dict[str, bytes]:
    """The files of profiles by path in the folder, in their order.

    Args:
        profiles: The profiles.
        stems: What their files are called, without an ending; by default as they are.
    """
    names = list(stems) if stems else distinct([stem_of(p.name) or "profile" for p in profiles])
    return {
        f"profiles/{name.replace(' ', '-')}.json.gz": profile.to_bytes()
        for name, profile in zip(names, profiles, strict=True)
    }


def stem_of(name: str) -> str:
    """What the file of a profile is called, without its ending; empty where nothing is left."""
    return re.sub(r"[^\w.-]+", "-", name.replace("=", "")).strip("-.")


def copied(spec: str) -> str:
    """What a report was priced with, as the folder names it.

    Of a file of the user's that is its copy in ``constants/``, with the same brackets behind it;
    all other names stay.
    """
    return f"constants/{called(spec)}" if split(spec)[0].endswith(".toml") else spec


def constants(asked: Mapping[str, Any]) -> dict[str, bytes]:
    """Files of constants and rules of the user's, by path in the folder."""
    found: dict[str, bytes] = {}
    for spec in asked.values():
        file = Path(split(spec)[0]) if isinstance(spec, str) else Path()
        if file.suffix == ".toml":
            content = file.read_bytes()
            if found.setdefault(f"constants/{file.name}", content) != content:
                raise AnalyzerError(
                    f"two files are called {file.name!r}: give them names of their own, so "
                    "that the folder of the report can hold both."
                )
    return found


def manifest(
    files: Mapping[str, bytes],
    profiles: Sequence[str],
    asked: Mapping[str, Any],
    drawn: Mapping[str, Any],
) -> bytes:
    """How a report was made, and the hash of each of its files.

    Args:
        files: Contents of all other files by path.
        profiles: Paths of the profiles, in their order.
        asked: What it was priced with.
        drawn: Title, and how the figures were drawn.
    """
    priced = {
        key: copied(value) if isinstance(value, str) else value for key, value in asked.items()
    }
    found = {
        "kind": _KIND,
        "analyzer": __version__,
        "priced": priced,
        "drawn": dict(drawn),
        "profiles": list(profiles),
        "sha256": {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)},
    }
    return (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        AnalyzerError: Where there is none, or it is none of a report.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AnalyzerError(
            f"{folder} holds no report to check: {path.name} can not be read ({error})."
        ) from None
    known = {"priced": dict, "drawn": dict, "profiles": list, "sha256": dict, "analyzer": str}
    if not isinstance(found, dict) or found.get("kind") != _KIND or any(
        not isinstance(found.get(key), kind) for key, kind in known.items()
    ):  # fmt: skip
        raise AnalyzerError(f"{path} is no manifest of a report.")
    return found


def earlier(folder: Path) -> frozenset[str]:
    """Files that an earlier report in a folder wrote under names of their own."""
    try:
        return frozenset(filter(_OURS.fullmatch, read_manifest(folder)["sha256"]))
    except AnalyzerError:
        return frozenset()
