"""Attention in every kernel, against the brute-force oracle and written out by hand."""

import pytest
import torch
from oracles import counted, rows, watch
from rule_checks import Call, agree, model_of, real, spikes, sums, values
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import analyzer
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.schema import exists

MASKS = {
    "none": None,
    "full": (5, 6),
    "heads": (2, 3, 5, 6),
    "keys": (2, 1, 1, 6),
    "one-row": (1, 6),
    "queries": (5, 1),
}


@pytest.mark.parametrize("shape", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("additive", [False, True], ids=["boolean", "additive"])
@pytest.mark.parametrize("kind", ["binary", "graded", "real"])
def test_attention_with_masks(shape, additive, kind):
    """A mask that broadcasts over queries was counted as if there were a single query."""
    mask = None
    if shape is not None:
        mask = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.6
        mask[..., 0] = True
    if additive and mask is not None:
        mask = torch.zeros(shape).masked_fill(~mask, -torch.inf)
    model = Call(lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    q = values(kind, 2, 3, 5, 8)
    k, v = (values("binary", 2, 3, 6, 8, seed=s) for s in (1, 2))
    profile = agree(model, q, k, v)
    assert list(profile.operations()["op"]) == ["attention_qk", "attention_av"]


@pytest.mark.parametrize("kind", ["binary", "graded", "real"])
def test_causal_attention_counts_queries_times_keys_in_full(kind):
    model = Call(lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    profile = agree(model, values(kind, 2, 3, 6, 8))
    assert list(profile.operations()["dense_macs"]) == [2 * 3 * 6 * 6 * 8] * 2


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("kind", ["binary", "graded", "real"])
def test_fused_attention_counts_what_the_written_out_one_does(kind, causal):
    """Masked products were left out of fused attention only, so totals hung on the backend."""

    def by_hand(m, q, k, v):
        scores = q @ k.mT / 8**0.5
        if causal:
            scores = scores.masked_fill(~torch.ones(6, 6).tril().bool(), -torch.inf)
        return scores.softmax(-1) @ v

    def fused(m, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def plain(m, q, k, v):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    inputs = (*(values("real", 2, 3, 6, 8, seed=s) for s in (1, 2)), values(kind, 2, 3, 6, 8))
    totals = [analyzer.profile(Call(f).eval(), inputs).totals for f in (by_hand, fused, plain)]
    for key in ("dense_macs", "events", "ac", "mac", "mac_events"):
        assert len({t[key] for t in totals}) == 1, (key, [t[key] for t in totals])


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_attention_of_weights_alone_is_no_activity_under_any_mask(causal):
    """The mask that stands for ``is_causal`` was taken for something computed from the input."""

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 3, 6, 8))

        def forward(self, x):
            return x + F.scaled_dot_product_attention(self.w, self.w, self.w, is_causal=causal)

    profile = analyzer.profile(Positions().eval(), values("real", 2, 3, 6, 8))
    each_sample = 2 * 3 * 6 * 6 * 8
    assert {row: figures for row, figures in counted(profile).items() if figures[0]} == {
        ("", "attention_qk", ""): (2 * each_sample, 2 * each_sample, 0),
        ("", "attention_av", ""): (2 * each_sample, 2 * each_sample, 0),
    }


def test_attention_of_three_axes_takes_another_backend_and_counts_the_same():
    x = values("binary", 6, 5, 8)
    model = Call(lambda m, x: F.scaled_dot_product_attention(x, x, x))
    three = analyzer.profile(model.eval(), x).totals
    four = analyzer.profile(model, x.view(2, 3, 5, 8)).totals
    assert [three[k] for k in ("dense_macs", "events")] == [
        four[k] for k in ("dense_macs", "events")
    ]


MASK = torch.tensor(
    [[1, 0, 0, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]
).bool()

ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "bool-mask": {"attn_mask": MASK},
    "additive-mask": {"attn_mask": torch.zeros(5, 5).masked_fill(~MASK, -torch.inf)},
    "mask-of-heads": {"attn_mask": MASK.repeat(2, 4, 1, 1) ^ (torch.arange(5) == 3)},
    "grouped": {"enable_gqa": True},
    "scaled": {"scale": 0.5},
}


@pytest.mark.parametrize("shape", [(2, 4, 5, 8), (0, 4, 5, 8)], ids=["batch", "empty"])
@pytest.mark.parametrize("kind", ["spikes", "real"])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("settings", ATTENTION.values(), ids=ATTENTION)
def test_attention_in_every_kernel(settings, backend, kind, shape):
    """The mathematical kernel shows two products, the fused one is taken apart."""
    if "attn_mask" in settings and settings["attn_mask"].ndim == 4 and not shape[0]:
        settings = {"attn_mask": settings["attn_mask"][:0]}
    q, k, v = ((spikes if kind == "spikes" else real)(*shape, seed=s) for s in range(3))
    if "enable_gqa" in settings:
        k, v = k[:, :2], v[:, :2]
    model = model_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **settings))
    theirs = model
    if "enable_gqa" in settings:  # each key head meets two query heads
        theirs = model_of(
            lambda q, k, v: F.scaled_dot_product_attention(
                q, *(x.repeat_interleave(2, 1) for x in (k, v))
            )
        )
    with sdpa_kernel([backend, SDPBackend.MATH]):
        profile = analyzer.profile(model, (q, k, v))
        expected = rows(watch(theirs, q, k, v))
    assert profile.uncovered.empty
    assert sums(counted(profile)) == sums(expected)


KERNELS = [name for name in default_rules().products if name.startswith("_scaled_dot_product")]
SCHEMAS = {
    f"{name}.{overload}": getattr(getattr(torch.ops.aten, name), overload)._schema
    for name in KERNELS
    for overload in getattr(torch.ops.aten, name).overloads()
}


def takes_mask(schema):
    return any(a.name in ("attn_mask", "attn_bias") for a in schema.arguments)


MASKED = [(name, masked) for name in SCHEMAS for masked in (False, True)]
MASKED = [(name, masked) for name, masked in MASKED if not masked or takes_mask(SCHEMAS[name])]


def call_of(schema, given, by_keyword):
    """Positional and keyword arguments of a call, without those left at their defaults."""
    named = {a.name: given[a.name] for a in schema.arguments if a.name in given}
    positions = [] if by_keyword else [a.name for a in schema.arguments if not a.kwarg_only]
    args = []
    for key in positions:
        if key not in named:
            break
        args.append(named.pop(key))
    return tuple(args), named


@pytest.mark.parametrize("by_keyword", [False, True], ids=["positional", "keyword"])
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("kernel", "masked"), MASKED)
def test_masks_and_flags_are_read_by_their_names(kernel, masked, causal, by_keyword):
    """Also of kernels that only GPUs have; scales of 8 bits stand between operands and flags."""
    schema, name = SCHEMAS[kernel], kernel.partition(".")[0]
    q, k, v = (real(1, 2, 5, 8, seed=s) for s in range(3))
    bias = torch.zeros(5, 5).masked_fill(~MASK, -torch.inf)[None, None] if masked else None
    given = {
        "query": q, "key": k, "value": v, "attn_mask": bias, "attn_bias": bias,
        "q_descale": torch.ones(1), "k_descale": torch.ones(1), "v_descale": torch.ones(1),
        "compute_log_sumexp": not causal, "dropout_p": 0.0, "is_causal": causal,
    }  # fmt: skip
    args, kwargs = call_of(schema, given, by_keyword)
    rules = default_rules()
    scores, mixed = rules.products[name](args, kwargs, None)
    expected = None
    if masked or causal:
        triangle = torch.ones(5, 5).tril().bool() if causal else torch.ones(5, 5).bool()
        expected = (triangle & MASK if masked else triangle).tolist()
    allowed = mixed.geometry.allowed
    assert (None if allowed is None else allowed.squeeze().tolist()) == expected
    assert scores.lhs.equal(q)
    assert mixed.rhs.equal(v)
    assert bias is None or any(x is bias for x in mixed.lhs_from)
    # Two heads of 5 × 5 scores: sums, differences from maxima, and the mask.
    assert rules.works[name](args, None, kwargs).adds == 40 + 50 + (50 if masked else 0)


def test_there_are_rules_for_every_kernel_of_this_pytorch():
    assert len(KERNELS) == 5
    assert not exists("_scaled_dot_product_of_no_pytorch")


FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
CALLED = {
    "plain": (lambda q, k, v: FLASH(q, k, v)[0], {}),
    "causal": (lambda q, k, v: FLASH(q, k, v, 0.0, True)[0], {"is_causal": True}),
    "causal-keyword": (lambda q, k, v: FLASH(q, k, v, is_causal=True)[0], {"is_causal": True}),
    "mask": (
        lambda q, k, v: FLASH(q, k, v, 0.0, False, attn_mask=additive(q))[0],
        {"attn_mask": MASK},
    ),
    "keywords": (
        lambda q, k, v: FLASH(query=q, value=v, key=k, attn_mask=additive(q), scale=0.5)[0],
        {"attn_mask": MASK},
    ),
    "positional-mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, MASK, 0.0, False),
        {"attn_mask": MASK},
    ),
}


def additive(q):
    return torch.zeros(5, 5, dtype=q.dtype).masked_fill(~MASK, -torch.inf)


@pytest.mark.parametrize("inference", [False, True], ids=["plain-mode", "inference-mode"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("function", "settings"), CALLED.values(), ids=CALLED)
def test_the_kernel_of_cpus_however_it_is_called(function, settings, dtype, inference):
    q, k, v = (spikes(2, 4, 5, 8, seed=s).to(dtype) for s in range(3))
    plain = model_of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **settings))
    expected = rows(watch(plain, q, k, v))
    with torch.inference_mode(inference):
        profile = analyzer.profile(model_of(function), (q, k, v))
    assert profile.uncovered.empty
    assert counted(profile) == expected


def test_a_call_that_no_overload_takes_is_refused():
    rule = default_rules().products["_scaled_dot_product_flash_attention_for_cpu"]
    with pytest.raises(analyzer.AnalyzerError, match="no overload of aten::_scaled_dot_product"):
        rule((real(1, 2, 5, 8),) * 2, {}, None)
