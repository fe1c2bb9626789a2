"""Value classes, dtypes, large sums and shared storages, against the oracle and other counters."""

import warnings

import pytest
import torch
from oracles import conv2d_by_loops, counted, matmul_by_loops, watch
from rule_checks import Call, agree, values
from torch import nn
from torch.nn import functional as F

import analyzer

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


@pytest.mark.parametrize(("kind", "expected"), KINDS, ids=[k for k, _ in KINDS])
@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_value_classes(kind, expected, layer):
    if layer == "linear":
        model, x = nn.Linear(24, 7), values(kind, 5, 13, 24)
    else:
        model, x = nn.Conv2d(6, 4, 3, padding=1), values(kind, 3, 6, 12, 12)
    profile = agree(model, x)
    assert set(profile.operations()["input_class"]) == {expected}


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
