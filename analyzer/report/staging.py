"""Folders that are filled beside another one and then take its place at once."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from analyzer.files import claimed, sweep, take_over
from analyzer.report.manifest import earlier, listed

__all__ = ["Unfit", "emptied", "exchange", "filled", "staging", "sweep_left"]

_MOST = 1000
"""Files of the user's in the folder of a report up to which it is exchanged as a whole."""

_LONGEST = 100
"""Bytes of a folder's name in the name of the temporary folder; some names fill 255."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""As linux/fcntl.h and linux/fs.h define them."""


class Unfit(Exception):  # noqa: N818 - it is no error, but a choice of the other way
    """A folder can not be exchanged as a whole."""


def _prefix(name: str) -> str:
    return f".report-{os.fsdecode(os.fsencode(name)[:_LONGEST])}-"


@contextmanager
def staging(base: Path, name: str) -> Iterator[Path]:
    """A temporary folder, claimed for as long as the block runs, and removed at its end.

    It is kept where files of the user's could not be moved out of it; :func:`sweep_left` tries
    again.
    """
    while True:
        folder = base / f"{_prefix(name)}{os.urandom(8).hex()}"
        folder.mkdir(mode=0o700)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another program took it for a remain, before it was claimed
        if claimed(handle) is not False and folder.exists():
            break
        os.close(handle)
    try:
        yield folder
    finally:
        if _marker(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep_left(output: Path, owned: frozenset[str]) -> frozenset[str]:
    """Removes the temporary folders of programs that were killed while they wrote a report.

    A file of the user's that is in one of them and no more in the folder is put back first.

    Returns:
        Files that are not the user's: a program put them into the folder one by one and was killed
        before the manifest that lists them.
    """
    placed: set[str] = set()

    def remove(folder: Path) -> None:
        new = folder / "new"
        if (folder / "old").exists():
            placed.update(name for name in earlier(new, "") if not (new / name).exists())
        elif output.is_dir():
            _given_back(folder, output, owned)
        shutil.rmtree(folder, ignore_errors=True)

    for base in (output.parent, output):
        if os.access(base, os.W_OK):
            sweep(base, _prefix(output.name), "", remove)
    return frozenset(placed)


def filled(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder of one's own."""
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)


def emptied(folders: Iterable[Path]) -> None:
    """Removes those of some folders that hold nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def exchange(files: Mapping[str, bytes], output: Path, owned: frozenset[str]) -> None:
    """Puts a new folder in the place of one that exists, with all files of the user's in it.

    Raises:
        Unfit: Where it must be done file by file. Nothing was changed.
    """
    theirs = _foreign(output, owned)
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise Unfit
    with staging(output.parent, output.name) as folder:
        new = folder / "new"
        new.mkdir()
        (folder / str(new.stat().st_ino)).touch()
        _as_before(new, output)
        for path in files:
            if "/" in path and not (new / path).parent.exists():
                (new / path).parent.mkdir()
                _as_before((new / path).parent, output / Path(path).parent)
        filled(new, files)
        for path in files:
            _as_before(new / path, output / path)
        for path in theirs:
            try:
                (new / path).parent.mkdir(exist_ok=True)
                os.link(output / path, new / path, follow_symlinks=False)
            except FileNotFoundError:
                continue  # the user just removed it
            except OSError:
                raise Unfit from None
        for path in {str(Path(path).parent) for path in theirs} - {"."}:
            _as_before(new / path, output / path)
        try:
            _exchanged(new, output)
        finally:
            _given_back(folder, output, owned)  # what was written there since is in the old folder


def _marker(folder: Path) -> Path | None:
    """What says that a temporary folder holds what was there before, and not what was to be.

    It is a file that bears the inode of what was to be. Where nothing is exchanged there is none.
    """
    with suppress(FileNotFoundError):
        inode = str((folder / "new").stat().st_ino)
        for entry in folder.iterdir():
            if entry.name.isdigit() and entry.name != inode:
                return entry
    return None


def _given_back(folder: Path, output: Path, owned: frozenset[str]) -> None:
    """Moves files of the user's out of a temporary folder, if it was exchanged."""
    marker = _marker(folder)
    if marker is not None:
        rescue(folder / "new", output, owned)
        marker.unlink()  # a part of what is left in it would not be known for a report's


def _as_before(new: Path, earlier: Path) -> None:
    with suppress(FileNotFoundError):
        take_over(new, earlier.stat())


def _foreign(output: Path, owned: frozenset[str]) -> list[str]:
    """Files of the user's in a folder, by path.

    Raises:
        Unfit: Where there is more than single files, or somebody is in the folder.
    """
    here = Path(os.path.realpath(os.curdir))
    if os.path.ismount(output) or here == output or output in here.parents:
        raise Unfit
    if _has_attributes(output):
        raise Unfit
    folders = {path.partition("/")[0] for path in owned if "/" in path}
    found: list[str] = []
    for entry in os.scandir(output):
        if not entry.is_dir(follow_symlinks=False):
            found.append(entry.name)
        elif entry.name not in folders or os.path.ismount(entry.path):
            raise Unfit
        else:
            for inner in os.scandir(entry.path):
                if inner.is_dir(follow_symlinks=False):
                    raise Unfit
                found.append(f"{entry.name}/{inner.name}")
    for path in found:
        kind = (output / path).lstat().st_mode
        if not stat.S_ISREG(kind) and (path in owned or path in folders):
            raise Unfit  # a symbolic link, which is written through
    theirs = [path for path in found if path not in owned]
    if len(theirs) > _MOST:
        raise Unfit
    return theirs


def _has_attributes(folder: Path) -> bool:
    """Whether a folder has attributes that a new one would lack.

    Those of security modules, as SELinux gives to all files, come by themselves.
    """
    try:
        return any(not name.startswith("security.") for name in os.listxattr(folder))
    except (AttributeError, OSError):  # neither all systems nor all file systems have any
        return False


def _exchanged(first: Path, second: Path) -> None:
    """Exchanges two folders in one step."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        raise Unfit from None
    names = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        raise Unfit


def rescue(old: Path, output: Path, owned: frozenset[str]) -> None:
    """Moves files of the user's out of an old folder, those that the new one does not hold.

    Args:
        old: What was the folder before, as far as it is still there.
        output: The folder now.
        owned: Paths that are not the user's; so are all that its manifest lists.

    Raises:
        OSError: The first, where some could not be moved; all others were.
    """
    owned |= listed(old)
    failed: list[OSError] = []
    for path in [p for p in old.rglob("*") if p.is_symlink() or not p.is_dir()]:
        name = path.relative_to(old).as_posix()
        target = output / name
        if name in owned:
            continue
        try:
            if not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            elif path.lstat().st_mtime_ns > target.lstat().st_mtime_ns:
                path.replace(target)  # an editor just replaced what is there now
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]
