"""The class of any values whatever, against set logic: dtypes, magnitudes, sizes and layouts."""

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from oracles import Seen, UndecidedError, counted, rows, value_class
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

RANDOM = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
FLOATS = {torch.float32: 32, torch.float64: 64, torch.float16: 16}
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


class Read(nn.Module):
    """A product that reads the last axis of anything."""

    def __init__(self, size, dtype):
        super().__init__()
        self.register_buffer("weight", torch.ones(size, 3).to(dtype))

    def forward(self, x):
        return x @ self.weight


def agree(*batches):
    """Class, events and unary events of batches of rows, as the oracle has them."""
    x = batches[0]
    model = Read(x.shape[-1], x.dtype).eval()
    weight = model.weight
    seen = [
        [Seen("", "linear", b, weight, (False, True), torch.matmul, 3 * b.numel())] for b in batches
    ]
    try:
        expected = rows(*seen)
    except UndecidedError:
        assume(False)
    assert counted(analyzer.profile(model, list(batches))) == expected
    return next(iter(expected))[2]


def row(values, dtype):
    return torch.tensor(values, dtype=torch.float64).to(dtype).unsqueeze(0)


@st.composite
def floats(draw):
    """Rows of a few distinct floats, of any size and sign, or of one step and its neighbours."""
    dtype = draw(st.sampled_from(list(FLOATS)))
    width = FLOATS[dtype]
    largest = float(torch.finfo(dtype).max)
    anything = st.floats(-largest, largest, width=width)
    if draw(st.booleans()):
        pool = draw(st.lists(anything, min_size=1, max_size=4))
    else:
        step = draw(st.floats(2.0**-10, 2.0**4, width=width))
        levels = draw(st.lists(st.integers(-256, 256), min_size=1, max_size=6))
        ulps = draw(st.integers(-4, 4)) * float(torch.finfo(dtype).eps)
        pool = [n * step for n in levels] + [levels[0] * step * (1 + ulps)]
        pool = [v for v in pool if abs(v) <= largest]
    values = draw(st.lists(st.sampled_from([*pool, 0.0, -0.0]), min_size=1, max_size=12))
    return row(values, dtype)


@RANDOM
@given(floats())
@example(row([5e-324, 1.0, 1e308], torch.float64))
@example(row([5e-324, 1e-323], torch.float64))
@example(row([1e-45, 1.0], torch.float32))
@example(row([1e-45, 3e-45, 0.0], torch.float32))
@example(row([3e38, -3e38], torch.float32))
@example(row([6e-8, 12e-8], torch.float16))
@example(row([-0.0], torch.float32))
@example(row([-0.0, -1.0], torch.float32))
def test_floats(x):
    agree(x)


@RANDOM
@given(st.lists(floats(), min_size=2, max_size=3))
def test_floats_in_several_batches(batches):
    """The class of all batches is that of the set of their values, in whatever order they come."""
    width = max(b.shape[1] for b in batches)
    dtype = batches[0].dtype
    batches = [nn.functional.pad(b, (0, width - b.shape[1])).to(dtype) for b in batches]
    assume(all(b.isfinite().all() for b in batches))
    assert agree(*batches) == agree(*reversed(batches)) == agree(torch.cat(batches))


@RANDOM
@given(st.data(), st.sampled_from(INTEGERS))
def test_integers(data, dtype):
    limits = torch.iinfo(dtype)
    near = st.sampled_from([0, 1, -1, limits.min, limits.max, 2**53, 2**53 + 1, 2**62, 2**24 + 1])
    anything = st.one_of(near, st.integers(limits.min, limits.max), st.integers(-3, 300))
    # The magnitude of the least int64 is no int64: it is refused, see below.
    least = max(limits.min, -(2**63) + 1)
    fits = anything.filter(lambda n: least <= n <= limits.max)
    values = data.draw(st.lists(fits, min_size=1, max_size=6))
    agree(torch.tensor([values], dtype=dtype))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**53, 0, 2**52], "graded"),
        ([2**53 + 1, 2**53], "real"),
        ([2**52, 2**51 + 1], "real"),
        ([2**62, 2**61], "graded"),
        ([2**62 + 1, 2**62], "real"),
        ([2**63 - 1, 0], "binary"),
        ([-(2**62), 2**61], "graded"),
        ([-(2**62), 2**63 - 1], "real"),
        ([1 - 2**63, 2**63 - 1], "ternary"),
    ],
    ids=str,
)
def test_large_integers_are_compared_exactly(values, expected):
    x = torch.tensor([values])
    assert value_class(x)[0] == expected
    assert agree(x) == expected


def test_the_least_integer_is_counted_or_refused():
    x = torch.tensor([[-(2**63), 0]])
    try:
        assert agree(x) == "binary"
    except AnalyzerError as error:
        refusal = str(error)
    else:
        refusal = str(-(2**63))
    assert str(-(2**63)) in refusal


@pytest.mark.parametrize("dtype", [*FLOATS, torch.bfloat16], ids=str)
@pytest.mark.parametrize("levels", [2, 3, 7, 100, 255])
@pytest.mark.parametrize("ulps", [-9, -3, -1, 1, 3, 9])
def test_multiples_just_inside_and_outside_rounding(dtype, levels, ulps):
    """One of the levels is off by some units of rounding."""
    step = 1 / 3
    values = torch.arange(levels + 1, dtype=torch.float64) * step
    values[levels // 2] *= 1 + ulps * torch.finfo(dtype).eps
    agree(values.to(dtype).unsqueeze(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_many_roundings_of_few_levels_are_graded(dtype):
    """255 levels of either sign had more distinct values than levels, and were called real."""
    k = torch.arange(1.0, 256, dtype=dtype)
    x = torch.cat([k * 0.1, k / 10, (k * 7) / 70, (k / 3) * 0.3, (k * 0.7) / 7])
    x = torch.cat([x, -x]).unsqueeze(0)
    assert len(x.unique()) > 511
    if dtype == torch.float32:
        assert value_class(x)[0] == "graded"
    agree(x)


BACKGROUNDS = {
    "zero": (0.0, 0.0),
    "binary": (0.0, 1.0),
    "scaled": (0.0, 0.3),
    "ternary": (-1.0, 1.0),
    "graded": (0.0, 3.0),
    "quarters": (0.25, 0.75),
}
ODD = (1.0, -1.0, 0.5, 2.0, 1e-30, 0.1234567, 255.0, 256.0)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("pair", BACKGROUNDS.values(), ids=BACKGROUNDS)
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_one_odd_value_among_many(pair, odd, place):
    """Whatever is decided early must hold for the last element of a large tensor, too."""
    rows_, size = 1025, 128
    x = torch.full((rows_ * size,), pair[0])
    x[::3] = pair[1]
    x[{"start": 1, "middle": len(x) // 2 + 1, "end": -1}[place]] = odd
    assert len(x) > 2**16
    agree(x.view(rows_, size))


@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [3, 70_000])
def test_nan_and_infinity_are_refused_where_they_are(place, bad, dtype, size):
    x = torch.zeros(1, size, dtype=dtype)
    x[0, {"start": 0, "middle": size // 2, "end": -1}[place]] = bad
    model = nn.Sequential(nn.Identity(), nn.Sequential(Read(size, dtype)))
    with pytest.raises(AnalyzerError, match=r"module '?1\.0.*NaN or infinit"):
        analyzer.profile(model.eval(), x)


@RANDOM
@given(floats(), st.integers(1, 3), st.integers(0, 2))
def test_strides_do_not_matter(x, gap, way):
    """Values between the elements of a view must not be read."""
    holder = torch.full((4, x.shape[1], gap + 1), 0.123, dtype=x.dtype)
    holder[..., 0] = x
    view = holder[..., 0]
    view = (view, view.flip(1), view[:1].expand(4, -1))[way]
    agree(view)
    assert agree(holder.transpose(0, 1)[..., 0].T[1:3]) == agree(x)
