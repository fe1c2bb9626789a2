"""What is in the folder of a report beside its page: profiles, a README, and a manifest."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile
from analyzer.report.live.prices import called
from analyzer.report.manifest import REPORT
from analyzer.specs import split
from analyzer.tabular import distinct
from analyzer.version import __version__

__all__ = ["argument", "arguments", "constants", "copied", "manifest", "options_of",
           "profiles_of", "stem_in", "stem_of"]  # fmt: skip


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


def stem_in(path: str) -> str:
    """What the file of a profile at a path of :func:`profiles_of` is called, without its ending."""
    return Path(path).name.removesuffix(".json.gz")


def copied(spec: str) -> str:
    """What a report was priced with, as the folder names it.

    Of a file of the user's that is its copy in ``constants/``, with the same brackets behind it;
    all other names stay.
    """
    return f"constants/{called(spec)}" if split(spec)[0].endswith(".toml") else spec


def argument(value: Any) -> str:
    """A value as a shell takes it; of a file of the user's its copy in the folder."""
    return shlex.quote(copied(str(value)))


def arguments(paths: Sequence[str]) -> str:
    """The profiles of a folder as a shell takes them; of many a pattern."""
    return " ".join(map(argument, paths)) if len(paths) <= 6 else "profiles/*.json.gz"


def options_of(asked: Mapping[str, Any]) -> str:
    """What a folder was priced with as options of a command, those of no default alone."""
    usual = {"technology": "45nm", "convention": "exact", "precision": "fp32", "memory": None}
    return "".join(
        f" --{key} {argument(value)}" for key, value in asked.items() if value != usual[key]
    )


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
    kind: str = REPORT,
) -> bytes:
    """How a report was made, and the hash of each of its files."""
    priced = {
        key: copied(value) if isinstance(value, str) else value for key, value in asked.items()
    }
    found = {
        "kind": kind,
        "analyzer": __version__,
        "priced": priced,
        "drawn": dict(drawn),
        "profiles": list(profiles),
        "sha256": {path: hashlib.sha256(files[path]).hexdigest() for path in sorted(files)},
    }
    return (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode()
