"""Work on single elements, by hand: activations, tensor functions, reductions, sorting, bags."""

import math

import pytest
import torch
from rule_checks import KINDS, Call, X, model_of, work
from torch import nn
from torch.nn import functional as F

import analyzer

N = X.numel()

COSTS = {
    # Activations: the steps of the formula, for every element.
    "relu": (nn.ReLU(), X, (0, 0, N, 0)),
    "relu6": (nn.ReLU6(), X, (0, 0, 2 * N, 0)),
    "hardtanh": (nn.Hardtanh(), X, (0, 0, 2 * N, 0)),
    "threshold": (nn.Threshold(0.1, 0.0), X, (0, 0, N, 0)),
    "hardshrink": (nn.Hardshrink(), X, (0, 0, N, 0)),
    "softshrink": (nn.Softshrink(), X, (N, 0, 2 * N, 0)),
    "leaky-relu": (nn.LeakyReLU(), X, (0, N, N, 0)),
    "prelu": (nn.PReLU(), X, (0, N, N, 0)),
    "rrelu": (nn.RReLU(), X, (0, N, N, 0)),
    "sigmoid": (nn.Sigmoid(), X, (N, 0, 0, 2 * N)),
    "silu": (nn.SiLU(), X, (N, N, 0, 2 * N)),
    "glu": (nn.GLU(), X, (N // 2, N // 2, 0, N)),
    "tanh": (nn.Tanh(), X, (2 * N, 0, 0, 2 * N)),
    "tanhshrink": (nn.Tanhshrink(), X, (3 * N, 0, 0, 2 * N)),
    "softsign": (nn.Softsign(), X, (N, 0, 0, N)),
    "softplus": (nn.Softplus(), X, (N, 0, 0, 2 * N)),
    "log-sigmoid": (nn.LogSigmoid(), X, (N, 0, 0, 2 * N)),
    "mish": (nn.Mish(), X, (3 * N, N, 0, 4 * N)),
    "gelu": (nn.GELU(), X, (N, 3 * N, 0, N)),
    "gelu-tanh": (nn.GELU("tanh"), X, (4 * N, 6 * N, 0, 2 * N)),
    "elu": (nn.ELU(), X, (N, N, N, N)),
    "selu": (nn.SELU(), X, (N, N, N, N)),
    "celu": (nn.CELU(), X, (N, N, N, N)),
    "hardsigmoid": (nn.Hardsigmoid(), X, (N, N, 2 * N, 0)),
    "hardswish": (nn.Hardswish(), X, (N, 2 * N, 2 * N, 0)),
    # Tensor functions.
    "add": (lambda x: x + x, X, (N, 0, 0, 0)),
    "add-scaled": (lambda x: torch.add(x, x, alpha=2), X, (N, N, 0, 0)),
    "div": (lambda x: x / 3, X, (0, 0, 0, N)),
    "div-floor": (lambda x: torch.div(x, 3, rounding_mode="floor"), X, (0, 0, N, N)),
    "remainder": (lambda x: x % 3, X, (N, N, N, N)),
    "addcmul": (lambda x: torch.addcmul(x, x, x), X, (N, N, 0, 0)),
    "addcmul-scaled": (lambda x: torch.addcmul(x, x, x, value=2), X, (N, 2 * N, 0, 0)),
    "addcdiv": (lambda x: torch.addcdiv(x, x, x), X, (N, 0, 0, N)),
    "lerp": (lambda x: torch.lerp(x, x.flip(0), 0.3), X, (2 * N, N, 0, 0)),
    "square": (lambda x: x**2, X, (0, N, 0, 0)),
    "cube": (lambda x: x**3, X, (0, 2 * N, 0, 0)),
    "root": (lambda x: x.abs() ** 0.5, X, (0, 0, 0, N)),
    "power": (lambda x: 2**x, X, (0, 0, 0, N)),
    "clamp": (lambda x: x.clamp(-1, 1), X, (0, 0, 2 * N, 0)),
    "clamp-min": (lambda x: x.clamp(min=0), X, (0, 0, N, 0)),
    "clamp-max": (lambda x: x.clamp(max=0), X, (0, 0, N, 0)),
    "where": (lambda x: torch.where(x > 0, x, 0.0), X, (0, 0, N, 0)),
    "logit": (lambda x: x.logit(), X, (N, 0, 0, 2 * N)),
    "logaddexp": (lambda x: torch.logaddexp(x, x), X, (2 * N, 0, N, 2 * N)),
    "hypot": (lambda x: torch.hypot(x, x), X, (N, 2 * N, 0, N)),
    "round-decimals": (lambda x: x.round(decimals=1), X, (0, 2 * N, N, 0)),
    "sum": (lambda x: x.sum((0, 1)), X, (42, 0, 0, 0)),
    "mean": (lambda x: x.mean(-1), X, (40, 8, 0, 0)),
    "prod": (lambda x: x.prod(-1), X, (0, 40, 0, 0)),
    "max": (lambda x: x.max(), X, (0, 0, 47, 0)),
    "argmax": (lambda x: x.argmax(-1), X, (0, 0, 40, 0)),
    "aminmax": (lambda x: x.aminmax(), X, (0, 0, 94, 0)),
    "var": (lambda x: x.var(-1), X, (N + 80, N + 16, 0, 0)),
    "std": (lambda x: x.std(-1), X, (N + 80, N + 16, 0, 8)),
    "count-nonzero": (lambda x: x.count_nonzero(-1), X, (40, 0, N, 0)),
    "trace": (lambda x: x[0].trace(), X, (3, 0, 0, 0)),
    "cumsum": (lambda x: x.cumsum(1), X, (36, 0, 0, 0)),
    "cummax": (lambda x: x.cummax(-1)[0], X, (0, 0, 40, 0)),
    "logcumsumexp": (lambda x: x.logcumsumexp(-1), X, (80, 0, 40, 80)),
    "cross": (lambda x: torch.linalg.cross(x[..., :3], x[..., 3:]), X, (24, 48, 0, 0)),
    # Sorting rows of 6 takes 3 comparisons an element, of 4 two, of all 48 six.
    "sort": (lambda x: x.sort()[0], X, (0, 0, 3 * N, 0)),
    "sort-columns": (lambda x: x.sort(1)[0], X, (0, 0, 2 * N, 0)),
    "sort-stable": (lambda x: x.sort(dim=1, stable=True)[0], X, (0, 0, 2 * N, 0)),
    "topk-columns": (lambda x: x.topk(2, 1)[0], X, (0, 0, 2 * N, 0)),
    "kthvalue": (lambda x: x.kthvalue(2)[0], X, (0, 0, 3 * N, 0)),
    "median": (lambda x: x.median(), X, (0, 0, 6 * N, 0)),
    "median-columns": (lambda x: x.median(1)[0], X, (0, 0, 2 * N, 0)),
    "unique": (lambda x: x.unique(), X, (0, 0, 6 * N, 0)),
    "unique-consecutive": (lambda x: x.unique_consecutive(), X, (0, 0, 47, 0)),
    # A binary search among 5 boundaries takes 3 comparisons.
    "bucketize": (lambda x: torch.bucketize(x, torch.arange(5.0)), X, (0, 0, 3 * N, 0)),
    "searchsorted": (lambda x: torch.searchsorted(torch.arange(5.0), x), X, (0, 0, 3 * N, 0)),
    "isin": (lambda x: torch.isin(x, torch.arange(3.0)), X, (0, 0, 3 * N, 0)),
    "histc": (lambda x: x.histc(4), X, (2 * N, N, 2 * N, 0)),
    "bincount": (lambda x: (x > 0).flatten().long().bincount(), X, (N, 0, N, 0)),
    "one-hot": (lambda x: F.one_hot((x > 0).long()), X, (0, 0, N + 94, 0)),
    "scatter": (lambda x: x.scatter(1, (x > 0).long(), x), X, (0, 0, N, 0)),
    "scatter-add": (lambda x: x.scatter_add(1, (x > 0).long(), x), X, (N, 0, N, 0)),
    "scatter-amax": (
        lambda x: x.scatter_reduce(1, (x > 0).long(), x, "amax"),
        X,
        (0, 0, 2 * N, 0),
    ),
    "scatter-prod": (lambda x: x.scatter_reduce(1, (x > 0).long(), x, "prod"), X, (0, N, N, 0)),
    "index-add": (lambda x: x.index_add(0, torch.tensor([0, 0]), x), X, (N, 0, 0, 0)),
    "index-put": (lambda x: x.index_put((torch.tensor([0]),), x[:1]), X, (0, 0, 0, 0)),
    "index-put-add": (
        lambda x: x.index_put((torch.tensor([0]),), x[:1], accumulate=True),
        X,
        (24, 0, 0, 0),
    ),
    "outer": (lambda x: torch.outer(x[0, 0], x[0, 1]), X, (0, 36, 0, 0)),
    "kron": (lambda x: torch.kron(x[0], x[1]), X, (0, 24 * 24, 0, 0)),
    "addr": (lambda x: torch.addr(x[0, :, :4], x[0, :, 0], x[0, :, 1]), X, (16, 16, 0, 0)),
    "hadamard": (lambda x: torch.einsum("bnd,bnd->bnd", x, x), X, (0, N, 0, 0)),
    # Distances of 4 × 4 points in 6 dimensions, twice.
    "cdist-1": (lambda x: torch.cdist(x, x.flip(0), p=1.0), X, (32 * 11, 0, 0, 0)),
    "cdist-2": (
        lambda x: torch.cdist(x, x.flip(0), compute_mode="donot_use_mm_for_euclid_dist"),
        X,
        (32 * 11, 32 * 6, 0, 32),
    ),
    "cdist-inf": (lambda x: torch.cdist(x, x.flip(0), p=math.inf), X, (32 * 6, 0, 32 * 5, 0)),
    "pdist": (lambda x: torch.pdist(x[0]), X, (6 * 11, 36, 0, 6)),
    # Complex numbers, in real operations.
    "complex-mul": (lambda x: torch.complex(x, x) * torch.complex(x, x), X, (2 * N, 4 * N, 0, 0)),
    "complex-scale": (lambda x: torch.complex(x, x) * 2.0, X, (0, 2 * N, 0, 0)),
    "complex-abs": (lambda x: torch.complex(x, x).abs(), X, (N, 2 * N, 0, N)),
    "complex-sum": (lambda x: torch.complex(x, x).sum(-1), X, (80, 0, 0, 0)),
}


@pytest.mark.parametrize(("what", "args", "expected"), COSTS.values(), ids=COSTS)
def test_work_by_hand(what, args, expected):
    assert work(analyzer.profile(model_of(what), args)) == expected


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 3),
        nn.LayerNorm(6),
        nn.Softmax(-1),
        nn.GELU(),
        nn.LSTM(6, 3, batch_first=True),
        nn.MaxPool1d(2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_an_empty_batch_does_nothing(layer):
    totals = analyzer.profile(layer.eval(), torch.zeros(0, 4, 6)).totals
    assert all(totals[kind] == 0 for kind in (*KINDS, "dense_macs", "events", "mac_events"))


IDS = torch.tensor([[0, 1, 2, 2], [3, 4, 5, 0]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("sum", (24, 0, 0, 0)), ("mean", (24, 8, 0, 0)), ("max", (0, 0, 24, 0))],
)
def test_bags_of_embeddings_are_reduced(mode, expected):
    """Two bags of four rows of width 4: three operations a bag and column."""
    assert work(analyzer.profile(nn.EmbeddingBag(10, 4, mode=mode).eval(), IDS)) == expected


def test_bags_of_unequal_size_with_padding_and_factors():
    bag = nn.EmbeddingBag(10, 4, mode="sum", padding_idx=0)
    model = Call(lambda m, i, o, w: m.bag(i, o, per_sample_weights=w), bag=bag).eval()
    offsets = torch.tensor([0, 1, 1, 6])  # [0] [] [1 2 2 3 4] [5 0]: without zeros 0, 0, 5, 1
    profile = analyzer.profile(model, (IDS.flatten(), offsets, torch.ones(8)))
    assert work(profile) == (4 * 4, 6 * 4, 0, 0)


def by_sign(x):
    return x + x + x if x.sum() > 0 else x * 2


VARYING = {
    "bags": (nn.EmbeddingBag(10, 4, mode="sum", padding_idx=0), IDS, IDS * 0),
    "selection": (lambda x: x[x > 0] + 1, X, X.abs()),
    "branch": (by_sign, X.abs(), -X.abs()),
}


@pytest.mark.parametrize(("what", "first", "second"), VARYING.values(), ids=VARYING)
def test_work_that_depends_on_values_is_not_taken_from_an_earlier_batch(what, first, second):
    model = model_of(what)
    apart = [analyzer.profile(model, batch) for batch in (first, second)]
    assert work(apart[0]) != work(apart[1])
    assert work(analyzer.profile(model, [first, second])) == work(apart[0] + apart[1])
