"""Checkpoint files: how they may be nested, what does not fit, and how little memory they take."""

import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint, read_checkpoint


def two_layers():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt", "bin", "old"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state},
        lambda state: {"net": {"model": state}},
        lambda state: {"ema": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    ],
)
def test_a_checkpoint_is_found_however_it_is_wrapped(tmp_path, kind, wrap):
    torch.manual_seed(1)
    source, target = two_layers(), two_layers()
    state = wrap(source.state_dict())
    path = tmp_path / f"w.{'pth' if kind == 'old' else kind}"
    if kind == "safetensors":
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            pytest.skip("safetensors holds tensors alone")
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind != "old")
    load_checkpoint(target, path)
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_all_that_does_not_fit_is_listed(tmp_path):
    path = tmp_path / "w.pth"
    state = {"0.weight": torch.zeros(4, 3), "1.weight": torch.zeros(2, 5), "head": torch.zeros(1)}
    torch.save(state, path)
    with pytest.raises(AnalyzerError) as refusal:
        load_checkpoint(two_layers(), path)
    assert str(refusal.value) == (
        f"{path} does not fit Sequential: missing 0.bias, 1.bias; unexpected head; "
        "of another shape 1.weight (2×5 in the file, 2×4 in the model)."
    )


def test_weights_that_share_memory_may_be_stored_once(tmp_path):
    model = two_layers()
    model[1].weight = model[0].weight
    state = model.state_dict()
    del state["1.weight"]
    state = {key: torch.ones_like(value) for key, value in state.items()}
    torch.save(state, tmp_path / "w.pth")
    load_checkpoint(model, tmp_path / "w.pth")
    assert model[1].weight.eq(1).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.pth", None, "there is no checkpoint"),
        ("w.pth", b"not a pickle", "is no checkpoint of plain tensors"),
        ("w.safetensors", b"short", "is no readable safetensors file"),
        ("list.pth", [1, 2], "holds list, not a state dict"),
        ("other.pth", {"epoch": 3, "weights": [1]}, "no tensor under its keys epoch, weights"),
        ("code.pth", nn.Linear(2, 2), "is no checkpoint of plain tensors"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, content, says):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(AnalyzerError) as refusal:
        read_checkpoint(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_loading_needs_little_more_memory_than_the_model(tmp_path, suffix):
    """The file is mapped: a process that loads 128 MB grows by the model, not by the file too."""
    state = {"weight": torch.ones(8, 4 * 2**20)}
    path = tmp_path / f"w.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from torch import nn\n"
        "from analyzer.models.checkpoints import load_checkpoint\n"
        "def private():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(text.split('RssAnon:')[1].split()[0]) * 1024\n"
        "model = nn.Linear(4 * 2**20, 8, bias=False)\n"
        "before = private()\n"
        "import analyzer.models.checkpoints as c\n"
        "kept = c.read_checkpoint(sys.argv[1])\n"
        "load_checkpoint(model, sys.argv[1])\n"
        "assert model.weight.min() == 1\n"
        "print(private() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 2**20


def cyclic():
    state = {"x": torch.ones(1)}
    state["model"] = state
    return state


WEIGHTS = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
ODD = {
    "a list": ([1, 2], "holds list, not a state dict"),
    "a tensor": (torch.ones(3), "holds Tensor, not a state dict"),
    "nothing": (None, "holds NoneType, not a state dict"),
    "numbers as keys": ({1: torch.ones(2)}, "1 among its keys is no text"),
    "some numbers as keys": (WEIGHTS | {1: torch.ones(2), (2, 3): 4}, r"are no text"),
    "itself": (cyclic(), "missing weight, bias; unexpected x, model"),
    "a list below": ({"state_dict": [1]}, "no tensor under its keys state_dict"),
    "a whole model": (nn.Linear(3, 2), "Python objects, such as a whole model"),
    "another shape": (WEIGHTS | {"weight": torch.ones(6)}, "weight .6 in the file, 2×3 in"),
    "no tensor": (WEIGHTS | {"weight": "a"}, "weight .no tensor in the file, 2×3 in"),
    "complex": (WEIGHTS | {"weight": torch.ones(2, 3) * 1j}, "of complex numbers.* weight"),
    "sparse": (WEIGHTS | {"weight": torch.ones(2, 3).to_sparse()}, "does not fit Linear"),
    "meta": (WEIGHTS | {"weight": torch.ones(2, 3, device="meta")}, "does not fit Linear"),
    "missing": ({"weight": torch.ones(2, 3)}, "missing bias"),
    "unexpected": (WEIGHTS | {"more": torch.ones(1)}, "unexpected more"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_checkpoint_is_said_in_a_sentence(tmp_path, what):
    content, says = ODD[what]
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(AnalyzerError, match=says):
        load_checkpoint(nn.Linear(3, 2), tmp_path / "file.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_refusal_says_how_to_run_the_code_of_a_file(tmp_path):
    torch.save(nn.Linear(3, 2), tmp_path / "model.pt")
    torch.jit.script(nn.Linear(3, 2)).save(tmp_path / "script.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for name, content in (
        ("pickle.pt", pickle.dumps({"a": print})),
        ("empty.pt", b""),
        ("cut.pt", whole[: len(whole) // 2]),
        ("noise.pt", bytes(range(256))),
        ("text.pt", b"hello"),
    ):
        (tmp_path / name).write_bytes(content)
    for path in tmp_path.iterdir():
        with pytest.raises(AnalyzerError, match="is no checkpoint of plain tensors") as refusal:
            load_checkpoint(nn.Linear(3, 2), path)
        said = str(refusal.value)
        assert "weights_only" not in said
        assert "\n" not in said
        assert len(said) < 300


def test_any_number_of_prefixes_is_taken_away(tmp_path):
    torch.save({f"{'module.' * 2000}{name}": value for name, value in WEIGHTS.items()},
               tmp_path / "file.pt")  # fmt: skip
    load_checkpoint(nn.Linear(3, 2), tmp_path / "file.pt")
