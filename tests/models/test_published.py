"""The published networks: counts to the last integer, names of their state dicts, their forms."""

import argparse
import ast
import csv
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from small_models import image_of, small
from torch import nn

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint
from analyzer.models.neurons import LIF
from analyzer.models.warm import warm

from .hooks import record_inputs

HERE = Path(__file__).parent
FAMILIES = (
    "spikformer-8-384", "spikformer-4-384", "spikingformer-8-384", "spikingformer-4-384",
    "sdt-8-384", "meta-spikeformer-15m", "sdt-v3-5m", "qkformer-10-384", "spikingresformer-ti",
)  # fmt: skip
"""One size of each flavour of each network."""


def rows(name):
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def keywords(text):
    call = ast.parse(f"f({text})", mode="eval").body
    return {k.arg: ast.literal_eval(k.value) for k in call.keywords}


@pytest.mark.parametrize("row", rows("published_counts.csv"), ids=lambda r: " ".join(r.values()))
def test_parameters_and_dense_work_of_the_published_code(row):
    """Measured on the official classes; unused members count as parameters."""
    counted = analyzer.count(row["name"], **keywords(row["overrides"]))
    assert counted.parameters == int(row["parameters"])
    assert counted.totals["dense_macs"] == int(row["dense_macs"])
    assert counted.uncovered.empty


@pytest.mark.parametrize(
    ("name", "parameters", "dense_macs"),
    [
        ("vit-b-16", 86_567_656, 17_563_828_224),
        ("vit-s-16", 22_050_664, 4_598_882_304),
        ("deit-ti", 5_717_416, 1_253_683_200),
        ("resnet-18", 11_689_512, 1_814_073_344),
        ("resnet-34", 21_797_672, 3_663_761_408),
        ("resnet-50", 25_557_032, 4_089_184_256),
        ("swin-t", 28_288_354, 4_490_566_656),
    ],
)
def test_references_have_the_sizes_that_everyone_lists(name, parameters, dense_macs):
    """Parameters of timm and torchvision; torchvision gives 17.564, 1.814, 3.664, 4.089 and 4.491 G
    (Swin's there with 5 digits less), the rest follows from the architecture tables."""
    counted = analyzer.count(name)
    assert counted.parameters == parameters
    assert counted.totals["dense_macs"] == dense_macs


def official(name):
    """Names and shapes of a published state dict, in order, as its tables say."""
    card = next(e for n, e in models._REGISTRY.items() if n == name)
    module = card.module.rpartition(".")[2]
    for row in rows("official_names.csv"):
        if (row["module"], row["size"]) != (module, card.size):
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


@pytest.mark.parametrize(
    ("name", "overrides"),
    [(name, {}) for name in FAMILIES] + [("sdt-v3-5m", {"form": "spikes", "levels": 5})],
    ids=str,
)
def test_a_run_has_every_axis_and_the_dense_work_of_its_shapes(name, overrides):
    """Parameters and neuron state too; activity is missing where nothing was run."""
    model = small(name, **overrides)
    image = image_of(model, 2)
    warm(model, image)
    measured = analyzer.profile(model, image)
    counted = analyzer.count(model, tuple(image.shape[1:]))
    assert measured.uncovered.empty
    work = [p.counts.groupby(["module", "op"])["dense_macs"].sum() for p in (measured, counted)]
    assert work[0].to_dict() == (2 * work[1]).to_dict()
    assert counted.parameters == measured.parameters
    assert counted.counts["events"].isna().sum() == len(counted.shapes)
    assert counted.memory["parameters_bytes"] == measured.memory["parameters_bytes"]
    assert counted.memory["neuron_state_bytes"] == measured.memory["neuron_state_bytes"]
    timed = ("timestep", "temporal") if model.timesteps > 1 else ()
    for axis in ("module", "spatial", "structural", *timed):
        table = measured.sparsity(axis)
        assert table["sparsity"].between(0, 1).all()
        assert table["sparsity"].max() > 0.3, axis


KINDS = {
    "spikformer-8-384": {"graded": r"blocks\..*(attention\.[qkv]|mlp\.0)\.layer"},
    "spikingformer-8-384": {},
    "sdt-8-384": {},
    "meta-spikeformer-15m": {
        "real": r"(.*separable\.1\.layer\.1|.*attention\.(q|k|v|projection)\.layer\.[23])$"
    },
    "qkformer-10-384": {
        "graded": r"blocks\.(\d+\.(attention\.[qkv]|mlp\.0)\.layer|[13]\.(pooled|shortcut)\.layer)"
    },
    "spikingresformer-ti": {},
    "sdt-v3-5m": {"graded": r"blocks\..*(conv|attention\.[qkv])"},
}
"""What reaches the weight layers of the published models: spikes but where a pattern says."""


@pytest.mark.parametrize("name", KINDS)
def test_what_reaches_each_weight_layer(name):
    model = small(name)
    image = image_of(model, 4)
    warm(model, image)
    rows = analyzer.profile(model, image).counts
    rows = rows[rows["weight_elements"] > 0]
    seen = {kind: set() for kind in ("graded", "real")}
    for module, kind in zip(rows["module"], rows["input_class"], strict=True):
        if module.startswith("head") or kind == "zero":
            continue
        expected = next((k for k, at in KINDS[name].items() if re.match(at, module)), "binary")
        if module.startswith("stem") and rows["module"].iloc[0] == module:
            expected = "real"
        allowed = {"graded", "binary"} if expected == "graded" else {expected}
        assert kind in allowed, module
        if kind in seen:
            seen[kind].add(module)
    for kind in KINDS[name]:
        assert seen[kind]


THRESHOLDS = {
    "spikformer-8-384": (53, 8),
    "spikingformer-8-384": (52, 8),
    "sdt-8-384": (53, 8),
    "meta-spikeformer-15m": (69, 8),
    "qkformer-10-384": (67, 10),
    "spikingresformer-ti": (38, 0),
}
"""Neurons that run, by threshold 1 and 1/2. The official stem of SDT makes one that never runs."""


@pytest.mark.parametrize("name", THRESHOLDS)
def test_neurons_and_their_thresholds(name):
    with torch.device("meta"):
        model = models.build(name)
    thresholds = [m.v_threshold for m in model.modules() if isinstance(m, LIF)]
    assert (thresholds.count(1.0), thresholds.count(0.5)) == THRESHOLDS[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_a_batch_do_not_see_each_other(name):
    model = small(name)
    images = image_of(model, 3)
    warm(model, images)
    model.double()
    with torch.no_grad():
        torch.testing.assert_close(model(images.double())[1:2], model(images.double()[1:2]))


@pytest.mark.parametrize("name", ["spikingformer-8-384", "sdt-v3-5m", "spikingresformer-ti"])
def test_gradients_reach_every_weight_that_is_used(name):
    torch.manual_seed(0)
    model = small(name).train()
    model(image_of(model, 4)).square().sum().backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert all(re.search(r"\.norm[12]\.", n) and n.count(".") == 3 for n in unused), unused


def dyadic(model):
    """Weights as multiples of 2^-6: sums of their products with spikes are exact in float64."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_((module.weight * 64).round() / 64)
    return model.double()


def test_integers_and_spikes_of_sdt_v3_give_the_same_output():
    torch.manual_seed(0)
    model = small("sdt-v3-5m")
    image = image_of(model, 3)
    warm(model, image)
    dyadic(model)
    outputs, profiles = {}, {}
    for form in ("integer", "spikes"):
        model.form = form
        with torch.no_grad():
            outputs[form] = model(image.double())
        profiles[form] = analyzer.profile(model, image.double(), name=form)
    assert torch.equal(outputs["integer"], outputs["spikes"])
    integer, spikes = (p.counts.set_index("module") for p in profiles.values())
    assert profiles["spikes"].metadata["timesteps"] == 4
    # Dense work of all but the stem is D times that in integers, and what spikes cause is the sum
    # of the integers: their unary events.
    for module in integer.index[integer["weight_elements"] > 0]:
        one, other = integer.loc[module], spikes.loc[module]
        times = 1 if module.startswith("stem") else 4
        assert other["dense_macs"] == times * one["dense_macs"]
        if not module.startswith("stem"):
            assert other["input_class"] in ("binary", "zero")
            assert other["events"] == one["unary_events"]
    read = profiles["spikes"].operations()
    assert set(read.loc[read["mac"] > 0, "module"]) <= {"stem.0"}


def test_a_form_that_is_none_is_refused():
    with pytest.raises(AnalyzerError, match="'integer' or 'spikes'"):
        models.build("sdt-v3-5m", form="spiking")


def test_the_border_of_a_rep_conv_folds():
    """Pointwise, bordered norm, depthwise, pointwise are one 3×3 convolution with zero padding."""
    from analyzer.models.meta_spikeformer import RepConv

    torch.manual_seed(0)
    rep = RepConv(6, 6)
    warm(rep, torch.rand(8, 6, 9, 9))
    rep.double().eval()
    zero = torch.zeros(1, 6, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        kernels = []
        for channel, y, x in product(range(6), range(3), range(3)):
            probe = zero.clone()
            probe[0, channel, 3 + y, 3 + x] = 1
            kernels.append((rep(probe) - rep(zero))[0, :, 4, 4])
        weight = torch.stack(kernels, 1).reshape(6, 6, 3, 3)
        image = torch.rand(2, 6, 9, 9, dtype=torch.float64)
        bias = rep(zero)[0, :, 4, 4]
        folded = nn.functional.conv2d(image, weight, bias, padding=1)
        torch.testing.assert_close(rep(image), folded)


def test_scales_of_spiking_resformer_follow_the_rates():
    """The first batch in training sets them, later ones move them by a thousandth."""
    from analyzer.models.spikingresformer import RateScale

    scale = RateScale(2).train()
    spikes = torch.zeros(1, 1, 2, 4, 4)
    spikes[:, :, 0, :2] = 1
    out = scale(torch.ones(1, 1, 2, 3, 3), spikes, 8)
    assert scale.rate.flatten().tolist() == [0.5, 0.0]
    torch.testing.assert_close(out[0, 0, 0], torch.full((3, 3), (0.5 * 8) ** -0.5))
    assert not out[0, 0, 1].any()
    scale(torch.ones(1, 1, 2, 3, 3), torch.ones_like(spikes), 8)
    torch.testing.assert_close(scale.rate.flatten()[0].item(), 0.5 * 0.999 + 0.001)
    torch.testing.assert_close(scale.rate.flatten()[1].item(), 1.0)


def test_fused_windows_see_no_seam():
    """Shifted windows of Swin: what is far apart on the map does not meet."""
    from analyzer.models.swin import WindowAttention

    torch.manual_seed(0)
    w, shift, side = 4, 2, 8
    attention = WindowAttention(8, 2, w, shift).double()
    x = torch.rand(1, side, side, 8, dtype=torch.float64)
    with torch.no_grad():
        out = attention(x)
        q, k, v = attention.qkv(x).reshape(side * side, 3, 2, 4).permute(1, 2, 0, 3)
        rows = torch.arange(side)
        region = (rows + (w - shift)) // w  # windows of the shifted grid, cut at the borders
        cell = (region[:, None] * 10 + region[None, :]).flatten()
        at = torch.stack(torch.meshgrid(rows, rows, indexing="ij"), -1).reshape(-1, 2)
        delta = at[:, None] - at[None]
        index = (delta[..., 0] + w - 1) * (2 * w - 1) + delta[..., 1] + w - 1
        same = cell[:, None] == cell[None]
        bias = attention.bias[index.where(same, 0)].permute(2, 0, 1)
        scores = q @ k.mT / 2 + bias
        weights = scores.masked_fill(~same, -torch.inf).softmax(-1)
        expected = attention.projection((weights @ v).permute(1, 0, 2).reshape(1, side, side, 8))
    torch.testing.assert_close(out, expected)


def test_recorded_inputs_of_an_unused_member_stay_away():
    """The mixing weights of SDT are parameters that nothing reads."""
    model = small("sdt-8-384")
    with torch.no_grad():
        seen = record_inputs(model)
        model(image_of(model, 1))
    assert not [path for path in seen if "head_mixing" in path]
