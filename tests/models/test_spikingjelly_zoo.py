"""Three networks against SpikingJelly's with the same weights: the same output and counts.

Spikformer, SDT and QKFormer. Ours follow the published code; where SpikingJelly's differ from it,
the tests say how.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

import analyzer
from analyzer import models
from analyzer.models.parts import Pool
from analyzer.models.warm import warm

functional = pytest.importorskip("spikingjelly.activation_based.functional")
neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
zoo = pytest.importorskip("spikingjelly.activation_based.model")

T, BATCH, DIM, HEADS, CLASSES = 4, 3, 64, 2, 10
DEPTH, DEPTHS = 2, (1, 1, 2)
FACTS = ["dense_macs", "events", "unary_events"]
OURS = {"embed_dim": DIM, "heads": HEADS, "num_classes": CLASSES}
THEIRS = {"embed_dims": DIM, "num_heads": HEADS, "num_classes": CLASSES, "depths": DEPTH}


def spikformer_units():
    """The units of our network in the order they run, each with the layer and the norm of theirs.

    The functions below do the same for other networks and for their parts.
    """
    stem = {f"units.{i}": f"stages.{i}" for i in range(4)} | {"position": "positional_encoding"}
    for here, there in stem.items():
        there = f"patch_embed.{there}.conv_bn.block"
        yield f"stem.{here}", f"{there}.0", f"{there}.1"
    for block in (f"blocks.{i}" for i in range(DEPTH)):
        yield from attention_units(block, block, "qkv")
        for i in (1, 2):
            yield f"{block}.mlp.{i - 1}", f"{block}.mlp.fc{i}.0", f"{block}.mlp.fc{i}.1"


def sdt_units():
    for i in range(3):
        yield f"stem.units.{i}", *(f"patch_embed.stages.{i}.{part}" for part in (0, 1))
    yield "stem.last", "patch_embed.final_stage.0", "patch_embed.final_stage.1"
    yield "stem.position", "patch_embed.rpe_conv", "patch_embed.rpe_bn"
    for block in (f"blocks.{i}" for i in range(DEPTH)):
        for here, there in {"q": "q", "k": "k", "v": "v", "projection": "proj"}.items():
            there = f"{block}.attn.{there}"
            yield f"{block}.attention.{here}", f"{there}_conv", f"{there}_bn"
        yield from mlp_units(block, block)


def qkformer_units():
    number = 0
    for stage, depth in enumerate(DEPTHS, start=1):
        here, there = ("stem" if stage == 1 else f"blocks.{number}"), f"patch_embed{stage}"
        number += stage > 1
        for i, unit in enumerate(("image", "first", "second")[stage > 1 :], start=1):
            yield f"{here}.{unit}", f"{there}.conv{i}", f"{there}.bn{i}"
        yield f"{here}.shortcut", f"{there}.shortcut.0", f"{there}.shortcut.1"
        for i in range(depth):
            here, there = f"blocks.{number}", f"stage{stage}.{i}"
            yield from attention_units(here, there, "qkv" if stage == 3 else "qk")
            yield from mlp_units(here, there)
            number += 1


def attention_units(here, there, parts):
    for part in parts:
        fused = f"{there}.attn.{parts}_conv_bn"
        yield f"{here}.attention.{part}", f"{fused}.0.{part}", f"{fused}.1.{part}"
    there = f"{there}.attn.proj_conv_bn"
    yield f"{here}.attention.projection", f"{there}.0", f"{there}.1"


def mlp_units(here, there):
    for i in (1, 2):
        yield f"{here}.mlp.{i - 1}", f"{there}.mlp.fc{i}", f"{there}.mlp.bn{i}"


class Case(NamedTuple):
    """One network in both libraries.

    The last three fields are patterns of our names, which match nothing by default. Units in
    `folded` have a bias only in theirs, which goes into the mean of the norm behind. Units in
    `zero` have a bias only in ours, which is set to zero. Tensors in `unused` are only in ours.
    """

    ours: str
    ours_takes: dict
    theirs: type
    theirs_takes: dict
    units: Callable
    image_size: int = 64
    folded: str = r"(?!)"
    zero: str = r"(?!)"
    unused: str = r"(?!)"


CASES = {
    "spikformer": Case(
        "spikformer-8-384",
        {"depth": DEPTH},
        zoo.Spikformer,
        {},
        spikformer_units,
        zero=r"blocks\.\d\.(attention\.projection|mlp\.[01])",
        unused=r"blocks\.\d\.norm[12]\.(weight|bias)",
    ),
    "spikformer-cifar": Case(
        "spikformer-4-384",
        {"depth": DEPTH},
        zoo.Spikformer,
        {"patch_size": 4},
        spikformer_units,
        image_size=16,
        zero=r"blocks\.\d\.(attention|mlp)\.\w+",
        unused=r"blocks\.\d\.norm[12]\.(weight|bias)",
    ),
    "sdt": Case(
        "sdt-8-384",
        {"depth": DEPTH},
        zoo.SpikeDrivenTransformer,
        {},
        sdt_units,
        folded=r"stem\.(units\.\d|last)",
        unused=r"blocks\.\d\.attention\.head_mixing\.weight",
    ),
    "qkformer": Case(
        "qkformer-10-384",
        {"depths": DEPTHS},
        zoo.QKFormer,
        {"depths": DEPTHS, "num_heads": (HEADS,) * 3},
        qkformer_units,
        folded=r"(stem|blocks\.\d)\.(image|first|second|shortcut)",
        zero=r"blocks\.\d\.attention\.projection",
    ),
}


def pair(name, timesteps):
    """Our network, theirs with the same weights, and images, all in float64; many neurons fire."""
    case = CASES[name]
    torch.manual_seed(0)
    theirs = case.theirs(T=timesteps, **(THEIRS | case.theirs_takes)).double()
    images = torch.rand(BATCH, 3, case.image_size, case.image_size, dtype=torch.float64)
    with torch.no_grad():
        for path, module in theirs.named_modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.uniform_(0.8, 2.0)
                module.bias.uniform_(-0.3, 0.6)
                if "qkv" in path:  # products of few spikes would hardly reach their threshold
                    module.bias += 0.7
        theirs.head.bias.uniform_(-1.0, 1.0)
    warm(theirs, images)
    functional.reset_net(theirs)
    size = {"image_size": case.image_size, "timesteps": timesteps}
    ours = models.build(case.ours, **(OURS | case.ours_takes | size)).double()
    transfer(case, theirs, ours)
    return ours.eval(), theirs.eval(), images


def transfer(case, theirs, ours):
    """Loads every tensor of theirs once, and sets every one of ours but those that are unused."""
    left, own = separate(theirs.state_dict()), ours.state_dict()
    state = {f"head.{tensor}": left.pop(f"head.{tensor}") for tensor in ("weight", "bias")}
    for unit, layer, norm in case.units():
        state[f"{unit}.layer.weight"] = left.pop(f"{layer}.weight")
        for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"{unit}.norm.{tensor}"] = left.pop(f"{norm}.{tensor}")
        bias, wanted = left.pop(f"{layer}.bias", None), f"{unit}.layer.bias" in own
        assert (bias is not None and not wanted) == bool(re.fullmatch(case.folded, unit)), unit
        assert (bias is None and wanted) == bool(re.fullmatch(case.zero, unit)), unit
        if wanted:
            state[f"{unit}.layer.bias"] = own[f"{unit}.layer.bias"] * 0 if bias is None else bias
        elif bias is not None:
            assert bias.any()
            state[f"{unit}.norm.running_mean"] = state[f"{unit}.norm.running_mean"] - bias
    assert not left
    for path, value in state.items():  # pointwise maps have no, one or two axes of length 1
        assert value.squeeze().shape == own[path].squeeze().shape, path
    unread = {path for path in own if re.fullmatch(case.unused, path)}
    assert not unread & state.keys()
    state = {path: value.reshape(own[path].shape) for path, value in state.items()}
    ours.load_state_dict(state | {path: own[path] for path in unread}, strict=True)


def separate(state):
    """Splits their fused layers and norms into those of q, of k and, if there is one, of v."""
    found = {}
    for path, value in state.items():
        module, _, tensor = path.rpartition(".")
        fused = re.search(r"\.(qkv?)_conv_bn\.", module)
        if not fused:
            found[path] = value
            continue
        pieces = value.chunk(len(fused[1])) if value.ndim else [value] * len(fused[1])
        for part, piece in zip(fused[1], pieces, strict=True):
            found[f"{module}.{part}.{tensor}"] = piece
    return found


@torch.no_grad()
def run(model, images):
    """The output of a model, whose state is reset before and afterwards."""
    functional.reset_net(model)
    out = model(images)
    functional.reset_net(model)
    return out


def rates(theirs, images):
    """Firing rate of each of their neurons, by path."""
    found = {}

    def keep(path):
        return lambda _, __, spikes: found.update({path: spikes.mean().item()})

    nodes = {p: m for p, m in theirs.named_modules() if isinstance(m, neuron.BaseNode)}
    handles = [node.register_forward_hook(keep(path)) for path, node in nodes.items()]
    run(theirs, images)
    for handle in handles:
        handle.remove()
    assert found.keys() == nodes.keys()
    return found


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def measured(ours, theirs, images):
    """The profiles of both networks; all their arithmetic must be covered."""
    found = analyzer.profile(ours, images), analyzer.profile(theirs, images, timesteps=theirs.T)
    assert all(profile.uncovered.empty for profile in found)
    return found


def work(profile, names):
    """The counts of the weight layers in the order they run, as (name, counts), and of the head."""
    rows = profile.counts[profile.counts["weight_elements"] > 0]
    sums = rows.groupby(rows["module"].map(names), sort=False, dropna=False)[FACTS].sum()
    *layers, (name, *facts) = sums.itertuples(name=None)
    assert name == "head"
    return layers, dict(zip(FACTS, facts, strict=True))


def assert_same_layers(case, ours, theirs):
    """All layers but the head must have the same counts; a fused layer is the sum of several.

    Returns:
        The counts of both heads.
    """
    names = {f"{unit}.layer": re.sub(r"\.[qkv]$", "", layer) for unit, layer, _ in case.units()}
    here, head = work(ours, names | {"head": "head"})
    there, their_head = work(theirs, lambda module: module)
    assert here == there
    assert len(here) == len(set(names.values()))
    assert all(count > 0 for _, *facts in here for count in facts[:2])
    return head, their_head


def products(profile):
    """The counts of the products of attention, summed."""
    return profile.counts[profile.counts["op"] == "matmul"][FACTS].sum().to_dict()


def totals(profile):
    return {fact: profile.totals[fact] for fact in FACTS}


SETTINGS = [
    ("spikformer", 1),
    ("spikformer-cifar", 1),
    ("sdt", 1),
    ("sdt", T),
    ("qkformer", 1),
    ("qkformer", T),
]
"""Networks that are the same in both, by name and timesteps; Spikformer at T > 1 is not."""


@pytest.mark.parametrize(("name", "timesteps"), [*SETTINGS, ("spikformer", T)])
def test_spikes_are_plentiful(name, timesteps):
    """Without spikes, equal outputs would prove nothing."""
    _, theirs, images = pair(name, timesteps)
    found = rates(theirs, images)
    assert min(found.values()) > 0.02
    assert sum(rate < 0.6 for rate in found.values()) >= 0.8 * len(found)


@pytest.mark.parametrize(("name", "timesteps"), SETTINGS)
def test_same_weights_same_output(name, timesteps):
    """Their Spikformer returns the logits of each timestep, ours those of the mean over time."""
    ours, theirs, images = pair(name, timesteps)
    here, there = run(ours, images), run(theirs, images)
    if name.startswith("spikformer"):
        assert there.shape == (timesteps, BATCH, CLASSES)
        there = there.mean(0)
    assert (there[0] - there[1]).abs().max() > 1e-3
    assert_same(here, there)


@pytest.mark.parametrize("name", CASES)
def test_images_of_a_batch_do_not_see_each_other_in_either(name):
    """Although in the published QKFormer they do."""
    ours, theirs, images = pair(name, T)
    for model in (ours, theirs):
        alone = [run(model, image[None]) for image in images]
        assert_same(run(model, images), torch.cat(alone, dim=alone[0].ndim - 2))


@pytest.mark.parametrize(("name", "timesteps"), [("spikformer", 1), ("sdt", 1), ("qkformer", T)])
def test_same_weights_same_work(name, timesteps):
    """Layer by layer and in total."""
    ours, theirs = measured(*pair(name, timesteps))
    head, their_head = assert_same_layers(CASES[name], ours, theirs)
    assert head == their_head
    assert products(ours) == products(theirs)
    assert totals(ours) == totals(theirs)


def test_the_head_of_their_sdt_runs_once():
    """On the mean over time, ours on the spikes of each step: as many spikes, but fewer values."""
    ours, theirs = measured(*pair("sdt", T))
    head, their_head = assert_same_layers(CASES["sdt"], ours, theirs)
    assert head["dense_macs"] == T * their_head["dense_macs"] == T * BATCH * DIM * CLASSES
    assert head["unary_events"] == their_head["unary_events"]
    for fact in FACTS:
        assert totals(ours)[fact] - totals(theirs)[fact] == head[fact] - their_head[fact]


def test_their_small_spikformer_multiplies_in_another_order():
    """Q·(Kᵀ·V) for images of CIFAR too, where the published one has (Q·Kᵀ)·V: d for N."""
    case = CASES["spikformer-cifar"]
    ours, theirs = measured(*pair("spikformer-cifar", 1))
    head, their_head = assert_same_layers(case, ours, theirs)
    assert head == their_head
    N, d = (case.image_size // 4) ** 2, DIM // HEADS
    assert products(ours)["dense_macs"] == DEPTH * BATCH * HEADS * 2 * N * N * d
    assert products(theirs)["dense_macs"] == DEPTH * BATCH * HEADS * 2 * N * d * d


@pytest.mark.parametrize("name", ["spikformer", "spikformer-cifar"])
def test_the_stem_of_their_spikformer_pools_before_the_neurons(name):
    """The published one after them: the same at the first step, when no neuron holds potential.

    Later steps differ, and with their order in our stem they do not. Their head runs at each step,
    ours on the mean over time.
    """
    ours, theirs, images = pair(name, T)
    there = run(theirs, images)
    assert there.shape == (T, BATCH, CLASSES)
    assert (run(ours, images) - there.mean(0)).abs().max() > 1e-3
    ours.timesteps = 1
    assert_same(run(ours, images), there[0])

    ours.timesteps = T
    for unit, pooled in zip(ours.stem.units, ours.stem.pooling, strict=True):
        unit.pool = Pool() if pooled else None
    ours.stem.pooling = (False,) * 4
    assert_same(run(ours, images), there.mean(0))

    ours, theirs = measured(ours, theirs, images)
    head, their_head = assert_same_layers(CASES[name], ours, theirs)
    assert T * head["dense_macs"] == their_head["dense_macs"] == T * BATCH * DIM * CLASSES
    assert head["unary_events"] == their_head["unary_events"]
