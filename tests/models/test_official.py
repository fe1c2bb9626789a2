"""State dicts under the names of the published code load into this package's networks."""

import argparse
import re
from pathlib import Path

import pytest
import torch

from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint

from .published import FAMILIES, rows


def official(name):
    """Names and shapes of a published state dict, in order, as its tables say."""
    cards = rows(Path(models.__file__).with_name("cards.csv"))
    card = next(row for row in cards if row["name"] == name)
    for row in rows("official_names.csv"):
        if (row["module"], row["size"]) != (card["module"], card["size"]):
            continue
        shape = [int(n) for n in row["shape"].split("x")]
        for path in indexed(row["path"]):
            if row["kind"] == "buffer":
                yield path, shape
                continue
            yield f"{path}.weight", shape
            if row["bias"] != "no":
                yield f"{path}.bias", shape[:1]
            if row["kind"] == "bn":
                yield from ((f"{path}.{part}", shape) for part in ("running_mean", "running_var"))
                yield f"{path}.num_batches_tracked", []


def indexed(path):
    """``a.{0-2}.b`` and ``a.{0|4}.b``, one by one."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    first, _, last = found[1].partition("-")
    numbers = range(int(first), int(last) + 1) if last else map(int, found[1].split("|"))
    return [path.replace(found[0], str(n)) for n in numbers]


@pytest.mark.parametrize("name", FAMILIES)
def test_official_state_dicts_load(name, tmp_path):
    """Every tensor of the file has a place of its own, and the places are all there are."""
    names = list(official(name))
    state = {n: torch.tensor(float(i)).expand(shape) for i, (n, shape) in enumerate(names)}
    about = {"epoch": 3, "args": argparse.Namespace(lr=0.1, opt="lamb")}  # as timm saves it
    torch.save({"state_dict": state, **about}, tmp_path / "official.pth.tar")
    model = models.build(name)
    load_checkpoint(model, tmp_path / "official.pth.tar")
    own = model.state_dict()
    landed = {int(value.flatten()[0]): path for path, value in own.items()}
    assert all((value == value.flatten()[0]).all() for value in own.values())
    assert sorted(landed) == list(range(len(names))) == list(range(len(own)))
    for i, (theirs, shape) in enumerate(names):
        ours = landed[i]
        assert theirs.rpartition(".")[2] == ours.rpartition(".")[2] or "firing_rate" in theirs
        for part in "qkv":
            there = re.search(rf"(attn|tssa)\.{part}_", theirs) is not None
            assert there == (f"attention.{part}." in ours)
        assert own[ours].numel() == torch.Size(shape).numel()


@pytest.mark.parametrize("name", ["sdt-v3-173m", "spikegpt-216m"])
def test_the_names_of_large_models_are_all_there_are(name):
    """Too large to load here: names and sizes alone. Older SpikingJelly has one more level."""
    with torch.device("meta"):
        model = models.build(name)
    own = {path: value.numel() for path, value in model.state_dict().items()}
    sizes = {n: torch.Size(shape).numel() for n, shape in official(name)}
    for nested in (False, True):
        found = {
            model.official_name(
                re.sub(r"(\.conv[12]\.0)\.([01]\.)", r"\1.module.\2", n) if nested else n
            ): size
            for n, size in sizes.items()
        }
        assert found == own


def test_what_does_not_fit_is_listed_by_the_names_in_the_file(tmp_path):
    state = {n: torch.zeros(shape) for n, shape in official("sdt-8-384")}
    state["extra.weight"] = torch.zeros(1)
    state["head.weight"] = torch.zeros(10, 384)
    del state["block.0.attn.q_bn.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(AnalyzerError) as refused:
        load_checkpoint(models.build("sdt-8-384"), tmp_path / "w.pth")
    said = str(refused.value)
    assert "missing blocks.0.attention.q.norm.bias" in said
    assert "unexpected extra.weight" in said
    assert "head.weight (10×384 in the file, 1000×384 in the model)" in said


def test_references_take_the_names_of_their_libraries(tmp_path):
    """timm's and torchvision's names, one tensor of each kind."""
    cases = {
        "vit-s-16": {
            "cls_token": "class_token",
            "pos_embed": "positions",
            "patch_embed.proj.weight": "patches.weight",
            "blocks.3.attn.qkv.bias": "blocks.3.attention.qkv.bias",
            "blocks.3.attn.proj.weight": "blocks.3.attention.projection.weight",
            "blocks.3.mlp.fc2.weight": "blocks.3.mlp.2.weight",
            "norm.weight": "norm.weight",
        },
        "resnet-50": {
            "conv1.weight": "stem.0.0.weight",
            "bn1.running_var": "stem.0.1.running_var",
            "layer3.0.downsample.0.weight": "stages.2.0.shortcut.0.weight",
            "layer3.5.conv3.weight": "stages.2.5.branch.2.0.weight",
            "layer3.5.bn2.bias": "stages.2.5.branch.1.1.bias",
            "fc.bias": "head.bias",
        },
        "swin-t": {
            "patch_embed.norm.weight": "norm.weight",
            "norm.weight": "last.weight",
            "layers.1.downsample.reduction.weight": "blocks.5.reduce.weight",
            "layers.2.blocks.4.attn.relative_position_bias_table": "blocks.10.attention.bias",
            "layers.2.blocks.4.attn.relative_position_index": "",
            "layers.3.blocks.1.mlp.fc1.bias": "blocks.14.mlp.0.bias",
        },
    }
    for name, pairs in cases.items():
        with torch.device("meta"):
            model = models.build(name)
        own = model.state_dict()
        for theirs, ours in pairs.items():
            assert model.official_name(theirs) == ours
            assert not ours or ours in own
