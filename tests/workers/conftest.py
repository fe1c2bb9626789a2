"""A small spiking model in a file, and data whose number no batch size divides."""

import numpy as np
import pytest

MODEL = '''
import os, signal, time
import torch
from torch import nn
from analyzer.models.neurons import LIF


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.lif, self.head = nn.Linear(6, 5), LIF(), nn.Linear(5, 2)
        self.first.weight.data *= 8

    def forward(self, x):
        return self.head(self.lif(self.first(x.expand(4, *x.shape)))).mean(0)


class Bessel(Net):
    """In the last batch, which is the smallest, it does what no rule covers."""

    def forward(self, x):
        return super().forward(x if len(x) == 32 else torch.special.bessel_j0(x))


class Ends(Net):
    """In worker 1 it ends after a few batches, and elsewhere it is slow: see HOW."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 4 and os.environ.get("RANK") == os.environ.get("WHO", "1"):
            if os.environ["HOW"] == "raise":
                raise RuntimeError("out of luck")
            os.kill(os.getpid(), getattr(signal, os.environ["HOW"]))
        if self.calls > 4:
            time.sleep(0.2)
        return super().forward(x)
'''


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    (folder / "net.py").write_text(MODEL)
    draws = np.random.default_rng(0)
    spikes = (draws.random((1003, 6)) < 0.3).astype(np.float32)
    np.savez(folder / "data.npz", x=spikes, y=draws.integers(0, 2, 1003))
    return folder
