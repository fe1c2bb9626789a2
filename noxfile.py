"""The versions that pyproject.toml promises, each in an environment of its own: ``make matrix``.

Every row measures the models of ``make demo`` in a fresh process, holds the counts against
``profiles/`` and verifies a network by independent counts. A row for PyTorch takes gigabytes where
the package index has no build for the CPU alone.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True
nox.options.reuse_existing_virtualenvs = False

TORCH = ("2.6.0", "2.7.1", "2.8.0", "2.9.1", "2.11.0", "2.13.0", "2.14.1", "newest")

# The oldest release of each dependency that the ranges admit.
LOWEST = (
    "numpy==1.26.0", "numba==0.60.0", "pandas==2.2.0", "einops==0.8.0",
    "fvcore==0.1.5.post20221221", "pillow==10.0.0", "rich==13.7.0", "safetensors==0.4.0",
    "scikit-learn==1.4.0", "scipy==1.11.1", "typer==0.16.0", "matplotlib==3.8.0",
    "seaborn==0.13.0", "jinja2==3.1.0",
)  # fmt: skip


def check(session: nox.Session) -> None:
    """Measures the models of the demo and compares them."""
    session.run("python", "tests/versions.py")


@nox.session(python="3.11")
@nox.parametrize("torch", TORCH)
def torch(session: nox.Session, torch: str) -> None:
    """A version of PyTorch, with the newest of all others that it admits."""
    session.install("torch" if torch == "newest" else f"torch=={torch}", "-e", ".[report]")
    check(session)


@nox.session(python=["3.11", "3.12", "3.13"])
def python(session: nox.Session) -> None:
    """A version of Python, with the PyTorch that development uses."""
    session.install("torch==2.13.0", "-e", ".[report]")
    check(session)


@nox.session(python="3.11")
@nox.parametrize("lowest", [*LOWEST, "all"])
def lowest(session: nox.Session, lowest: str) -> None:
    """One dependency, or all, at the lower end of its range."""
    pins = LOWEST if lowest == "all" else (lowest,)
    session.install("torch==2.13.0", *pins, "-e", ".[report]")
    check(session)
