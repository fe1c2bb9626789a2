"""A file or module without the name of a model: what could be meant is listed, nothing runs."""

import pytest

from .running import refused

NETS = """
import pathlib
import torch
from torch import nn
from torch.nn import Linear
from torch.utils.data import Dataset

class Cnn(nn.Module):
    def __init__(self):
        pathlib.Path("called").touch()
        super().__init__()

class Wide(Cnn):
    def __init__(self, width, depth=2):
        super().__init__()

class Images(Dataset):
    pass

def build(classes: int = 10) -> nn.Module:
    pathlib.Path("called").touch()
    return Linear(4, classes)

def loss(x: torch.Tensor) -> torch.Tensor:
    return x.sum()

def forward(model, batch):
    return model(batch)

def _hidden():
    return Linear(1, 1)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "one.py").write_text("from torch import nn\nclass One(nn.Linear):\n    pass\n")
    (tmp_path / "none.py").write_text("x = 3\n")
    (tmp_path / "weights.pth").write_bytes(b"")
    return tmp_path


def commands(command, place):
    return [
        f"  analyzer {command} {place}:Cnn",
        f"  analyzer {command} '{place}:Wide(width=...)'",
        f"  analyzer {command} {place}:build",
    ]


@pytest.mark.parametrize("command", ["profile", "verify", "count"])
@pytest.mark.parametrize("place", ["nets.py", "nets", "./nets.py"])
def test_classes_and_functions_are_listed_as_commands(command, place, nets, capsys):
    lead, *listed = refused(capsys, command, place).splitlines()
    assert lead == f"error: {place} defines several models; name one:"
    assert listed == commands(command, place)
    assert not (nets / "called").exists()


def test_of_several_the_one_that_needs_nothing_is_said(nets, capsys):
    text = NETS.replace("def __init__(self):", "def __init__(self, size):").replace("= 10", "")
    (nets / "fewer.py").write_text(text + "\ndef small():\n    return Linear(2, 2)\n")
    said = refused(capsys, "profile", "fewer.py")
    assert "several models, of which small needs no arguments; name one:\n" in said


def test_a_wrong_name_lists_the_nearest_ones(nets, capsys):
    said = refused(capsys, "profile", "nets.py:cnn")
    assert said == "error: nets.py has no 'cnn'; did you mean:\n  analyzer profile nets.py:Cnn\n"
    lead, *listed = refused(capsys, "verify", "nets:qqq").splitlines()
    assert lead == "error: nets has no 'qqq'; it defines:"
    assert listed == commands("verify", "nets")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("one.py", "one.py defines one model; name it:\n  analyzer profile 'one.py:One("),
        ("none.py", "none.py defines no model"),
        ("missing.py", "there is no file missing.py"),
        ("weights.pth", "is no model but a file: name the model, and give its weights by --check"),
        ("no-such-thing-at-all", "give a name from `analyzer models`, package.module:factory or"),
        ("vit-tinny", "did you mean 'vit-tiny'"),
    ],
)
def test_what_is_no_model(given, says, nets, capsys):
    assert says in refused(capsys, "profile", given)
