"""The version of the package: read by the build, by ``analyzer.__version__`` and by profiles."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
