"""The published networks: the parameters and counts of the published code, and what layers read."""

import ast
import re

import pytest
import torch
from small_models import image_of, small

import analyzer
from analyzer import models
from analyzer.models.neurons import LIF
from analyzer.models.warm import warm

from .hooks import record_inputs
from .published import FAMILIES, rows


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
    """Parameters as in timm and torchvision, and MACs to the digits that torchvision gives.

    It lists 17.564 G for ViT-B, 1.814, 3.664 and 4.089 G for the ResNets and 4.491 G for Swin-T.
    The other figures follow from the architecture tables.
    """
    counted = analyzer.count(name)
    assert counted.parameters == parameters
    assert counted.totals["dense_macs"] == dense_macs


def test_the_flavour_of_qkformer_for_small_images_has_its_published_size():
    """6.74 M for CIFAR-100 (NeurIPS 2024, table 3); the maps are as large as its code has them."""
    sizes = {"embed_dim": 384, "heads": 8, "num_classes": 100}
    counted = analyzer.count("qkformer-tiny", (3, 32, 32), **sizes)
    assert counted.parameters == 6_740_884
    work = counted.counts.set_index("module")["dense_macs"]
    T = 4
    # Each convolution behind the image: taps times channels before and after, at each position.
    for module, taps, before, after, side in [
        ("stem.image.layer", 9, 3, 48, 32),
        ("stem.first.layer", 9, 48, 96, 32),
        ("stem.shortcut.layer", 1, 48, 96, 32),
        ("blocks.0.attention.q.layer", 1, 96, 96, 32),
        ("blocks.1.first.layer", 9, 96, 192, 32),
        ("blocks.1.second.layer", 9, 192, 192, 32),
        ("blocks.1.shortcut.layer", 1, 96, 192, 16),
        ("blocks.2.mlp.0.layer", 1, 192, 768, 16),
        ("blocks.3.second.layer", 9, 384, 384, 16),
        ("blocks.5.attention.v.layer", 1, 384, 384, 8),
    ]:
        assert work[module] == T * taps * before * after * side**2, module


@pytest.mark.parametrize("name", ["sdt-tiny", "qkformer-tiny", "spikformer-tiny"])
def test_the_small_networks_are_of_one_size_and_see_64_tokens_last(name):
    model = models.build(name)
    assert 150_000 < sum(p.numel() for p in model.parameters()) < 210_000
    tokens = []
    model.blocks[-1].register_forward_hook(lambda _, args, out: tokens.append(tuple(out.shape)))
    warm(model, torch.rand(2, 1, 32, 32))
    assert tokens[-1] == (4, 2, 64, 8, 8)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [(name, {}) for name in (*FAMILIES, "sdt-v3-173m")]
    + [(name, {"form": "spikes", "levels": 5}) for name in ("sdt-v3-5m", "sdt-v3-173m")],
    ids=str,
)
def test_a_run_has_every_axis_and_the_dense_work_of_its_shapes(name, overrides):
    """Also the same parameters and neuron state; only the run has activity."""
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
        "graded": r"blocks\.(\d+\.(attention\.[qkv]|mlp\.0)\.layer|[13]\.(first|shortcut)\.layer)"
    },
    "spikingresformer-ti": {},
    "sdt-v3-5m": {"graded": r"blocks\..*(conv|attention\.[qkv])"},
    "sdt-v3-173m": {"graded": r"blocks\..*(conv|widen)|teacher", "real": r".*\.narrow"},
    "statten-8-768": {},
    "max-former-10-384": {},
    "msvit-10-384": {
        "graded": r"blocks\.(\d+\.(attention\.([qkv]|neighbours)|mlp\.0)|"
        r"[13]\.(first|shortcut))\.layer"
    },
}
"""Weight layers of the published models that read something else than spikes, by value class."""


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
    "sdt-tiny": (17, 2),
    "meta-spikeformer-15m": (69, 8),
    "qkformer-10-384": (67, 10),
    "qkformer-tiny": (31, 4),
    "spikingresformer-ti": (38, 0),
    "statten-8-768": (53, 8),
    "max-former-10-384": (58, 7),
    "msvit-10-384": (80, 0),
}
"""Numbers of neurons with threshold 1 and 1/2, without one in the published SDT that never runs."""


@pytest.mark.parametrize("name", THRESHOLDS)
def test_neurons_and_their_thresholds(name):
    with torch.device("meta"):
        model = models.build(name)
    thresholds = [m.v_threshold for m in model.modules() if isinstance(m, LIF)]
    assert (thresholds.count(1.0), thresholds.count(0.5)) == THRESHOLDS[name]


@pytest.mark.parametrize("name", [*FAMILIES, "sdt-v3-173m"])
def test_images_of_a_batch_do_not_see_each_other(name):
    model = small(name)
    images = image_of(model, 3)
    warm(model, images)
    model.double()
    with torch.no_grad():
        torch.testing.assert_close(model(images.double())[1:2], model(images.double()[1:2]))


@pytest.mark.parametrize(
    "name",
    ["spikingformer-8-384", "sdt-v3-5m", "sdt-v3-173m", "spikingresformer-ti", "msvit-10-384"],
)
def test_gradients_reach_every_weight_that_is_used(name):
    torch.manual_seed(0)
    model = small(name).train()
    model(image_of(model, 4)).square().sum().backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert all(re.search(r"\.norm[12]\.", n) and n.count(".") == 3 for n in unused), unused


def test_recorded_inputs_of_an_unused_member_stay_away():
    """The published SDT has weights for mixing heads that its forward never uses."""
    model = small("sdt-8-384")
    with torch.no_grad():
        seen = record_inputs(model)
        model(image_of(model, 1))
    assert not [path for path in seen if "head_mixing" in path]
