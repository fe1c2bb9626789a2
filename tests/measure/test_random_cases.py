"""Random geometries, values and shapes against the oracle."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import counted, rows, watch
from torch import nn

import analyzer

RANDOM = settings(max_examples=100, deadline=None, derandomize=True)


def fill(kind, shape, seed):
    g = torch.Generator().manual_seed(seed)
    fire = (torch.rand(shape, generator=g) < 0.3).float()
    level = torch.randint(-3, 4, shape, generator=g).float()
    return {
        "binary": fire * 0.5,
        "ternary": level.sign(),
        "graded": level / 3,
        "real": torch.randn(shape, generator=g) * fire,
        "zero": fire * 0,
    }[kind]


kinds = st.sampled_from(["binary", "ternary", "graded", "real", "zero"])
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@RANDOM
@given(st.data(), st.integers(1, 3), st.booleans(), kinds, dtypes)
def test_convolutions(data, axes, transposed, kind, dtype):
    def per_axis(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(axes))

    groups = data.draw(st.integers(1, 3))
    cin, cout = (groups * data.draw(st.integers(1, 3)) for _ in range(2))
    size, kernel, stride = per_axis(1, 7), per_axis(1, 3), per_axis(1, 3)
    padding, dilation = per_axis(0, 2), per_axis(1, 2)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        outputs = [
            (n - 1) * s - 2 * p + r for n, s, p, r in zip(size, stride, padding, reach, strict=True)
        ]
    else:
        outputs = [n + 2 * p - r + 1 for n, p, r in zip(size, padding, reach, strict=True)]
    assume(min(outputs) > 0)
    name = f"Conv{'Transpose' if transposed else ''}{axes}d"
    layer = getattr(nn, name)(
        cin, cout, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    layer = layer.to(dtype).eval()
    x = fill(kind, (data.draw(st.integers(1, 3)), cin, *size), data.draw(st.integers(0, 9)))
    x = x.to(dtype)
    assert counted(analyzer.profile(layer, x)) == rows(watch(layer, x))


class Product(nn.Module):
    def forward(self, a, b):
        return a @ b


@RANDOM
@given(st.data(), kinds, kinds)
def test_broadcast_products(data, left, right):
    n, k, m = (data.draw(st.integers(1, 5)) for _ in range(3))
    batch = data.draw(st.lists(st.integers(1, 3), max_size=3))
    shapes = []
    for tail in ((n, k), (k, m)):
        kept = batch[data.draw(st.integers(0, len(batch))) :]
        shapes.append((*(1 if data.draw(st.booleans()) else b for b in kept), *tail))
    model = Product().eval()
    a, b = fill(left, shapes[0], 1), fill(right, shapes[1], 2)
    if data.draw(st.booleans()):
        a = a.mT.contiguous().mT
    assert counted(analyzer.profile(model, (a, b))) == rows(watch(model, a, b))


@RANDOM
@given(st.lists(kinds, min_size=2, max_size=4), st.integers(1, 3))
def test_any_cut_of_the_data_gives_the_same_profile(parts, size):
    model = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.Linear(5, 2)).eval()
    x = torch.cat([fill(kind, (2, 2, 5), seed) for seed, kind in enumerate(parts)])
    whole = analyzer.profile(model, x)
    cut = analyzer.profile(model, list(x.split(size)))
    assert cut == whole
    assert cut.counts.equals(whole.counts)
