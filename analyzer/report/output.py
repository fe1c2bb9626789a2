"""Writes the files of a report into a folder, all of them or none.

Every report and study ends with :func:`place`. It writes into a temporary folder first. Where the
folder holds nothing but a report and single files of the user's, one system call then exchanges
the two folders, so that a program that is killed leaves the old report or the new one and never a
part of each. Where that can not be, files are replaced one by one, and an error brings the old
ones back.
Files of the user's stay in both cases.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from analyzer.errors import AnalyzerError, reason_of
from analyzer.files import take_over, write_atomically
from analyzer.report.staging import Unfit, emptied, exchange, filled, staging, sweep_left

__all__ = ["place"]


def place(files: Mapping[str, bytes], output: Path, owned: frozenset[str]) -> None:
    """Writes files into a folder, all or none, and removes those of an earlier report.

    Args:
        files: Contents by path relative to the folder, at most one folder deep.
        output: The folder; made if it is missing.
        owned: Every relative path that this report may ever write. Other files are kept.

    Raises:
        AnalyzerError: If the folder can't be written, a file or folder is in the way, or a path
            leads out of the folder.
    """
    owned = owned.union(files)
    for path in sorted(owned):
        _refuse_leading_out(path)
    try:
        _place(files, output.resolve(), owned)
    except OSError as error:
        raise AnalyzerError(
            f"cannot write to {output}: {reason_of(error)}; choose another folder."
        ) from None


def _refuse_leading_out(path: str) -> None:
    parts = PurePosixPath(path).parts
    if (
        not 1 <= len(parts) <= 2
        or "\\" in path
        or "\0" in path
        or path != "/".join(parts)
        or ".." in parts
        or parts[0] == "/"
    ):
        raise AnalyzerError(
            f"cannot write {path!r}: a report writes into its own folder alone; give what it shows "
            "a name that is no path."
        )


def _place(files: Mapping[str, bytes], output: Path, owned: frozenset[str]) -> None:
    if os.path.lexists(output):
        _refuse_obstacles(files, output)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
    owned |= sweep_left(output, owned)
    if not output.exists():
        with staging(output.parent, output.name) as folder:
            new = folder / "new"
            new.mkdir()
            filled(new, files)
            try:
                new.rename(output)
                return
            except OSError:
                if not output.exists():
                    raise
    # Another program may have made the folder just now; then it is replaced as any other.
    try:
        exchange(files, output, owned)
    except Unfit:
        with staging(output, output.name) as folder:
            _one_by_one(files, output, owned, folder)


def _refuse_obstacles(files: Mapping[str, bytes], output: Path) -> None:
    if not output.is_dir():
        raise AnalyzerError(f"cannot write to {output}: a file is in the way.")
    if not os.access(output, os.W_OK | os.X_OK):
        raise PermissionError(13, "the folder is read-only")
    for path in sorted({part for file in files for part in (PurePosixPath(file).parts[0], file)}):
        target = output / path
        is_folder = any(file.startswith(f"{path}/") for file in files)
        try:
            kind = target.stat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(kind) != is_folder or not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            word = "pipe or device"
            if stat.S_ISDIR(kind) or stat.S_ISREG(kind):
                word = "folder" if stat.S_ISDIR(kind) else "file"
            raise AnalyzerError(f"cannot write: the {word} {target} is in the way.")
        if not os.access(target, os.W_OK):
            raise PermissionError(13, f"{path} is read-only")


def _one_by_one(
    files: Mapping[str, bytes], output: Path, owned: frozenset[str], folder: Path
) -> None:
    """Replaces file by file; if that fails, all old ones are put back.

    What is no more goes first, and the manifest comes behind what it lists. So of a program that is
    killed either the earlier manifest or that of the new files tells what is here.
    """
    new, old = folder / "new", folder / "old"
    new.mkdir()
    old.mkdir()
    filled(new, files)
    replaced: list[tuple[Path, Path | None]] = []
    made: list[Path] = []
    try:
        for path in sorted(owned - files.keys()):
            target = output / path
            if target.is_file() or target.is_symlink():
                before = _place_for(path, old)
                replaced.append((target, before))
                target.rename(before)
        for path in files:
            target = Path(os.path.realpath(output / path))
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True)
                made.append(target.parent)
            kept = _kept(target, _place_for(path, old))
            replaced.append((target, kept))
            if kept is not None:
                take_over(new / path, target.stat())
            _moved(new / path, target)
    except BaseException as error:
        back = [_is_back(target, before) for target, before in reversed(replaced)]
        emptied(made)
        if not all(back):
            left = output / f"earlier-{folder.name[-16:]}"
            shutil.move(old, left)
            reason = reason_of(error) or "it was interrupted"
            raise AnalyzerError(
                f"cannot write to {output}: {reason}; earlier files that could not be "
                f"put back are in {left}, move them back."
            ) from None
        raise
    emptied({(output / path).parent for path in owned} - {output})


def _place_for(path: str, old: Path) -> Path:
    (old / path).parent.mkdir(exist_ok=True)
    return old / path


def _is_back(target: Path, before: Path | None) -> bool:
    """Puts an old file back, and says whether that could be done.

    What an interrupt (Ctrl-C) ends in its midst is done once more, as it may be twice.
    """
    for _ in range(2):
        try:
            if before is None:
                target.unlink(missing_ok=True)
            elif os.path.lexists(before):
                _moved(before, target)
                before.unlink(missing_ok=True)  # if it was another name of the same file
            return True
        except (OSError, AnalyzerError):
            return False
        except BaseException:
            continue
    return False


def _kept(target: Path, copy: Path) -> Path | None:
    """A second name of a file, or a copy where the file system has none; None without a file."""
    if not target.exists():
        return None
    try:
        os.link(target, copy)
    except OSError:
        copy.write_bytes(target.read_bytes())
        take_over(copy, target.stat())
    return copy


def _moved(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != 18:  # EXDEV: a symbolic link leads to another file system
            raise
        write_atomically(target, source.read_bytes())
