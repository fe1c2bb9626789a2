"""Reads files without hanging or filling the memory, and writes them whole or not at all.

All profiles, tables, data files and weights of this package are read by :func:`read_limited` and
written by :func:`write_atomically`, and all logs grow by :func:`append_whole`, so that what holds
for one holds for all.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import select
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analyzer.errors import AnalyzerError, reason_of

__all__ = ["GZIP", "MIB", "append_whole", "claimed", "read_limited", "read_text",
           "refuse_unwritable", "refused", "sweep", "take_over", "unzipped", "write_atomically",
           ]  # fmt: skip

# There is none on Windows, where remains of killed programs stay.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

MIB = 2**20

WAIT_S = 10.0
"""Seconds that a pipe without anybody at its other end is waited for."""

GZIP = b"\x1f\x8b"
"""What every gzip file begins with."""

_FOREIGN = MappingProxyType(
    {
        b"\xfd7zXZ\x00": "xz",
        b"PK\x03\x04": "zip",
        b"BZh": "bzip2",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"7z\xbc\xaf\x27\x1c": "7z",
    }
)
"""What files begin with that are compressed in other ways."""

_LONGEST = 100
"""Bytes of a file's name in the name of the temporary file beside it; some names fill 255."""


def read_limited(path: str | Path, most: int, *, raised_by: str = "") -> bytes:
    """The content of a file, decompressed where it is gzip, whatever its name says.

    A pipe is read to its end, as shells make them for ``<(command)``.

    Args:
        path: The file.
        most: Bytes that it may hold at most, decompressed.
        raised_by: How a user raises that, in words; goes into the error.

    Raises:
        OSError: Where it can not be read, or a pipe brings nothing for :data:`WAIT_S` seconds.
        AnalyzerError: Where it holds more.
    """
    # A pipe without a writer would hang here for ever if it were opened to wait.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with io.FileIO(handle, "rb") as file:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(21, "it is a folder")
        content = _drained(file, most + 1, waits=not stat.S_ISREG(kind))
    if content.startswith(GZIP) and len(content) <= most:
        content = unzipped(content, most + 1)
    for begins, name in _FOREIGN.items():
        if content.startswith(begins):
            raise OSError(f"it is compressed as {name}: unpack it first")
    if len(content) > most:
        size = f"{most // MIB:,} MiB" if most >= MIB else f"{most:,} bytes"
        more = f"; {raised_by} raises the limit" if raised_by else ""
        raise AnalyzerError(f"{path} holds more than {size}, which is the limit{more}.")
    return content


def unzipped(content: bytes, most: int) -> bytes:
    """What gzip holds, or the first bytes of it.

    Args:
        content: The compressed bytes.
        most: How many bytes are unpacked at most; a few may stand for any number.

    Raises:
        OSError: Where it is damaged.
    """
    # Python skips zeros behind the end one by one; up to eight belong to the end itself.
    end = len(content.rstrip(b"\0")) + 8
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content[:end])) as stream:
            return stream.read(most)
    except (EOFError, zlib.error) as error:
        raise OSError(f"it is damaged gzip: {error}") from None


def read_text(path: str | Path, most: int) -> str:
    """The same as text in UTF-8, with or without a byte order mark.

    Raises:
        OSError: Where it can not be read.
        ValueError: Where it is no UTF-8.
        AnalyzerError: Where it holds more than ``most`` bytes.
    """
    return read_limited(path, most).decode("utf-8-sig")


@contextmanager
def refused(said: Callable[[object], str]) -> Iterator[None]:
    """In the block, what goes wrong as a file is read becomes a sentence.

    Raises:
        AnalyzerError: With that sentence.
    """
    try:
        yield
    except OSError as error:
        raise AnalyzerError(said(reason_of(error))) from None
    except (ValueError, RecursionError) as error:
        raise AnalyzerError(said(error)) from None


def _drained(file: io.RawIOBase, most: int, *, waits: bool) -> bytes:
    """What can be read of a file up to a number of bytes."""
    found, size = [], 0
    while size < most:
        if waits and not _is_ready(file):
            raise TimeoutError(110, f"nothing was written to it within {WAIT_S:g} seconds")
        part = file.read(min(MIB, most - size))
        if part is None:  # another reader was faster
            continue
        if not part:
            break
        found.append(part)
        size += len(part)
    return b"".join(found)


def _is_ready(file: io.RawIOBase) -> bool:
    """Whether a pipe or device has something to read, or its end, within :data:`WAIT_S` seconds."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(file.fileno(), select.POLLIN)
    return bool(poll.poll(WAIT_S * 1000))


def write_atomically(target: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never a part.

    A file that exists keeps its mode and its owner, and a new one gets what the umask leaves.
    A symbolic link stays and what it points to is written. A pipe or a device is written into.

    Args:
        target: The file; its folder is made if it is missing.
        content: All that it is to hold.

    Raises:
        AnalyzerError: Where it can not be written. A file that exists is as it was.
    """
    with _errors_of(target):
        found = _kind(target)
        if found is None or stat.S_ISREG(found.st_mode):
            _replaced(Path(os.path.realpath(target)), content, found)
        else:
            _poured(target, content)


def refuse_unwritable(target: Path) -> None:
    """Refuses a file that can not be written, before the work whose result it is to hold.

    Args:
        target: The file, of which nothing is written yet.

    Raises:
        AnalyzerError: As :func:`write_atomically`, as far as that can be told before.
    """
    with _errors_of(target):
        found = _kind(target)
        if found is not None and not stat.S_ISREG(found.st_mode):
            return
        _refuse_read_only(target, found)
        folder = next(p for p in Path(os.path.realpath(target)).parents if p.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, f"nothing can be written in {folder}")


@contextmanager
def _errors_of(target: Path) -> Iterator[None]:
    """Errors of the block as one sentence that names a file."""
    try:
        yield
    except (OSError, ValueError) as error:  # a name may hold what no system takes
        raise AnalyzerError(f"cannot write {target}: {reason_of(error)}.") from None


def append_whole(path: Path, content: bytes) -> None:
    """Adds to a file in one write, and takes back what a full disk cut off.

    Raises:
        AnalyzerError: Where it can not be written. The file is as it was.
    """
    try:
        with path.open("ab", buffering=0) as stream:
            before = stream.tell()
            if stream.write(content) != len(content):
                os.ftruncate(stream.fileno(), before)
                raise OSError(28, "No space left on device")
            os.fsync(stream.fileno())
    except OSError as error:
        raise AnalyzerError(f"cannot write {path}: {reason_of(error)}.") from None


def _kind(target: Path) -> os.stat_result | None:
    """What there is; a folder is refused."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "it is a folder; name a file in it")
    return found


def _refuse_read_only(target: Path, found: os.stat_result | None) -> None:
    if found is not None and not os.access(target, os.W_OK):
        raise PermissionError(13, "it is read-only")


def _replaced(target: Path, content: bytes, earlier: os.stat_result | None) -> None:
    """Writes beside a file and renames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _refuse_read_only(target, earlier)
    sweep(target.parent, _prefix(target), ".part", Path.unlink)
    with _temporary(target, 0o666 if earlier is None else 0o600) as (handle, temporary):
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
        if earlier is not None:
            take_over(handle, earlier)
        os.fsync(handle)
        os.replace(temporary, target)


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)[:_LONGEST]
    return f".{os.fsdecode(name)}."


@contextmanager
def _temporary(target: Path, mode: int) -> Iterator[tuple[int, Path]]:
    """A file beside another one, claimed and opened to write; removed unless it was renamed.

    Args:
        target: The other one.
        mode: Who may read it, of which the umask takes its part. What replaces a file may be as
            private as that is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        temporary = target.with_name(f"{_prefix(target)}{os.urandom(8).hex()}.part")
        handle = os.open(temporary, flags, mode)
        if claimed(handle) is not False and os.fstat(handle).st_nlink:
            break
        os.close(handle)  # another writer took it for a remain, before it was claimed
    try:
        yield handle, temporary
    finally:
        # not yet closed, so it is still claimed: nobody else removes what is now another's
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(handle)


def take_over(handle: int | Path, earlier: os.stat_result) -> None:
    """Gives a file or folder the mode of an earlier one, and its owner where that is allowed."""
    now = os.stat(handle)
    if (now.st_uid, now.st_gid) != (earlier.st_uid, earlier.st_gid) and hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(handle, earlier.st_uid, earlier.st_gid)
    os.chmod(handle, stat.S_IMODE(earlier.st_mode))


def _poured(target: Path, content: bytes) -> None:
    """Writes into a pipe or a device, which stays what it is."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            handle = os.open(target, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != 6 or not stat.S_ISFIFO(target.stat().st_mode):  # ENXIO: no reader
                raise
            if time.monotonic() > end:
                reason = f"nothing read from it within {WAIT_S:g} seconds"
                raise TimeoutError(110, reason) from None
            time.sleep(0.02)
    os.set_blocking(handle, True)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        view = memoryview(content)
        while view:
            view = view[stream.write(view) :]


def claimed(handle: int) -> bool | None:
    """Claims a file or folder for as long as this process has it open.

    Args:
        handle: As ``os.open`` returns it.

    Returns:
        Whether nobody else has; None where that can not be told, as on some network folders.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sweep(folder: Path, prefix: str, suffix: str, remove: Callable[[Path], object]) -> None:
    """Removes what killed programs left in a folder: temporary entries that nobody claims.

    Args:
        folder: Where they are.
        prefix: How their names begin.
        suffix: How their names end, behind 16 hexadecimal digits.
        remove: Called with the path of each.
    """
    named = re.compile(rf"{re.escape(prefix)}[0-9a-f]{{16}}{re.escape(suffix)}")
    with suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if named.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if claimed(handle):
                        remove(path)
                finally:
                    os.close(handle)
