"""The versions of PyTorch in which the private names are known to be."""

from __future__ import annotations

import torch

from analyzer.errors import AnalyzerError

__all__ = ["check_version"]

OLDEST = (2, 6)
"""The oldest PyTorch that is known to work."""


def check_version() -> None:
    """Refuses a PyTorch that lacks what can not be done without."""
    found = torch.__version__
    parts = found.split("+")[0].split(".")
    if tuple(int(part) for part in parts[:2] if part.isdigit()) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise AnalyzerError(
            f"PyTorch {found} is too old to profile with: install torch>={wanted}. Saved profiles "
            "can be read, priced and compared with any version."
        )
