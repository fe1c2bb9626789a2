"""Zero weights skipped, and weights that need no multiplier, against masks of ones and zeros."""

import copy
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts.records import Contraction, Operand
from analyzer.facts.values import Values
from analyzer.profiles import Profile

HEAD = 'name = "mine"\ntitle = "t"\nsource = "s"\nsummary = "x"\nskip_zero_weights = true\n'
SPIKES = 'driving = ["zero", "binary", "ternary"]\n'


@pytest.fixture
def reading(tmp_path):
    """The AC and MAC of each module under a convention of these lines."""

    def read(profile, *lines, head=HEAD + SPIKES):
        path = tmp_path / "mine.toml"
        path.write_text(head + "\n".join(lines))
        rows = profile.operations(str(path))
        sums = rows.groupby("module", sort=False)[["ac", "mac"]].sum()
        return {module: (row["ac"], row["mac"]) for module, row in sums.iterrows()}

    return read


def spikes(*shape, levels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    fired = torch.rand(shape, generator=generator) < 0.4
    sizes = torch.randint(1, levels + 1, shape, generator=generator)
    if levels > 1:
        sizes.view(-1)[:2] = torch.tensor([1, levels])
        fired.view(-1)[:2] = True
    return fired * sizes.float()


LAYERS = {
    "linear": (nn.Linear(9, 7), (5, 9)),
    "tokens": (nn.Linear(9, 7, bias=False), (2, 3, 9)),
    "conv1d": (nn.Conv1d(2, 4, 3, padding=2), (3, 2, 8)),
    "conv2d": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5)),
    "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2), (2, 3, 9, 8)),
    "groups": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2), (2, 4, 5, 6)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 5, 6)),
    "conv3d": (nn.Conv3d(2, 3, 2, padding=1), (1, 2, 4, 3, 3)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (2, 3, 5, 4)),
    "transposed groups": (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 7)),
}


def run(layer, x, weight):
    """What the layer computes of an input and a weight, in float64 and without its bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x.double(), weight.double())
    if "Transpose" not in type(layer).__name__:
        return layer._conv_forward(x.double(), weight.double(), None)
    convolve = getattr(F, f"conv_transpose{weight.ndim - 2}d")
    settings = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    return convolve(x.double(), weight.double(), None, *settings)


def products(layer, x, weight):
    """Products of two non-zeros, each as often as the size of the input."""
    return int(run(layer, x.abs(), (weight != 0)).sum())


def dense_products(layer, x, weight):
    """Products with a weight that is not zero, whatever it meets, padding included."""
    if "Transpose" in type(layer).__name__:
        positions = x[:, 0].numel()
    elif isinstance(layer, nn.Linear):
        positions = x[..., 0].numel()
    else:
        positions = run(layer, x, weight)[:, 0].numel()
    return positions * int((weight != 0).sum())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.95, 1.0])
def test_a_pruned_layer(reading, name, amount):
    layer, shape = LAYERS[name]
    layer = copy.deepcopy(layer).eval()
    if amount:
        prune.random_unstructured(layer, "weight", amount=amount)
    weight = layer.weight.detach()
    x = spikes(*shape)
    pairs, dense = products(layer, x, weight), dense_products(layer, x, weight)
    assert (pairs == int(run(layer, x, torch.ones_like(weight)).sum())) == (not amount)
    assert reading(analyzer.profile(layer, x)) == {"": (pairs, 0)}

    real = torch.where(x > 0, torch.rand(shape) + 0.1, 0)
    profile = analyzer.profile(layer, real)
    assert reading(profile) == {"": (0, dense)}
    assert reading(profile, 'undriven = "events"') == {"": (0, pairs)}

    graded = spikes(*shape, levels=3, seed=1)
    profile = analyzer.profile(layer, graded)
    unary = ['driving = ["zero", "binary", "ternary", "graded"]', 'work = "unary"']
    levels = products(layer, graded, weight)
    assert reading(profile, *unary, head=HEAD) == {"": (levels, 0)}
    assert reading(profile, 'undriven = "events"') == {
        "": (0, products(layer, (graded != 0).float(), weight))
    }


class Attention(nn.Module):
    """Spiking self-attention without a softmax, then softmax attention of PyTorch's own."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)
        self.mixed = nn.MultiheadAttention(8, 2, batch_first=True)
        for module, name in ((self.qkv, "weight"), (self.mixed, "in_proj_weight")):
            prune.l1_unstructured(module, name, amount=0.6)
        prune.random_unstructured(self.mixed.out_proj, "weight", amount=0.5)  # is never called

    def forward(self, x):
        q, k, v = ((y > 0.1).float() for y in self.qkv(x).chunk(3, -1))
        mixed = q @ (k.mT @ v)
        return self.mixed(mixed, mixed, mixed, need_weights=False)[0]


@pytest.mark.parametrize("fast", [True, False])
def test_attention_whose_projections_are_pruned(reading, fast):
    torch.manual_seed(0)
    model, x = Attention().eval(), spikes(3, 5, 8)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        profile = analyzer.profile(model, x)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    read = reading(profile)
    assert read["qkv"] == (products(model.qkv, x, model.qkv.weight), 0)
    q, k, v = ((y > 0.1).float() for y in model.qkv(x).chunk(3, -1))
    kv = k.mT @ v
    # Products of activations have no weights: nothing changes for them.
    assert read[""][0] == int(kv.sum()) + int(q.sum()) * 8
    inner = int((model.mixed.in_proj_weight != 0).sum()) * 15
    outer = int((model.mixed.out_proj.weight != 0).sum()) * 15
    heads = 2 * 2 * 3 * 5 * 5 * 4  # scores and values: heads, batch, queries, keys, channels
    dense = sum(mac for module, (_, mac) in read.items() if module.startswith("mixed"))
    assert dense == inner + outer + heads
    assert sum(v for _, v in reading(profile, 'attention = "omit"').values()) == inner + outer


def test_a_weight_on_the_left_and_a_product_of_two_weights(reading):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Parameter(spikes(4, 6) - spikes(4, 6, seed=5))
            self.other = nn.Parameter(spikes(3, 4, seed=2) * 0.7)

        def forward(self, x):
            return (self.other @ self.mix) @ x + self.mix[:3] @ x

    model, x = Fixed().eval(), spikes(5, 6, 2, seed=3)
    ones = [(w != 0).double() for w in (model.other, model.mix)]
    both = int((ones[0] @ ones[1]).sum()) * 5  # in every inference
    made = ((model.other @ model.mix) != 0).double()
    pairs = int((made @ x.double()).sum()) + int((ones[1][:3] @ x.double()).sum())
    assert reading(analyzer.profile(model, x)) == {"": (pairs, both)}


def test_the_batch_size_decides_nothing_and_later_batches_count(reading):
    layer = prune.random_unstructured(nn.Conv2d(2, 3, 3, padding=1), "weight", amount=0.5).eval()
    prune.remove(layer, "weight")  # its hook makes the weight anew in each pass
    x = torch.cat([spikes(4, 2, 5, 5), spikes(4, 2, 5, 5, levels=3, seed=1)])
    whole = analyzer.profile(layer, x)
    batched = analyzer.profile(layer, [x[i : i + 2] for i in range(0, 8, 2)])
    parts = analyzer.profile(layer, x[:4]) + analyzer.profile(layer, x[4:])
    assert whole == batched == parts
    assert batched.metadata["passes"]["replayed"] == 3
    unary = ['driving = ["graded"]', 'work = "unary"']
    expected = {"": (products(layer, x, layer.weight.detach()), 0)}
    assert reading(parts, *unary, head=HEAD) == reading(whole, *unary, head=HEAD) == expected


def test_rates_are_of_what_is_left(reading):
    layer = prune.random_unstructured(nn.Linear(6, 5), "weight", amount=0.4).eval()
    x = spikes(7, 6)
    rate = (x != 0).double().mean().item()
    read = reading(analyzer.profile(layer, x), 'work = "rate"')
    assert read[""][0] == pytest.approx(rate * 7 * 18, rel=1e-12)


def test_what_is_kept_in_a_file(tmp_path, reading):
    layer = prune.random_unstructured(nn.Linear(6, 5), "weight", amount=0.4).eval()
    profile = analyzer.profile(layer, spikes(7, 6))
    assert analyzer.load(profile.save(tmp_path / "p.json")) == profile
    (site,) = profile.contractions
    assert site.left is not None
    (dense,) = analyzer.profile(nn.Linear(6, 5).eval(), spikes(7, 6)).contractions
    assert dense.left is None
    assert dense.left_work.events == dense.events


def test_a_profile_that_does_not_know(reading):
    """As the first versions wrote them: zeros among the weights, and no pairs."""
    kinds = Values(1.0, 0, 1), Values(real=True)
    for nonzeros, says in ((6, "earlier version, so measure it again"), (8, None)):
        weight = Operand(True, kinds[1], 8, nonzeros, 6, 0)
        site = Contraction(
            "a", "linear", 0, 1, 8, Operand(False, kinds[0], 4, 2, 4, 4), weight, 0, 0
        )
        profile = Profile(1, {"parameters": 8}, (site,))
        if says is None:
            assert reading(profile) == {"a": (4, 0)}
            continue
        with pytest.raises(AnalyzerError, match=says):
            reading(profile)
    with pytest.raises(AnalyzerError, match="only shapes"):
        reading(analyzer.count(nn.Linear(3, 2), (3,)))


def test_neurobench_with_the_switch_is_its_own_formula(tmp_path):
    """Its effective operations are those of the layer on masks of both operands."""
    path = tmp_path / "whole.toml"
    shipped = (files("analyzer.energy") / "conventions" / "neurobench.toml").read_text("utf-8")
    path.write_text(f"{shipped}\nskip_zero_weights = true\n", "utf-8")
    layer = prune.random_unstructured(nn.Linear(6, 5), "weight", amount=0.4).eval()
    x = torch.rand(7, 6) * spikes(7, 6)
    profile = analyzer.profile(layer, x)
    read = profile.operations(str(path), reasons=True)
    mask = (x != 0).float()
    assert read["mac"].item() == products(layer, mask, layer.weight.detach())
    assert read["reason"].item().endswith("; zero weights skipped")
    assert profile.operations("neurobench")["mac"].item() == int(mask.sum()) * 5


ADDITIVE = 'additive_weights = ["binary", "ternary"]'
PLAIN = 'name = "mine"\ntitle = "t"\nsource = "s"\nsummary = "x"\n' + SPIKES


@pytest.mark.parametrize("kind", ["binary", "signs", "ternary", "zero", "graded", "real"])
def test_weights_that_need_no_multiplier(reading, kind):
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (5, 6), generator=generator) * 2.0 - 1
    some = torch.randint(-1, 2, (5, 6), generator=generator).float()
    weight = {
        "binary": (some > 0) * 0.3,
        "signs": signs * 0.125,
        "ternary": some * 0.7,
        "zero": some * 0,
        "graded": some * torch.tensor([1.0, 2, 1, 2, 1, 2]),
        "real": torch.rand(5, 6, generator=generator) + 0.1,
    }[kind]
    layer = nn.Linear(6, 5).eval()
    layer.weight.data = weight
    adds = kind not in ("graded", "real")
    nonzeros = int((weight != 0).sum())

    real = analyzer.profile(layer, torch.rand(4, 6) + 0.1)
    assert reading(real, ADDITIVE, head=PLAIN)[""] == ((120, 0) if adds else (0, 120))
    work = 4 * nonzeros
    assert reading(real, ADDITIVE)[""] == ((work, 0) if adds else (0, work))
    assert reading(real)[""] == (0, work)
    assert real.energy(convention="exact").total_pj == pytest.approx(120 / 4 * 4.6)

    fired = spikes(4, 6)  # spikes add anyway
    found = analyzer.profile(layer, fired)
    events = int(fired.sum()) * 5
    assert reading(found, ADDITIVE, head=PLAIN)[""] == reading(found, head=PLAIN)[""] == (events, 0)
    pairs = products(layer, fired, weight)
    assert reading(found, ADDITIVE)[""] == reading(found)[""] == (pairs, 0)


def test_a_module_with_two_weights_is_additive_only_if_both_are(reading):
    class Two(nn.Module):
        def __init__(self, second):
            super().__init__()
            self.first = nn.Parameter(torch.ones(4, 6))
            self.second = nn.Parameter(second)

        def forward(self, x):
            return F.linear(x, self.first).sum() + F.linear(x, self.second).sum()

    x = torch.rand(3, 6) + 0.1
    for second, expected in ((-torch.ones(5, 6) * 3, (162, 0)), (torch.rand(5, 6), (0, 162))):
        profile = analyzer.profile(Two(second).eval(), x)
        assert reading(profile, ADDITIVE, head=PLAIN)[""] == expected
