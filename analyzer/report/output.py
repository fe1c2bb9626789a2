"""Writes the files of a report into a folder, all of them or none.

Every report and study ends with :func:`place`. It writes into a temporary folder first and then
renames, so that an error leaves an earlier report as it was; files of the user's are kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from analyzer.errors import AnalyzerError

__all__ = ["place"]


def place(files: Mapping[str, bytes], output: Path, owned: frozenset[str]) -> None:
    """Writes files into a folder, all or none, and removes those of an earlier report.

    Args:
        files: Contents by path relative to the folder, at most one folder deep.
        output: The folder; made if it is missing.
        owned: Every relative path that this report may ever write. Other files are kept.

    Raises:
        AnalyzerError: If the folder can't be written, or a file or folder is in the way.
    """
    try:
        _place(files, output.resolve(), owned)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AnalyzerError(
            f"cannot write the report to {output}: {reason}; choose another folder."
        ) from None


def _place(files: Mapping[str, bytes], output: Path, owned: frozenset[str]) -> None:
    if output.exists():
        _refuse_obstacles(files, output)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
    # Inside the folder if it exists, else beside it: renaming works within one file system only.
    base = output if output.exists() else output.parent
    staging = Path(tempfile.mkdtemp(dir=base, prefix=".report-"))
    try:
        new = staging / "new"
        new.mkdir()
        for path, content in files.items():
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_bytes(content)
        if base == output:
            _swap(new, output, staging / "old", owned)
        else:
            new.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_obstacles(files: Mapping[str, bytes], output: Path) -> None:
    if not output.is_dir():
        raise AnalyzerError(f"cannot write the report to {output}: a file is in the way.")
    for path in sorted({Path(path).parts[0] for path in files}):
        target = output / path
        is_folder = any(Path(file).parts[0] == path != file for file in files)
        if target.exists() and target.is_dir() != is_folder:
            kind = "file" if is_folder else "folder"
            raise AnalyzerError(f"cannot write the report: the {kind} {target} is in the way.")


def _swap(new: Path, output: Path, old: Path, owned: frozenset[str]) -> None:
    """Replaces old outputs by new ones; if that fails, all old ones are put back."""
    old.mkdir()
    done: list[str] = []
    try:
        for entry in sorted(new.iterdir()):
            target = output / entry.name
            if entry.is_dir() and target.is_dir():
                _keep_foreign(target, entry, owned)
            if target.exists() or target.is_symlink():
                target.rename(old / entry.name)
            done.append(entry.name)
            entry.rename(target)
        # Of folders that nothing is written into any more.
        for path in owned:
            if Path(path).parts[0] not in done and (output / path).is_file():
                (output / path).unlink()
    except BaseException:
        for name in done:
            target = output / name
            if target.exists():
                target.rename(new / name)
            if (old / name).exists() or (old / name).is_symlink():
                (old / name).rename(target)
        raise


def _keep_foreign(before: Path, after: Path, owned: frozenset[str]) -> None:
    """Copies files that are not the report's from a folder into the one that replaces it."""
    for item in before.iterdir():
        if f"{before.name}/{item.name}" in owned or (after / item.name).exists():
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.copytree(item, after / item.name, symlinks=True)
        else:
            shutil.copy2(item, after / item.name, follow_symlinks=False)
