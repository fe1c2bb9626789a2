"""The likely mistakes of a new user: each error says which axes, which sizes, and what to do."""

import numpy as np
import pytest

from .running import main_in_process, refused

NETS = """
from torch import nn
from analyzer.models.neurons import LIF

class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 10)
    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))

class Snn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lif, self.head = nn.Conv2d(3, 4, 3, padding=1), LIF(), nn.Linear(256, 10)
    def forward(self, x):
        y = self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.head(self.lif(y).flatten(2)).mean(0)
"""

SHAPES = {
    "ok": (6, 3, 8, 8),
    "grey": (6, 1, 8, 8),
    "large": (6, 3, 16, 16),
    "last": (6, 8, 8, 3),
    "time": (4, 6, 3, 8, 8),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    generator = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        x = generator.random(shape).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=generator.integers(0, 10, 6))
    np.savez(tmp_path / "unlabelled.npz", x=x[0])
    return tmp_path


TIMED = ("--timesteps", "4", "--layout")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["nets.py:Cnn", "--data", "grey.npz"],
            "conv (Conv2d) reads B C H W with C = 3 and got B C H W = 6, 1, 8, 8: give data of 3 "
            "channels, or build the model for 1",
        ),
        (
            ["nets.py:Cnn", "--data", "last.npz"],
            "got B C H W = 6, 8, 8, 3: channels come first, so move the last axis to axis 1",
        ),
        (
            ["nets.py:Cnn", "--data", "large.npz"],
            "head (Linear) reads D = 256 on its last axis and got D = 1024 in (6, 1024): the "
            "images or sequences may be of another size",
        ),
        (["nets.py:Cnn", "--input", "8,8"], "got 3 axes in (8, 8, 8): give samples of C H W"),
        (
            ["nets.py:Cnn", "--input", "8,3,8,8"],
            "got 5 axes in (8, 8, 3, 8, 8): a sample is C H W without the samples' axis",
        ),
        (["nets.py:Snn", "--data", "ok.npz"], "name it: --layout 'T B C H W' and --timesteps"),
        (
            ["nets.py:Snn", "--data", "time.npz"],
            "of shape (4, 6, 3, 8, 8) holds 4 samples on its first axis, but there are 6 labels: "
            "arrays hold the samples first, such as [B, T, C, H, W], and axis 1 has 6: move it, as "
            "by numpy.moveaxis(x, 1, 0)",
        ),
        (
            ["nets.py:Snn", "--data", "ok.npz", *TIMED, "B T C H W"],
            "--timesteps says T = 4, but nothing ran 4 times in batch 0: neuron 'lif' runs over 6 "
            "timesteps a pass; give --timesteps 6, or, where the axis of 6 is the samples, put T "
            "and B in the layout where the model reads them, such as --layout 'T B C H W'",
        ),
        (
            ["nets.py:Snn", "--data", "ok.npz", *TIMED, "T N C H W"],
            "for the model's input is not understood (it names no B, the samples). T is time, B "
            "samples, C or D channels, H and W or N positions",
        ),
        (
            ["nets.py:Snn", "--data", "ok.npz", *TIMED, "T B C C H"],
            "(it names an axis twice)",
        ),
        (
            ["nets.py:Snn", "--data", "ok.npz", *TIMED, "TBCHW"],
            "(unknown axis 'TBCHW'; put spaces between axes)",
        ),
        (
            ["nets.py:Snn", "--data", "ok.npz", *TIMED, "T B C H"],
            "does not fit samples of shape (3, 8, 8) at 4 timesteps: name B and each axis",
        ),
        (
            ["vit-tiny", "--data", "ok.npz"],
            "a sample of shape (3, 8, 8), which does not end in the input shape C, H, W = 1, 32, "
            "32 of the model: use data of that shape, or build the model for it by --input 3,8,8",
        ),
    ],
)
def test_errors_name_the_axes_and_what_to_do(words, says, place, capsys):
    assert says in refused(capsys, "profile", *words)


def test_counting_by_shapes_names_them_too(place, capsys):
    said = refused(capsys, "count", "nets.py:Cnn", "--input", "1,8,8")
    assert "reads B C H W with C = 3 and got B C H W = 1, 1, 8, 8: give data of 3 channels" in said


def test_a_profile_says_its_accuracy_or_that_there_are_no_labels(place, capsys):
    main_in_process(["profile", "nets.py:Cnn", "--data", "ok.npz", "-o", "p.json"])
    assert ", accuracy " in capsys.readouterr().err
    main_in_process(["profile", "nets.py:Cnn", "--data", "unlabelled.npz", "-o", "p.json"])
    assert ", no accuracy (the data hold no labels); saved" in capsys.readouterr().err
    main_in_process(["profile", "nets.py:Cnn", "--input", "3,8,8", "-o", "p.json"])
    assert "accuracy" not in capsys.readouterr().err
