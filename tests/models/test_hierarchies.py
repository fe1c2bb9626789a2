"""Max-Former, MSViT and STAtten: their parameters and their work, summed by hand."""

import pytest
import torch
from small_models import image_of, small
from torch.utils.flop_counter import FlopCounterMode

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.statten import BlockAttention
from analyzer.models.warm import warm

T = 4
SIDE = 224


def patches(before, after, side, strided):
    """Parameters and work of two 3×3 convolutions and a shortcut that halve a map of this side."""
    parameters = 10 * before * after + 9 * after**2 + 6 * after
    first = side // 2 if strided[0] else side
    shortcut = side // 2 if strided[1] else side
    work = 9 * before * after * first**2 + 9 * after**2 * (side // 2) ** 2
    return parameters, work + before * after * shortcut**2


def mlp(c):
    return 8 * c**2 + 5 * c + 10 * c


def attention(c):
    """Parameters of spiking self-attention with batch norms and one bias."""
    return 4 * c**2 + c + 8 * c


def products(c, heads, tokens):
    return 2 * tokens * c * c // heads


@pytest.mark.parametrize(
    ("width", "heads", "parameters", "published"),
    [(384, 6, 16_237_240, 16.23), (512, 8, 28_653_480, 28.65), (768, 12, 63_992_200, 63.99)],
)
def test_max_former_by_hand(width, heads, parameters, published):
    """The paper's table 3 has 16.23 M (cut, not rounded), 28.65 M and 63.99 M."""
    a, b, c = width // 4, width // 2, width
    stem = 27 * (a // 2) + a, 27 * (a // 2) * (SIDE // 2) ** 2
    inside = patches(a // 2, a, SIDE // 2, (True, True))
    second, third = (
        patches(a, b, SIDE // 4, (False, False)),
        patches(b, c, SIDE // 8, (False, False)),
    )
    early = 49 * a + 3 * a + mlp(a), (49 * a + 8 * a**2) * (SIDE // 4) ** 2
    later = 25 * b + 3 * b + mlp(b), (25 * b + 8 * b**2) * (SIDE // 8) ** 2
    tokens = (SIDE // 16) ** 2
    last = attention(c) + mlp(c), 12 * c**2 * tokens + products(c, heads, tokens)
    head = 1000 * c + 1000, 1000 * c
    parts = (stem, inside, early, second, later, later, third, *[last] * 7, head)
    counted = analyzer.count(f"max-former-10-{width}")
    assert counted.parameters == parameters == sum(p for p, _ in parts)
    assert counted.totals["dense_macs"] == T * sum(w for _, w in parts)
    assert int(parameters / 1e4) / 100 == published


@pytest.mark.parametrize(
    ("width", "heads", "parameters"),
    [(384, 6, 17_686_216), (512, 8, 31_232_616), (768, 12, 69_802_408)],
)
def test_msvit_by_hand(width, heads, parameters):
    """17.69 M and 69.80 M as published; its authors list 30.23 M for the size in the middle."""
    b, c = width // 2, width
    stem = 27 * (b // 2) + b, 27 * (b // 2) * SIDE**2
    inside = patches(b // 2, b, SIDE // 2, (False, True))
    second, third = patches(b, b, SIDE // 4, (False, True)), patches(b, c, SIDE // 8, (False, True))

    def early(side):
        return 6 * b**2 + b + 8 * b + mlp(b), 14 * b**2 * side**2

    tokens = (SIDE // 16) ** 2
    last = attention(c) + mlp(c), 12 * c**2 * tokens + products(c, heads, tokens)
    two = early(SIDE // 8)
    parts = (stem, inside, early(SIDE // 4), second, two, two, third, *[last] * 7)
    head = 1000 * c + 1000, 1000 * c
    counted = analyzer.count(f"msvit-10-{width}")
    assert counted.parameters == parameters == sum(p for p, _ in parts) + head[0]
    # The classifier reads the mean over time, once.
    assert counted.totals["dense_macs"] == T * sum(w for _, w in parts) + head[1]


@pytest.mark.parametrize(("name", "tokens"), [("statten-8-768", 196), ("statten-2-512", 64)])
def test_statten_is_sdt_with_two_products_of_attention(name, tokens):
    other = name.replace("statten", "sdt")
    ours, base = analyzer.count(name), analyzer.count(other)
    config = models.build(name, embed_dim=64).config
    dim, heads = int(name.rpartition("-")[2]), config.heads
    more = config.depth * products(dim, heads, tokens) * T
    assert ours.parameters == base.parameters
    assert ours.totals["dense_macs"] == base.totals["dense_macs"] + more
    assert models.build(name, embed_dim=64).state_dict().keys() == (
        models.build(other, embed_dim=64).state_dict().keys()
    )


def test_attention_of_statten_sees_the_timesteps_of_its_chunk_alone():
    """Against a loop over chunks and pairs of tokens, with spikes that are known."""
    torch.manual_seed(0)
    attention = BlockAttention(8, heads=2, chunk=2).double().eval()
    spikes = [(torch.rand(4, 3, 8, 2, 2) < 0.5).double() for _ in range(3)]
    seen = []
    for unit, given in zip((attention.q, attention.k, attention.v), spikes, strict=True):
        unit.register_forward_hook(lambda *_, given=given: given)
    attention.neuron.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    attention(torch.zeros(4, 3, 8, 2, 2).double())
    q, k, v = (x.flatten(3).unflatten(2, (2, 4)) for x in spikes)  # [T, B, h, d, N]
    expected = torch.zeros_like(q)
    for t in range(4):
        for other in (t // 2 * 2, t // 2 * 2 + 1):
            scores = torch.einsum("bhdn,bhdm->bhnm", q[t], k[other]) / 2
            expected[t] += torch.einsum("bhnm,bhdm->bhdn", scores, v[other])
    torch.testing.assert_close(seen[0], expected.flatten(2, 3).unflatten(-1, (2, 2)))


def test_a_chunk_that_does_not_divide_the_timesteps_is_refused():
    with pytest.raises(AnalyzerError, match="a chunk that divides its timesteps, got 2 and 3"):
        models.build("statten-8-768", timesteps=3)


@pytest.mark.parametrize(
    "name", ["max-former-10-384", "msvit-10-384", "statten-8-768", "sdt-v3-173m"]
)
def test_the_counter_of_torch_finds_the_same_work(name):
    model = small(name)
    image = image_of(model, 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert 2 * analyzer.count(model, tuple(image.shape[1:])).totals["dense_macs"] == (
        counter.get_total_flops()
    )


def test_the_mask_of_msvit_is_fired_by_both_scales():
    """A token whose own queries are silent still passes if those of its neighbours are not."""
    model = small("msvit-10-384")
    warm(model, image_of(model, 2))
    attention = model.blocks[0].attention
    heads, tokens = attention.heads, 4
    zeros = torch.zeros(2, 1, 32, tokens)
    wide = zeros.clone()
    wide[:, :, :, 1] = 1
    ones = torch.ones_like(zeros)
    for unit, given in ((attention.q, zeros), (attention.k, ones), (attention.neighbours, wide)):
        unit.register_forward_hook(lambda *_, given=given: given)
    seen = []
    attention.projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    attention(torch.zeros(2, 1, 32, 2, 2))
    assert heads == 2
    assert torch.equal(seen[0], wide)
