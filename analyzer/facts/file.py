"""The file of a profile: JSON, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.facts.codec import decoded, encoded
from analyzer.files import write_atomically

__all__ = ["SCHEMA", "read", "write"]

KIND = "analyzer.profile"

SCHEMA = 1
"""Version of the file format; a file of another version is refused."""


def write(parts: Mapping[str, Any], path: str | Path) -> Path:
    """Writes the parts of a profile, whole or not at all."""
    target = Path(path)
    document = {"schema": SCHEMA, "kind": KIND} | encoded(parts)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(target, text.encode())
    return target


def read(path: str | Path) -> dict[str, Any]:
    """The parts of a profile from a file that :func:`write` wrote.

    Raises:
        AnalyzerError: Where there is no such file, it is of another kind or version, or a value in
            it can not be.
    """
    source = Path(path)
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalyzerError(f"no profile at {source}: make it with `analyzer profile`.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise AnalyzerError(
            f"{source} is not a profile: it is no readable JSON ({error})."
        ) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise AnalyzerError(f"{source} is JSON but no profile: it lacks kind {KIND!r}.")
    if document.get("schema") != SCHEMA:
        raise AnalyzerError(
            f"{source} has profile schema {document.get('schema')!r}, this version reads {SCHEMA}: "
            "measure again, or use the version that wrote it."
        )
    try:
        return decoded(document)
    except (ValueError, OverflowError) as error:
        raise AnalyzerError(f"{source} is damaged: {error}.") from None
