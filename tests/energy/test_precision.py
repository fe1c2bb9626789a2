"""Number formats and widths: by hand from the tables of the technologies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.facts.values import Values

FAST = settings(max_examples=60, deadline=None, derandomize=True)


def dense(weights=None, dtype=torch.float32):
    torch.manual_seed(0)
    net = nn.Linear(8, 4, bias=False, dtype=dtype).eval()
    if weights is not None:
        with torch.no_grad():
            net.weight.copy_(weights * torch.arange(32).reshape(4, 8).remainder(2).mul(2).sub(1))
    return analyzer.profile(net, torch.rand(2, 8, dtype=dtype) + 0.1)


@pytest.mark.parametrize(
    ("precision", "multiply", "add"),
    [
        ("w8a8s8", 0.2, 0.03),
        ("w8a8s16", 0.2, 0.05),
        ("w8a8", 0.2, 0.1),
        ("w4a8", 0.1, 0.1),
        ("w4a4s24", 0.05, 0.075),
        ("w32a32", 3.1, 0.1),
        ("w16a16", 0.2 + (256 - 64) / (1024 - 64) * 2.9, 0.1),
        ("w1a8s4", 0.025, 0.015),
        ("int8", 0.2, 0.03),
        ("fp16", 1.1, 0.4),
    ],
)
def test_widths_of_operands(precision, multiply, add):
    report = dense().energy(precision=precision)
    assert report.total_pj == pytest.approx(32 * (multiply + add))
    assert (report.precision, report.between) == (precision, precision.startswith("w"))
    assert sum(report.constants.values()) == pytest.approx(multiply + 2 * add)


@FAST
@given(st.integers(1, 32), st.integers(1, 32), st.integers(1, 31))
def test_wider_never_costs_less(weight, activation, total):
    profile = PROFILE
    one = profile.energy(precision=f"w{weight}a{activation}s{total}").total_pj
    assert profile.energy(precision=f"w{weight}a{activation}s{total + 1}").total_pj > one
    assert profile.energy(precision=f"w{activation}a{weight}s{total}").total_pj == one
    if weight < 32:
        more = profile.energy(precision=f"w{weight + 1}a{activation}s{total}").total_pj
        assert more > one


PROFILE = dense()


def test_weights_as_wide_as_they_were_seen_to_be():
    """Levels of ±3 take three bits, of ±1 two; reals have no width."""
    for weights, bits in ((3.0, 2), (torch.tensor([0.5, 1.5] * 4), 3)):
        profile = dense(weights)
        assert profile.rows["weight_bits"].tolist() == [bits]
        report = profile.energy(precision="a8s16")
        assert report.total_pj == pytest.approx(32 * (0.2 * bits * 8 / 64 + 0.05))
        assert list(report.constants) == ["ac_pj", f"mac_{bits}x8_pj"]
    assert PROFILE.rows["weight_bits"].isna().all()
    with pytest.raises(AnalyzerError, match="no width of them: give one, such as w8a8"):
        PROFILE.energy(precision="a8")


@FAST
@given(st.integers(-255, 0), st.integers(0, 255))
def test_bits_hold_every_level(low, high):
    bits = Values(1.0, low, high).bits
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if low < 0 else (0, 2**bits - 1)
    assert least <= low <= high <= most
    if bits > 1 + (low < 0):
        least, most = (least // 2, most // 2)
        assert not least <= low <= high <= most


def test_products_of_activations_have_no_weights():
    class Attention(nn.Module):
        def forward(self, x):
            return x @ x.mT

    profile = analyzer.profile(Attention().eval(), torch.rand(1, 4, 8) + 0.1)
    assert profile.energy(precision="w2a8").total_pj == pytest.approx(4 * 4 * 8 * 0.3)


@pytest.mark.parametrize(
    ("dtype", "price"), [(torch.float32, 4.6), (torch.float16, 1.5), (torch.float64, None)]
)
def test_the_format_that_the_model_computed_in(dtype, price):
    profile = dense(dtype=dtype)
    if price is None:
        with pytest.raises(AnalyzerError, match="no addition in 'fp64'"):
            profile.energy(precision="auto")
        return
    report = profile.energy(precision="auto")
    assert report.total_pj == pytest.approx(32 * price)
    assert not any("measured in" in note for note in report.notes)


@pytest.mark.parametrize(
    ("technology", "precision", "message"),
    [
        ("45nm", "w64a8", None),
        ("45nm", "w64a64", "no integers that wide under .multiply_pj.: it knows int8, int32"),
        ("45nm", "w8a8s64", "no integers that wide under .add_pj."),
        ("32nm", "w8a8", "it knows none"),
        ("45nm", "a", "no addition in 'a'"),
    ],
)
def test_widths_that_a_technology_has_not(technology, precision, message):
    if message is None:  # an array of 512 is within that of 32 × 32
        assert PROFILE.energy(technology, precision=precision).total_pj > 0
        return
    with pytest.raises(AnalyzerError, match=message):
        PROFILE.energy(technology, precision=precision)


def test_weights_that_need_no_multiplier(tmp_path):
    path = tmp_path / "ternary.toml"
    path.write_text(
        'name = "ternary"\ntitle = "t"\nsource = "me"\nsummary = "s"\n'
        'driving = ["binary"]\nadditive_weights = ["binary", "ternary"]\n'
    )
    rows = dense(3.0).operations(str(path))
    assert rows[["ac", "mac"]].to_numpy().tolist() == [[64, 0]]
    rows = PROFILE.operations(str(path))
    assert rows[["ac", "mac"]].to_numpy().tolist() == [[0, 64]]
    path.write_text(path.read_text().replace('"ternary"]', '"thin"]'))
    with pytest.raises(AnalyzerError, match=r"additive_weights\[1\] = 'thin'"):
        PROFILE.operations(str(path))


def test_published_rates_have_layers_too():
    rows = [{"module": "a", "op": "linear", "dense_macs": 10, "firing_rate": 1, "driven": 0}]
    rated = analyzer.from_rates(rows)
    found = [rated.energy(convention="rate", precision=f"w{w}a8").total_pj for w in (1, 4, 8)]
    assert found == pytest.approx([10 * (0.1 + 0.2 * w / 8) for w in (1, 4, 8)])
    for precision, message in (("a8", "no width of them"), ("w0a8", "no addition in 'w0a8'")):
        with pytest.raises(AnalyzerError, match=message):
            rated.energy(convention="rate", precision=precision)
