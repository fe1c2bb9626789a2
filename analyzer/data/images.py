"""Files of images, as tensors of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyzer.errors import AnalyzerError, reason_of

__all__ = ["IMAGE_SUFFIXES", "check_image_shape", "image_shape", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of images."""
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""What such a file may hold. Pillow goes by content: it starts other programs for some formats,
such as Ghostscript for PostScript, whatever the file is called."""
_MOST_PIXELS = 89_478_485
"""Pixels of an image that is read, above which Pillow warns of files that fill the memory."""


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises an error unless images may be brought to a shape."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise AnalyzerError(
            f"images can not have shape {shape}: give one or three channels, such as 3,224,224."
        )


def image_shape(path: Path) -> tuple[int, ...]:
    """(C, H, W) of an image: three channels unless it is grey."""
    image_class, _ = _pillow()
    try:
        with image_class.open(path, formats=_FORMATS) as image:
            _refuse_large(path, image)
            channels = 1 if image.mode in ("1", "L", "LA") else 3
            return channels, image.height, image.width
    except (OSError, SyntaxError, ValueError, image_class.DecompressionBombError) as error:
        raise AnalyzerError(f"cannot read image {path}: {reason_of(error)}.") from None


def read_image(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Reads an image as float32 ``[C, H, W]`` in [0, 1], resized, and cropped around its middle."""
    Image, ImageOps = _pillow()
    channels, height, width = shape
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _refuse_large(path, image)
            if image.mode.startswith(("I", "F")):
                raise AnalyzerError(
                    f"image {path} holds {image.mode} values: save it with 8 bits a channel."
                )
            plain = image.convert("RGB" if channels == 3 else "L")
        fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AnalyzerError(f"cannot read image {path}: {reason_of(error)}.") from None
    values = torch.from_numpy(np.asarray(fitted, dtype=np.float32) / 255)
    return values.reshape(height, width, channels).permute(2, 0, 1).contiguous()


def _refuse_large(path: Path, image: Any) -> None:
    """Refuses an image by its header, before any pixel is decoded."""
    if image.width * image.height > _MOST_PIXELS:
        raise AnalyzerError(
            f"image {path} has {image.width:,} x {image.height:,} pixels, and {_MOST_PIXELS:,} are "
            "read at most: make it smaller."
        )


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise AnalyzerError("reading images needs Pillow: pip install pillow.") from None
    return Image, ImageOps
