"""Fixtures for commands that run a model: a user's file of models, and a file of data."""

import textwrap

import numpy as np
import pytest


@pytest.fixture
def own_model(tmp_path):
    """A user's file with a factory, a class that needs arguments, and a value that is no model."""
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn
            import neighbour

            def small():
                return nn.Sequential(nn.Flatten(), nn.Linear(neighbour.WIDTH, 10))

            class NeedsWidth(nn.Module):
                def __init__(self, width):
                    super().__init__()

            class Sorts(nn.Module):
                def forward(self, x):
                    return torch.special.bessel_j0(x.flatten(1).cumsum(1))

            def sized(width, *, classes=10):
                return nn.Sequential(nn.Flatten(), nn.Linear(width, classes))

            class Raises(nn.Module):
                def forward(self, x):
                    raise ValueError("wrong shape of things")

            number = 3
            """
        )
    )
    (tmp_path / "neighbour.py").write_text("WIDTH = 16\n")
    return path


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    x = (generator.random((12, 1, 4, 4)) < 0.25).astype(np.float64)
    y = generator.integers(0, 10, 12)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path / "data.npz", x, y
