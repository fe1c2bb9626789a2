"""Imports of libraries beside packages that are installed but do not load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError
from typing import Any
from unittest import mock


@contextmanager
def without_broken_neighbours() -> Iterator[None]:
    """Hides packages that are installed but built for another PyTorch.

    transformers, diffusers and torchmetrics import torchvision and torchaudio wherever they are
    installed, though nothing here needs them.
    """
    hidden = []
    for name in ("torchvision", "torchaudio"):
        try:
            import_module(name)
        except (ImportError, OSError, RuntimeError):
            hidden.append(name)
            sys.modules[name] = None  # type: ignore[assignment]
    known = Distribution.from_name

    def from_name(name: str) -> Any:
        if name in hidden:
            raise PackageNotFoundError(name)
        return known(name)

    try:
        with mock.patch.object(Distribution, "from_name", from_name):
            yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
