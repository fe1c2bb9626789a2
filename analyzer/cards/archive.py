"""The archive of energy cards: a zip that is the same wherever it is made, and read with care."""

from __future__ import annotations

import gzip
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from analyzer.errors import AnalyzerError, reason_of
from analyzer.report.compared import MOST_BYTES, MOST_UNPACKED

__all__ = ["packed", "refuse_large", "unpack"]

MOST_MEMBERS = 4096
MOST_VALUES = 8 * 2**20
"""Values in the JSON of a profile; each takes some hundred bytes of memory when it is read."""
MOST_NEURONS = 2**27
"""Neurons that the layers of a profile may list."""

_END = struct.Struct("<4s4H2LH")
_END_64 = b"PK\x06\x07"
_END_64_BYTES = 20
_LARGEST_DIRECTORY = 2**20
_CHUNK = 2**20
_ENCRYPTED = 1


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip of some files: sorted, without times, and not compressed, as zlibs differ.

    Args:
        files: Contents by path.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            member = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, files[path])
    return buffer.getvalue()


def unpack(path: Path, folder: Path) -> list[str]:
    """Unpacks an archive into an empty folder.

    Nothing is written outside of it, and nothing before all names and sizes were looked at.

    Args:
        path: The archive.
        folder: Where to.

    Returns:
        The paths of its files, relative to the folder.

    Raises:
        AnalyzerError: Where it is no zip, or holds what an archive of cards does not: links, paths
            that lead outside, the same path twice, or more than :data:`.MOST_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            _refuse_directory(path, stream)
            with zipfile.ZipFile(stream) as archive:
                members = [m for m in archive.infolist() if not m.is_dir()]
                _refuse(path, archive.infolist())
                left = MOST_BYTES
                for member in members:
                    left -= _copied(archive, member, folder / member.filename, left)
                    if left < 0:
                        raise AnalyzerError(_too_large(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
            struct.error, UnicodeError, ValueError) as error:  # fmt: skip
        raise AnalyzerError(f"{path} is no archive of energy cards: {error}.") from None
    except OSError as error:
        raise AnalyzerError(f"{path} can not be read: {reason_of(error)}.") from None
    return [member.filename for member in members]


def _refuse_directory(path: Path, stream: IO[bytes]) -> None:
    """Refuses a file whose list of members is no short one at its end, before it is read."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - _END.size - _END_64_BYTES))
    tail = stream.read()
    end = tail[-_END.size :]
    if size < _END.size or end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        raise AnalyzerError(f"{path} is no archive of energy cards: it is no zip file.")
    entries, length = _END.unpack(end)[4:6]
    if (
        tail[: -_END.size].startswith(_END_64)
        or entries > MOST_MEMBERS
        or length > _LARGEST_DIRECTORY
    ):
        raise AnalyzerError(_too_many(path))
    stream.seek(0)


def _refuse(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:  # the end of the file may say fewer
        raise AnalyzerError(_too_many(path))
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        mode = member.external_attr >> 16
        kind = stat.S_IFMT(mode)
        why = ""
        if not parts or name.startswith("/") or ".." in parts or set(name) & set("\\:\0"):
            why = "which leads outside of it"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (
            kind == stat.S_IFDIR and not member.is_dir()
        ):
            why = "which is a link or no file"
        elif name in seen:
            why = "twice"
        elif member.flag_bits & _ENCRYPTED:
            why = "which is encrypted"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            why = "which is packed in a way that cards are not"
        if why:
            raise AnalyzerError(f"{path} is refused: it holds {name!r}, {why}.")
        seen.add(name)
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise AnalyzerError(_too_large(path))


def _too_many(path: Path) -> str:
    return f"{path} is no archive of energy cards: it lists more than {MOST_MEMBERS} files."


def _too_large(path: Path) -> str:
    return f"{path} is refused: it holds more than {MOST_BYTES // 2**20} MiB."


def _copied(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Writes a member, as long as it is no larger than that; returns its size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(member) as source, target.open("xb") as file:
        while size <= most and (chunk := source.read(_CHUNK)):
            size += len(chunk)
            file.write(chunk)
    return size


def refuse_large(path: Path, name: str) -> None:
    """Refuses a profile that would fill the memory when it is read.

    Args:
        path: Its file.
        name: What a message calls it.

    Raises:
        AnalyzerError: Where it holds more than any profile does.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(MOST_UNPACKED + 1)
        values = sum(content.count(mark) for mark in (b",", b"[", b"{"))
        if len(content) <= MOST_UNPACKED and values <= MOST_VALUES:
            if _neurons(json.loads(content)) <= MOST_NEURONS:
                return
            raise AnalyzerError(f"{name} is refused: it lists more neurons than a model has.")
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise AnalyzerError(
            f"{name} is no profile: it can not be read ({reason_of(error)})."
        ) from None
    raise AnalyzerError(f"{name} is refused: it holds more than any profile does.")


def _neurons(document: Any) -> int:
    """How many neurons the layers list, which a few bytes may stand for."""
    sent = document.get("sent") if isinstance(document, dict) else None
    texts = [s.get("silent") for s in sent if isinstance(s, dict)] if isinstance(sent, list) else []
    return sum(int(text.partition(" ")[0]) for text in texts if isinstance(text, str))
