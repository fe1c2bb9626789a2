"""Writes files so that no reader ever sees a part of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from analyzer.errors import AnalyzerError

__all__ = ["write_atomically"]


def write_atomically(target: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise AnalyzerError(f"cannot write {target}: {error}.") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise AnalyzerError(f"cannot write {target}: {error}.") from None
        raise
