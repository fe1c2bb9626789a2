"""The file of a profile: JSON, compressed where its name ends in ``.gz``."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from analyzer.errors import AnalyzerError, reason_of
from analyzer.facts.codec import decoded, encoded
from analyzer.files import GZIP, MIB, read_limited, write_atomically

__all__ = ["READ", "SCHEMA", "read", "read_metadata", "to_bytes", "write"]

KIND = "analyzer.profile"

SCHEMA = 2
"""Version of the file format that is written."""

READ = (1, 2)
"""Versions that are read; a file of another is refused. 1 says nothing of what layers sent."""

LARGEST_MIB = 64
"""What is read at most, decompressed: a small file may otherwise fill the memory. The largest
profiles of the networks of this package are of one MiB."""

_HEAD_BYTES = 2**16
"""How much of a file :func:`read_metadata` reads first: metadata come before all that is long."""

_HEAD = re.compile(
    rb'\{\s*"schema":\s*\d+,\s*"kind":\s*"analyzer\.profile",\s*"samples":\s*\d+,'
    rb'\s*"metadata":\s*'
)
"""How a file begins that :func:`write` wrote."""

LIMIT = "ANALYZER_LARGEST_PROFILE_MIB"
"""The environment variable that raises it."""


def write(parts: Mapping[str, Any], path: str | Path) -> Path:
    """Writes the parts of a profile, whole or not at all.

    The same profile gives the same bytes, also where the name ends in ``.gz`` and they are
    compressed. What is compressed has no line breaks: with them, Python writes JSON ten times as
    slowly.
    """
    target = Path(path)
    write_atomically(target, to_bytes(parts, packed=target.suffix == ".gz"))
    return target


def to_bytes(parts: Mapping[str, Any], *, packed: bool) -> bytes:
    """What :func:`write` writes for the parts of a profile, compressed where ``packed``.

    Raises:
        AnalyzerError: Where a number is larger than a file may hold.
    """
    try:
        document = {"schema": SCHEMA, "kind": KIND} | encoded(parts)
    except ValueError as error:
        raise AnalyzerError(
            f"the profile {parts['metadata'].get('name')!r} can not be written, as its file could "
            f"not be read: {error}; measure it on fewer samples, or change what is named."
        ) from None
    text = json.dumps(document, indent=None if packed else 1, allow_nan=False)
    plain = f"{text}\n".encode()
    return _compressed(plain) if packed else plain


def read(path: str | Path) -> dict[str, Any]:
    """The parts of a profile from a file that :func:`write` wrote, under whatever name.

    Raises:
        AnalyzerError: Where there is no such file, it is of another kind or version, it is larger
            than :data:`LARGEST_MIB`, or a value in it can not be.
    """
    source = Path(path)
    try:
        content = read_limited(source, _largest_bytes(), raised_by=f"{LIMIT}=MIB")
        document = json.loads(content, object_pairs_hook=_unique)
    except FileNotFoundError:
        raise AnalyzerError(f"no profile at {source}: make it with `analyzer profile`.") from None
    except OSError as error:
        raise AnalyzerError(
            f"{source} is not a profile: it can not be read ({reason_of(error)})."
        ) from None
    except (ValueError, RecursionError) as error:
        raise AnalyzerError(
            f"{source} is not a profile: it is no readable JSON ({error})."
        ) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise AnalyzerError(f"{source} is JSON but no profile: it lacks kind {KIND!r}.")
    if document.get("schema") not in READ:
        raise AnalyzerError(
            f"{source} has profile schema {shortened(document.get('schema'))}, this version reads "
            f"{' and '.join(map(str, READ))}: measure again, or use the version that wrote it."
        )
    try:
        return decoded(document)
    except (ValueError, OverflowError, RecursionError) as error:
        raise AnalyzerError(f"{source} is damaged: {error}.") from None


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a profile, of whose file no more is read than its beginning.

    Raises:
        AnalyzerError: As :func:`read`.
    """
    source = Path(path)
    try:
        if not source.is_file():  # a pipe would wait for ever
            raise OSError
        with source.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
        if head.startswith(GZIP):
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
        begins = _HEAD.match(head)
        if begins is not None:
            text = head[begins.end() :].decode("utf-8", errors="ignore")
            found, _ = json.JSONDecoder().raw_decode(text)
            if isinstance(found, dict):
                return found
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        pass  # what is wrong with it is said where it is read in full
    metadata: dict[str, Any] = read(source)["metadata"]
    return metadata


def _largest_bytes() -> int:
    given = os.environ.get(LIMIT, "")
    if given and not (given.isdecimal() and given.isascii() and 0 < int(given[:9]) < 10**6):
        raise AnalyzerError(f"{LIMIT} is {given!r}: set it to a whole number of MiB from 1.")
    return MIB * int(given or LARGEST_MIB)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; with a key that is there twice it would depend on the reader."""
    found = dict(pairs)
    if len(found) < len(pairs):
        number = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {shortened(number.most_common(1)[0][0])} is there twice")
    return found


def _compressed(content: bytes) -> bytes:
    """As gzip, without the time and the name that would make equal profiles differ."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()
