"""Bytes as text in a file: compressed, and read no further than they should be long."""

from __future__ import annotations

import base64
import binascii
import zlib

__all__ = ["from_text", "to_text"]


def to_text(raw: bytes) -> str:
    """Bytes, compressed, as letters."""
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def from_text(text: str, length: int, what: str) -> bytes:
    """What :func:`to_text` was given, and one byte more where it is longer.

    Raises:
        ValueError: Where the text is none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
        return zlib.decompressobj().decompress(raw, max(length, 0) + 1)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"{what} can not be read ({error})") from None
