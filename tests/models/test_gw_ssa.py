"""GW-SSA, the attention of Ge²mS-T, against dense attention under a block-diagonal mask."""

import math

import pytest
import torch

from analyzer.errors import AnalyzerError
from analyzer.models.expg_if import ExpGIF, GroupedCoding, set_form
from analyzer.models.gw_ssa import GroupWiseAttention, WindowAttention


def as_it_is(u):
    return u


def masked_dense_attention(q, k, v, heads, window):
    """Q·Kᵀ·V over all tokens, scores between different windows set to zero; float64.

    Scaled by four over the power of two nearest to N·d.
    """
    B, C, H, W = q.shape
    tokens = [t.double().flatten(2).view(B, heads, C // heads, H * W).mT for t in (q, k, v)]
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    cell = (y // window * W + x // window).flatten()
    window_tokens = int((cell == cell[0]).sum())
    mask = (cell[:, None] == cell[None, :]).double()
    out = (tokens[0] @ tokens[1].mT * mask) @ tokens[2]
    bits = round(math.log2(window_tokens * C / heads))
    return (out.mT.reshape(B, C, H, W) * 4 / 2**bits).float()


@pytest.mark.parametrize("coding", [GroupedCoding(2, 2), GroupedCoding(1, 3), GroupedCoding(4, 1)])
@pytest.mark.parametrize(
    ("channels", "heads", "window"),
    [(16, 2, 2), (16, 2, 4), (16, 4, 8), (8, 8, 2), (32, 1, 4)],
    ids=["n<d", "n>d", "whole map", "one channel a head", "one head"],
)
def test_both_forms_equal_masked_dense_attention(coding, channels, heads, window):
    generator = torch.Generator().manual_seed(0)
    spikes = [
        (torch.rand(coding.timesteps, 3, channels, 8, 8, generator=generator) < 0.4).float()
        for _ in range(3)
    ]
    levels = [coding.charge(s) for s in spikes]
    attention = WindowAttention(heads, window)
    expected = masked_dense_attention(*levels, heads, window)
    assert expected.max() > 0
    assert torch.equal(attention(*levels, as_it_is), expected)
    assert torch.equal(attention(*spikes, coding.charge), expected)


def test_no_window_is_one_window_over_the_map():
    levels = [torch.randint(0, 7, (2, 8, 4, 6)).float() for _ in range(3)]
    whole = WindowAttention(2, None)(*levels, as_it_is)
    assert torch.equal(whole, masked_dense_attention(*levels, 2, 6))


@pytest.mark.parametrize(("channels", "window"), [(32, 4), (8, 4)], ids=["(qkᵀ)v", "q(kᵀv)"])
def test_each_product_has_a_binary_operand_and_the_cheaper_order(channels, window):
    from torch.utils._python_dispatch import TorchDispatchMode

    products = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.bmm.default:
                binary = [bool(((t == 0) | (t == 1)).all()) for t in args]
                b, n, k = args[0].shape
                products.append((any(binary), b * n * k * args[1].shape[-1]))
            return func(*args, **(kwargs or {}))

    coding = GroupedCoding(2, 2)
    q, k, v = ((torch.rand(4, 2, channels, 8, 8) < 0.5).float() for _ in range(3))
    with Products():
        WindowAttention(1, window)(q, k, v, coding.charge)
    tokens, windows = window**2, (8 // window) ** 2
    cheaper = min(tokens, channels)
    assert [binary for binary, _ in products] == [True, True]
    assert sum(work for _, work in products) == 4 * 2 * windows * 2 * tokens * channels * cheaper


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_whole_module_is_bit_identical_in_both_forms_with_dyadic_weights(training):
    torch.manual_seed(0)
    module = GroupWiseAttention(32, 4, (2, 8), lambda: ExpGIF(GroupedCoding(2, 2))).train(training)
    with torch.no_grad():
        for layer in (module.qkv, module.projection):
            layer.conv.weight.copy_(torch.randint(-64, 65, layer.conv.weight.shape) / 64)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    x = torch.randn(2, 32, 8, 8)
    results = []
    for form in ("training", "inference"):
        module.load_state_dict(state)
        set_form(module, form)
        results.append(module(x))
    assert torch.equal(*results)
    assert results[0].std() > 0


def test_heads_of_one_scale_do_not_see_beyond_their_window():
    attention = WindowAttention(2, 4)
    q, k, v = (torch.randint(0, 7, (1, 8, 8, 8)).float() for _ in range(3))
    before = attention(q, k, v, as_it_is)
    k[..., :4, :4] = 0
    after = attention(q, k, v, as_it_is)
    changed = (before != after).any(1)[0]
    assert changed[:4, :4].any()
    assert not changed[4:].any()
    assert not changed[:, 4:].any()


@pytest.mark.parametrize("size", [(6, 6), (5, 9), (3, 3), (8, 5)])
def test_a_map_that_windows_do_not_divide_is_padded_with_silence(size):
    levels = [torch.randint(0, 7, (2, 8, *size)).float() for _ in range(3)]
    attended = WindowAttention(2, 4)(*levels, as_it_is)
    whole = masked_dense_attention(*levels, 2, 4)
    assert attended.shape == levels[0].shape
    assert torch.equal(attended, whole)


def test_heads_that_scales_do_not_share_evenly_are_refused():
    with pytest.raises(AnalyzerError, match="3 heads"):
        GroupWiseAttention(12, 3, (2, 4), lambda: ExpGIF(GroupedCoding()))
