"""Every operation that the engine covers, against the brute-force oracle and published figures."""

import warnings

import pytest
import torch
from oracles import conv2d_by_loops, counted, matmul_by_loops, rows, watch
from torch import nn
from torch.nn import functional as F

import analyzer


class Call(nn.Module):
    """A function as a model, with the modules or parameters it needs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    def forward(self, *args):
        return self.function(self, *args)


def values(kind, *shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    fire = (torch.rand(*shape, generator=g) < 0.2).float()
    sign = torch.randint(0, 2, shape, generator=g) * 2 - 1
    level = torch.randint(0, 5, shape, generator=g).float()
    real = torch.randn(*shape, generator=g)
    return {
        "zero": torch.zeros(shape),
        "negative-zero": -torch.zeros(shape),
        "binary": fire,
        "scaled": fire * 0.3,
        "negative": fire * -1.5,
        "ones": torch.ones(shape),
        "ternary": fire * sign,
        "ternary-scaled": fire * sign * 0.7,
        "graded": level,
        "graded-signed": level * sign,
        "quarters": level / 4,
        "ninths": level / 9,
        "even": level * 2,
        "one-level-of-two": fire * 2 + fire.roll(1) * 2,
        "levels-255": torch.randint(0, 256, shape, generator=g).float(),
        "levels-256": torch.arange(257.0)
        .repeat(fire.numel() // 257 + 1)[: fire.numel()]
        .view(shape),
        "real": real,
        "real-sparse": real * fire,
        "two-reals": fire + fire.roll(1) * 0.31830989,
    }[kind]


KINDS = [
    ("zero", "zero"),
    ("negative-zero", "zero"),
    ("binary", "binary"),
    ("scaled", "binary"),
    ("negative", "binary"),
    ("ones", "binary"),
    ("ternary", "ternary"),
    ("ternary-scaled", "ternary"),
    ("graded", "graded"),
    ("graded-signed", "graded"),
    ("quarters", "graded"),
    ("ninths", "graded"),
    ("even", "graded"),
    ("one-level-of-two", "graded"),
    ("levels-255", "graded"),
    ("levels-256", "real"),
    ("real", "real"),
    ("real-sparse", "real"),
    ("two-reals", "real"),
]


def agree(model, *args):
    """The profile and the oracle agree row by row; returns the profile."""
    model.eval()
    expected = rows(watch(model, *args))
    profile = analyzer.profile(model, args)
    assert counted(profile) == expected
    assert expected
    assert profile.uncovered.empty
    return profile


@pytest.mark.parametrize(("kind", "expected"), KINDS, ids=[k for k, _ in KINDS])
@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_value_classes(kind, expected, layer):
    if layer == "linear":
        model, x = nn.Linear(24, 7), values(kind, 5, 13, 24)
    else:
        model, x = nn.Conv2d(6, 4, 3, padding=1), values(kind, 3, 6, 12, 12)
    profile = agree(model, x)
    assert set(profile.operations()["input_class"]) == {expected}


@pytest.mark.parametrize("left", ["zero", "binary", "ternary-scaled", "graded", "quarters", "real"])
@pytest.mark.parametrize("right", ["zero", "scaled", "negative", "graded", "ninths", "real-sparse"])
def test_pairs_of_activations(left, right):
    """One driving operand skips only its own zeros; two, or none, skip the zeros of both."""
    model = Call(lambda m, a, b: a @ b)
    agree(model, values(left, 2, 3, 5, 7), values(right, 2, 3, 7, 4, seed=1))


LINEAR = {
    "1d": ((12,), True),
    "1d-no-bias": ((12,), False),
    "2d": ((5, 12), True),
    "2d-no-bias": ((5, 12), False),
    "3d": ((2, 5, 12), True),
    "4d": ((2, 3, 4, 12), False),
    "empty": ((0, 12), True),
}


@pytest.mark.parametrize(("shape", "bias"), LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize("kind", ["binary", "graded", "real-sparse"])
def test_linear_of_any_rank(shape, bias, kind):
    agree(nn.Linear(12, 7, bias=bias), values(kind, *shape))


CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 11)),
    "2d": (nn.Conv2d(4, 6, 3), (2, 4, 9, 8)),
    "2d-bias-padded": (nn.Conv2d(4, 6, 3, padding=1, bias=True), (2, 4, 9, 8)),
    "1x1": (nn.Conv2d(4, 6, 1), (2, 4, 9, 8)),
    "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 8)),
    "stride-beyond-kernel": (nn.Conv2d(4, 6, 2, stride=3), (2, 4, 9, 8)),
    "asymmetric": (
        nn.Conv2d(4, 6, (5, 3), stride=(3, 1), padding=(2, 0), dilation=(1, 2)),
        (2, 4, 17, 11),
    ),
    "padding-beyond-kernel": (nn.Conv2d(4, 6, 2, padding=3), (2, 4, 5, 5)),
    "kernel-beyond-input": (nn.Conv2d(4, 6, 5, padding=2), (2, 4, 2, 3)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=1), (2, 4, 9, 8)),
    "depthwise-multiplier": (nn.Conv2d(4, 12, 3, groups=4), (2, 4, 9, 8)),
    "same-even": (nn.Conv2d(4, 6, 4, padding="same"), (2, 4, 9, 8)),
    "same-dilated": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 8)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 8)),
    "reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 8)),
    "unbatched": (nn.Conv2d(4, 6, 3, padding=1), (4, 9, 8)),
    "empty": (nn.Conv2d(4, 6, 3, padding=1), (0, 4, 9, 8)),
    "3d": (nn.Conv3d(2, 3, 3, padding=1, stride=(1, 2, 1)), (2, 2, 5, 6, 4)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (2, 4, 5, 6)),
    "transposed-output-padding": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        (2, 4, 5, 6),
    ),
    "transposed-groups": (nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2), (2, 4, 7)),
    "transposed-dilated": (nn.ConvTranspose2d(4, 2, 3, dilation=2, padding=2), (2, 4, 5, 6)),
    "transposed-3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 4, 3)),
}


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["binary", "graded-signed", "real-sparse"])
def test_convolutions(layer, shape, kind):
    agree(layer, values(kind, *shape))


@pytest.mark.parametrize("kind", ["binary", "graded"])
def test_channels_last(kind):
    x = values(kind, 2, 4, 9, 8)
    plain = agree(nn.Conv2d(4, 6, 3, padding=1), x)
    last = agree(
        nn.Conv2d(4, 6, 3, padding=1).to(memory_format=torch.channels_last),
        x.to(memory_format=torch.channels_last),
    )
    assert plain.counts.equals(last.counts)


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize(
    ("left", "right"),
    [("binary", "binary"), ("graded", "scaled"), ("real", "binary"), ("ninths", "graded")],
    ids=lambda kind: kind,
)
def test_convolution_with_a_computed_kernel(left, right, transposed):
    """The second operand is an activation: it drives, or pairs count."""
    function = F.conv_transpose2d if transposed else F.conv2d
    shape = (6, 2, 3, 3) if transposed else (4, 3, 3, 3)
    model = Call(lambda m, x, w: function(x, w, stride=2, padding=1, groups=2))
    agree(model, values(left, 2, 6, 7, 8), values(right, *shape, seed=1))


PRODUCTS = {
    "mm": (lambda m, a, b: a @ b, (5, 7), (7, 3)),
    "mv": (lambda m, a, b: a @ b, (5, 7), (7,)),
    "vm": (lambda m, a, b: a @ b, (7,), (7, 3)),
    "dot": (lambda m, a, b: torch.dot(a, b), (7,), (7,)),
    "bmm": (lambda m, a, b: torch.bmm(a, b), (4, 5, 7), (4, 7, 3)),
    "4d": (lambda m, a, b: a @ b, (2, 3, 5, 7), (2, 3, 7, 4)),
    "4d-x-2d": (lambda m, a, b: a @ b, (2, 3, 5, 7), (7, 4)),
    "2d-x-4d": (lambda m, a, b: a @ b, (5, 7), (2, 3, 7, 4)),
    "4d-x-1d": (lambda m, a, b: a @ b, (2, 3, 5, 7), (7,)),
    "broadcast": (lambda m, a, b: a @ b, (2, 1, 5, 7), (3, 7, 4)),
    "transposed": (lambda m, a, b: a @ b.mT, (2, 3, 5, 7), (2, 3, 4, 7)),
    "addmm": (
        lambda m, a, b: torch.addmm(torch.ones(5, 3), a, b, beta=0.5, alpha=2.0),
        (5, 7),
        (7, 3),
    ),
    "baddbmm": (
        lambda m, a, b: torch.baddbmm(torch.ones(4, 5, 3), a, b, alpha=0.5),
        (4, 5, 7),
        (4, 7, 3),
    ),
    "addmv": (lambda m, a, b: torch.addmv(torch.ones(5), a, b), (5, 7), (7,)),
    "addbmm": (lambda m, a, b: torch.addbmm(torch.ones(5, 3), a, b), (4, 5, 7), (4, 7, 3)),
    "einsum-attention": (
        lambda m, a, b: torch.einsum("bhnd,bhmd->bhnm", a, b),
        (2, 3, 5, 7),
        (2, 3, 4, 7),
    ),
    "einsum-2d": (lambda m, a, b: torch.einsum("bij,jk->bik", a, b), (2, 5, 7), (7, 4)),
    "einsum-summed": (lambda m, a, b: torch.einsum("tbcn,dc->tbdn", a, b), (2, 3, 5, 4), (6, 5)),
    "tensordot": (lambda m, a, b: torch.tensordot(a, b, dims=2), (5, 3, 7), (3, 7, 4)),
    "inner": (lambda m, a, b: torch.inner(a, b), (5, 7), (3, 7)),
    "out": (lambda m, a, b: torch.mm(a, b, out=torch.empty(5, 3)), (5, 7), (7, 3)),
    "no-rows": (lambda m, a, b: a @ b, (0, 7), (7, 3)),
    "no-inner": (lambda m, a, b: a @ b, (5, 0), (0, 3)),
}


@pytest.mark.parametrize(("function", "left", "right"), PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("kinds", ["binary-real", "binary-binary", "graded-binary", "real-graded"])
def test_products(function, left, right, kinds):
    first, second = kinds.split("-")
    agree(Call(function), values(first, *left), values(second, *right, seed=1))


@pytest.mark.parametrize("kind", ["binary", "graded", "real-sparse"])
@pytest.mark.parametrize(
    "function",
    [lambda m, x: F.linear(x, m.w), lambda m, x: x @ m.w.T, lambda m, x: (m.w @ x.T).T],
    ids=["F.linear", "x@w", "w@x"],
)
def test_functions_with_a_parameter_are_linear_layers(function, kind):
    profile = agree(Call(function, w=torch.randn(7, 12)), values(kind, 5, 12))
    assert list(profile.operations()["op"]) == ["linear"]


def test_functional_convolution_with_a_parameter():
    model = Call(lambda m, x: F.conv2d(x, m.w, padding=1), w=torch.randn(6, 4, 3, 3))
    agree(model, values("binary", 2, 4, 9, 8))


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


DTYPES = {
    "half": torch.half,
    "bfloat16": torch.bfloat16,
    "double": torch.double,
    "int64": torch.int64,
    "int8": torch.int8,
    "uint8": torch.uint8,
}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("kind", ["binary", "graded"])
def test_dtypes(dtype, kind):
    a, b = values(kind, 6, 20).to(dtype), values("binary", 20, 9, seed=1).to(dtype)
    agree(Call(lambda m, a, b: a @ b), a, b)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double], ids=str)
def test_layers_in_other_floats(dtype):
    agree(nn.Linear(12, 5).to(dtype), values("binary", 4, 12).to(dtype))
    agree(nn.Conv2d(4, 5, 3, padding=1).to(dtype), values("graded", 2, 4, 7, 7).to(dtype))


def test_bool_spikes_are_counted_after_their_conversion():
    agree(
        Call(lambda m, x: m.layer(x.float()), layer=nn.Linear(12, 5)), values("binary", 4, 12) > 0
    )


@pytest.mark.parametrize(
    ("shape", "out", "events"),
    [((512, 1024), 128, 33_511_424), ((1024, 768), 32, 17_617_689)],
    ids=["power-of-two", "odd"],
)
def test_totals_beyond_float32(shape, out, events):
    """A sum of ones in float32 stops at 2**24."""
    x = torch.zeros(shape)
    x.view(-1)[: events // out] = 1
    totals = analyzer.profile(nn.Linear(shape[1], out).eval(), x).totals
    assert totals["events"] == events // out * out
    assert totals["dense_macs"] == shape[0] * shape[1] * out


def test_half_precision_pairs_beyond_the_range_of_half():
    """Summing spike pairs in half precision overflows at 65504."""
    a, b = torch.ones(8, 200, 64).half(), torch.ones(8, 64, 150).half()
    a[0] = 0
    totals = analyzer.profile(Call(lambda m, a, b: a @ b).eval(), (a, b)).totals
    assert totals["events"] == 7 * 200 * 64 * 150


def test_close_large_integers_are_no_spikes():
    """2**24 and 2**24 + 1 compared in float32 looked like one level, and 2**60 + 1 like 2**60."""
    for least in (2**24, 2**60):
        x = torch.tensor([[0, least, least + 1]])
        model = Call(lambda m, a, b: a @ b).eval()
        profile = analyzer.profile(model, (x, torch.ones(3, 2, dtype=torch.int64)))
        assert set(profile.operations()["input_class"]) == {"real*binary"}


def test_module_called_twice_and_in_place():
    layer = nn.Linear(8, 8)
    agree(Call(lambda m, x: m.layer((m.layer(x) > 0).float()), layer=layer), values("binary", 5, 8))

    def reuse(m, x):
        first = m.layer(x)
        x.mul_(2)
        second = m.layer(x)
        x.clamp_(max=1).add_(1)
        return first + second + m.layer(x)

    class Reuse(Call):
        def forward(self, x):
            return reuse(self, x.clone())

    profile = agree(Reuse(None, layer=layer), values("graded", 5, 8))
    assert profile.operations()["calls"].sum() == 15


def test_views_of_one_storage_are_told_apart():
    """Statistics are remembered by storage: overlapping, strided and offset views must not mix."""

    def views(m, x):
        parts = [x[:, :4], x[:, 4:], x[:, ::2], x.t()[:4].t(), x.flip(1)[:, :4], x[1:, 2:6]]
        parts += [x[:1].expand(5, 8)[:, :4], x.unfold(1, 4, 2).flatten(0, 1)]
        return sum(m.layer(p).sum() for p in parts)

    agree(Call(views, layer=nn.Linear(4, 3)), values("graded", 5, 8))
    agree(Call(views, layer=nn.Linear(4, 3)), values("binary", 5, 8))


def test_inference_mode_counts_the_same():
    """Composite operations arrive whole in inference mode."""

    def forward(m, x):
        y = m.conv(x).flatten(2)
        z = torch.einsum("bcn,bdn->bcd", (y > 0).float(), y)
        q = m.linear(z).unsqueeze(1)
        return F.scaled_dot_product_attention(q, q, q) @ m.linear.weight

    model = Call(forward, conv=nn.Conv2d(2, 6, 3, padding="same"), linear=nn.Linear(6, 6)).eval()
    x = values("binary", 3, 2, 6, 6)
    plain = agree(model, x)
    with torch.inference_mode():
        inference = analyzer.profile(model, x)
        fresh = analyzer.profile(model, x.clone())
    assert counted(inference) == counted(plain)
    assert counted(fresh) == counted(plain)


def test_scripted_layer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(12, 5))
    x = values("binary", 4, 12)
    profile = analyzer.profile(scripted.eval(), x)
    assert profile.totals["events"] == int(x.sum()) * 5
    assert profile.totals["dense_macs"] == 4 * 12 * 5


def test_autocast():
    def forward(m, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.layer(x)

    x = values("binary", 4, 12)
    profile = analyzer.profile(Call(forward, layer=nn.Linear(12, 5)).eval(), x)
    assert profile.totals["events"] == int(x.sum()) * 5


def test_weight_zeros_are_not_skipped_and_weights_never_drive():
    layer = nn.Linear(12, 5)
    layer.weight.data = (torch.rand(5, 12) < 0.5).float()
    profile = agree(layer, values("real-sparse", 4, 12))
    row = profile.operations().iloc[0]
    assert (row.input_class, row.weight_class) == ("real", "binary")
    assert row.mac == row.dense_macs == 4 * 12 * 5
    assert row.weight_nonzeros == int(layer.weight.sum())
    assert profile.totals["ac"] == 0


def test_weights_times_weights_are_no_spikes():
    """A weight of zeros and ones multiplied with another weight counted as driven by spikes."""
    model = Call(lambda m, x: x @ (m.a @ m.b), a=torch.eye(6), b=torch.randn(6, 4))
    profile = analyzer.profile(model.eval(), values("real", 5, 6))
    assert profile.totals["ac"] == 0
    # The product of weights is done in each of the five inferences.
    assert profile.totals["mac_events"] == 5 * (6 * 6 * 4 + 6 * 4)


def test_masked_weights_stay_weights():
    model = Call(lambda m, x: F.linear(x, m.w * m.mask), w=torch.randn(5, 12))
    model.register_buffer("mask", (torch.rand(5, 12) < 0.5).float())
    profile = analyzer.profile(model.eval(), values("real", 4, 12))
    assert counted(profile) == {("", "linear", "real"): (240, 240, 0)}


PUBLISHED = {
    "linear": (nn.Linear(64, 32), (8, 64), 16_384),
    "linear-3d": (nn.Linear(64, 32), (4, 8, 64), 65_536),
    "conv2d-k3p1": (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 9, 9), 69_984),
    "conv2d-1x1": (nn.Conv2d(6, 8, 1), (2, 6, 9, 9), 7_776),
    "conv2d-groups": (nn.Conv2d(6, 8, 3, padding=1, groups=2), (2, 6, 9, 9), 34_992),
    "conv2d-same-even": (nn.Conv2d(6, 8, 4, padding="same"), (2, 6, 9, 9), 124_416),
    "conv2d-unbatched": (nn.Conv2d(6, 8, 3, padding=1), (6, 9, 9), 34_992),
}


@pytest.mark.parametrize(("layer", "shape", "dense"), PUBLISHED.values(), ids=PUBLISHED)
def test_dense_work_as_other_counters_report_it(layer, shape, dense):
    from torch.utils.flop_counter import FlopCounterMode

    x = values("binary", *shape)
    with FlopCounterMode(display=False) as flops:
        layer(x)
    assert analyzer.profile(layer.eval(), x).totals["dense_macs"] == dense
    assert flops.get_total_flops() == 2 * dense


def test_the_oracle_itself_against_loops():
    x, w = values("binary", 5, 7), torch.randn(7, 3)
    (seen,) = watch(Call(lambda m, a: a @ m.w, w=w), x)
    assert (seen.dense, seen.events) == matmul_by_loops(x, w)
    settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    x, layer = values("binary", 2, 4, 6, 5), nn.Conv2d(4, 6, 3, **settings)
    (seen,) = watch(layer, x)
    assert (seen.dense, seen.events) == conv2d_by_loops(x, layer.weight, *settings.values())
