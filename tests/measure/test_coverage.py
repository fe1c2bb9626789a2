"""What every layer and function costs: contractions by the oracle, the rest by hand."""

import math
import warnings

import pytest
import torch
from oracles import counted, rows, watch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import analyzer
from analyzer.measure.rules.defaults import FREE, default_rules

KINDS = ("adds", "multiplies", "compares", "specials")


class Call(nn.Module):
    """A function as a model, with the modules or parameters it needs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    def forward(self, *args):
        return self.function(self, *args)


def real(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spikes(*shape, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def model_of(what):
    return what.eval() if isinstance(what, nn.Module) else Call(lambda m, *args: what(*args)).eval()


def work(profile):
    """All element-wise work, as adds, multiplies, compares, specials."""
    assert profile.uncovered.empty, profile.uncovered
    return tuple(profile.totals[kind] for kind in KINDS)


def sums(table):
    """Dense work, events and unary events of all rows."""
    return [sum(figures) for figures in zip(*table.values(), strict=True)] or [0, 0, 0]


X = real(2, 4, 6)
N = X.numel()  # 48 elements: 8 rows of 6, or 12 columns of 4
IMAGE = real(2, 3, 8, 8)  # 384 elements, 6 maps of 64
VOLUME = real(1, 2, 4, 4, 4)  # 128 elements, 2 maps of 64

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
    # Softmax of 8 rows: 5 comparisons and 5 additions a row, a difference, an exponential and a
    # division an element.
    "softmax": (nn.Softmax(-1), X, (N + 40, 0, 40, 2 * N)),
    "softmin": (nn.Softmin(-1), X, (N + 40, 0, 40, 2 * N)),
    "softmax-columns": (nn.Softmax(1), X, (N + 36, 0, 36, 2 * N)),
    "log-softmax": (nn.LogSoftmax(-1), X, (2 * N + 40, 0, 40, N + 8)),
    "logsumexp": (lambda x: x.logsumexp(-1), X, (N + 40 + 8, 0, 40, N + 8)),
    # Normalisation. A row of n: 2(n - 1) additions in the sums, n differences, n biases, epsilon;
    # two means, n squares, n scalings, n gains; one root.
    "layer-norm": (nn.LayerNorm(6), X, (4 * N - 8, 3 * N + 16, 0, 8)),
    "layer-norm-plain": (
        nn.LayerNorm(6, elementwise_affine=False),
        X,
        (3 * N - 8, 2 * N + 16, 0, 8),
    ),
    "layer-norm-no-bias": (nn.LayerNorm(6, bias=False), X, (3 * N - 8, 3 * N + 16, 0, 8)),
    "rms-norm": (nn.RMSNorm(6), X, (40 + 8, 3 * N + 8, 0, 8)),
    "group-norm": (nn.GroupNorm(2, 4), X, (4 * N - 4, 3 * N + 8, 0, 4)),
    "batch-norm": (nn.BatchNorm1d(4), X, (N, N, 0, 0)),
    "batch-norm-2d": (nn.BatchNorm2d(3), IMAGE, (384, 384, 0, 0)),
    "batch-norm-3d": (nn.BatchNorm3d(2), VOLUME, (128, 128, 0, 0)),
    "batch-statistics": (
        nn.BatchNorm1d(4, track_running_stats=False),
        X,
        (4 * N - 4, 3 * N + 8, 0, 4),
    ),
    "instance-norm": (nn.InstanceNorm1d(4), X, (3 * N - 8, 2 * N + 16, 0, 8)),
    "instance-norm-2d": (
        nn.InstanceNorm2d(3, affine=True),
        IMAGE,
        (4 * 384 - 6, 3 * 384 + 12, 0, 6),
    ),
    "instance-norm-fixed": (nn.InstanceNorm1d(4, track_running_stats=True), X, (N, N, 0, 0)),
    # Squares; windows of 3 channels, 7 of 9 exist; a mean; k + α·mean; a power; a quotient.
    "local-response-norm": (
        nn.LocalResponseNorm(3),
        IMAGE,
        (2 * 2 * 3 * 64 + 384, 384 + 384 + 384, 0, 384 + 384),
    ),
    # Norms: squares, sums and roots; orders 1 and infinity need no squares.
    "norm": (lambda x: x.norm(dim=-1), X, (40, N, 0, 8)),
    "norm-1": (lambda x: x.norm(p=1, dim=-1), X, (40, 0, 0, 0)),
    "norm-inf": (lambda x: x.norm(p=math.inf, dim=-1), X, (0, 0, 40, 0)),
    "norm-3": (lambda x: x.norm(p=3, dim=-1), X, (40, 0, 0, N + 8)),
    "norm-0": (lambda x: torch.linalg.vector_norm(x, 0, dim=-1), X, (40, 0, N, 0)),
    "frobenius": (lambda x: torch.linalg.matrix_norm(x), X, (46, N, 0, 2)),
    "normalize": (lambda x: F.normalize(x, dim=-1), X, (40, N, 8, 8 + N)),
    "renorm": (lambda x: x.renorm(2, 0, 1.0), X, (46 + 2, 2 * N, 2, 4)),
    # Two norms of 12 columns, clamped at epsilon; both sides divided; products and their sum.
    "cosine": (nn.CosineSimilarity(1), (X, X.flip(0)), (3 * 36, 3 * N, 24, 24 + 2 * N)),
    "pairwise": (nn.PairwiseDistance(), (X, X.flip(0)), (2 * N + 40, N, 0, 8)),
    # Pooling: what exists in the windows, less one a window.
    "max-pool-1d": (nn.MaxPool1d(2), X, (0, 0, N // 2, 0)),
    "max-pool": (nn.MaxPool2d(2), IMAGE, (0, 0, 96 * 3, 0)),
    "max-pool-int": (lambda x: F.max_pool2d(x, 2, 1), IMAGE, (0, 0, 6 * 49 * 3, 0)),
    # 4 windows an axis of which the first loses one of 3: 11 × 11 elements in 16 windows.
    "max-pool-padded": (nn.MaxPool2d(3, 2, 1), IMAGE, (0, 0, 6 * (121 - 16), 0)),
    "max-pool-dilated": (nn.MaxPool2d(2, 1, dilation=3), IMAGE, (0, 0, 6 * 25 * 3, 0)),
    # 3 windows an axis, of 3, 3 and 2 elements.
    "max-pool-ceil": (nn.MaxPool2d(3, ceil_mode=True), IMAGE, (0, 0, 6 * (64 - 9), 0)),
    "max-pool-3d": (nn.MaxPool3d(2), VOLUME, (0, 0, 16 * 7, 0)),
    "avg-pool-1d": (nn.AvgPool1d(3, 1, 1), X, (8 * (16 - 6), N, 0, 0)),
    "avg-pool": (nn.AvgPool2d(3, 2, 1), IMAGE, (6 * (121 - 16), 96, 0, 0)),
    "avg-pool-3d": (nn.AvgPool3d(2), VOLUME, (16 * 7, 16, 0, 0)),
    "adaptive-avg": (nn.AdaptiveAvgPool2d(1), IMAGE, (6 * 63, 6, 0, 0)),
    # 8 into 3: windows 0-3, 2-6, 5-8, ten elements an axis.
    "adaptive-avg-uneven": (nn.AdaptiveAvgPool2d(3), IMAGE, (6 * (100 - 9), 54, 0, 0)),
    "adaptive-avg-1d": (nn.AdaptiveAvgPool1d(4), X, (8 * (8 - 4), 32, 0, 0)),
    "adaptive-avg-3d": (nn.AdaptiveAvgPool3d(2), VOLUME, (16 * 7, 16, 0, 0)),
    "adaptive-max-1d": (nn.AdaptiveMaxPool1d(4), X, (0, 0, 8 * (8 - 4), 0)),
    "adaptive-max": (nn.AdaptiveMaxPool2d(3), IMAGE, (0, 0, 6 * (100 - 9), 0)),
    "adaptive-max-3d": (nn.AdaptiveMaxPool3d(2), VOLUME, (0, 0, 16 * 7, 0)),
    "fractional": (nn.FractionalMaxPool2d(2, output_size=3), IMAGE, (0, 0, 54 * 3, 0)),
    "fractional-3d": (nn.FractionalMaxPool3d(2, output_size=2), VOLUME, (0, 0, 16 * 7, 0)),
    # Squares, means of 2 (times 2 again), the sign, clipping at 0, and a root.
    "lp-pool": (nn.LPPool1d(2, 2), X, (24, N + 24 * 3, 24 * 2, 24)),
    # Resizing: the weighted sum of 2, 4, 8 or 16 neighbours.
    "linear": (nn.Upsample(scale_factor=2, mode="linear"), X, (2 * N, 4 * N, 0, 0)),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE, (1536 * 3, 1536 * 4, 0, 0)),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE, (1536 * 15, 1536 * 16, 0, 0)),
    "trilinear": (
        nn.Upsample(scale_factor=2, mode="trilinear"),
        VOLUME,
        (1024 * 7, 1024 * 8, 0, 0),
    ),
    # Half the size: a triangle 4 wide, cut at the border: 3 + 4 + 4 + 3 of each line, 8 lines, then
    # 4 columns.
    "antialiased": (
        lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        IMAGE,
        (6 * 12 * (14 - 4), 6 * 12 * 14, 0, 0),
    ),
    "area": (lambda x: F.interpolate(x, scale_factor=0.5, mode="area"), IMAGE, (96 * 3, 96, 0, 0)),
    # 7 × 7 patches of 2 × 2 lie on 8 × 8 places.
    "fold": (nn.Fold((8, 8), 2), real(2, 12, 49), (6 * (196 - 64), 0, 0, 0)),
    "fold-apart": (nn.Fold((8, 8), 2, stride=2), real(2, 12, 16), (0, 0, 0, 0)),
    # 3 × 3 patches of 2 × 2, stride 3, on a padded 7 × 7: five entries an axis inside, no overlap.
    "fold-padded": (nn.Fold((6, 6), 2, padding=1, stride=3), real(2, 4, 9), (0, 0, 0, 0)),
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

FREE_OF_WORK = {
    "identity": (nn.Identity(), X),
    "dropout": (nn.Dropout(), X),
    "flatten": (nn.Flatten(), X),
    "pixel-shuffle": (nn.PixelShuffle(2), real(1, 4, 3, 3)),
    "pixel-unshuffle": (nn.PixelUnshuffle(2), IMAGE),
    "channel-shuffle": (nn.ChannelShuffle(3), IMAGE),
    "unfold": (nn.Unfold(3), IMAGE),
    "embedding": (nn.Embedding(10, 4), torch.arange(6)[None]),
    "nearest": (nn.Upsample(scale_factor=2), IMAGE),
    "nearest-exact": (nn.Upsample(scale_factor=2, mode="nearest-exact"), IMAGE),
    "nearest-exact-1d": (nn.Upsample(scale_factor=2, mode="nearest-exact"), X),
    "nearest-exact-3d": (nn.Upsample(scale_factor=2, mode="nearest-exact"), VOLUME),
    "zero-pad": (nn.ZeroPad2d(1), IMAGE),
    "constant-pad": (nn.ConstantPad1d(1, 2.0), X),
    "reflection-pad": (nn.ReflectionPad2d(1), IMAGE),
    "replication-pad": (nn.ReplicationPad3d(1), VOLUME),
    "circular-pad": (nn.CircularPad2d(1), IMAGE),
    "abs": (torch.abs, X),
    "neg": (torch.neg, X),
    "triu": (torch.triu, X),
    "diagonal": (torch.diag_embed, X),
    "index-copy": (lambda x: x.index_copy(0, torch.tensor([1, 0]), x), X),
    "index-fill": (lambda x: x.index_fill(0, torch.tensor([1]), 0.0), X),
}

WITHOUT_RULE = {
    "fft": (lambda x: torch.fft.fft(x).real, "_fft_r2c"),
    "inverse": (lambda x: torch.linalg.inv(x[..., :4]), "linalg_inv_ex"),
    "bessel": (torch.special.bessel_j0, "special_bessel_j0"),
}


@pytest.mark.parametrize(("what", "args", "expected"), COSTS.values(), ids=COSTS)
def test_work_by_hand(what, args, expected):
    assert work(analyzer.profile(model_of(what), args)) == expected


@pytest.mark.parametrize(("what", "args"), FREE_OF_WORK.values(), ids=FREE_OF_WORK)
def test_what_only_moves_elements_is_free(what, args):
    assert work(analyzer.profile(model_of(what), args)) == (0, 0, 0, 0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_only_moves_elements(axes):
    pool = getattr(nn, f"MaxPool{axes}d")(2, return_indices=True)
    unpool = getattr(nn, f"MaxUnpool{axes}d")(2)
    x = real(1, 2, *[4] * axes)
    both = analyzer.profile(model_of(lambda x: unpool(*pool(x))), x)
    assert work(both) == (0, 0, x.numel() - x.numel() // 2**axes, 0)


@pytest.mark.parametrize(("what", "name"), WITHOUT_RULE.values(), ids=WITHOUT_RULE)
def test_what_has_no_rule_is_listed(what, name):
    with pytest.warns(analyzer.AnalyzerWarning, match=name):
        profile = analyzer.profile(model_of(what), X)
    assert name in set(profile.uncovered["op"])


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


CONTRACTIONS = {
    "einsum": lambda m, a, b: torch.einsum("bnk,bmk->bnm", a, b),
    "einsum-transposed": lambda m, a, b: torch.einsum("bnk,bmk->mbn", a, b),
    "einsum-broadcast": lambda m, a, b: torch.einsum("bnk,cmk->bcnm", a, b),
    "einsum-sums": lambda m, a, b: torch.einsum("bnk,bmk->b", a, b),
    "einsum-3": lambda m, a, b: torch.einsum("bnk,bmk,kd->nmd", a, b, m.w),
    "einsum-ellipsis": lambda m, a, b: torch.einsum("...k,kd->...d", a, m.w),
    "tensordot": lambda m, a, b: torch.tensordot(a, b, ([0, 2], [0, 2])),
    "inner": lambda m, a, b: torch.inner(a, b[0]),
    "inner-1d": lambda m, a, b: torch.inner(a[0, 0], b[0, 0]),
    "chain": lambda m, a, b: torch.chain_matmul(a[0], m.w, m.w.t()),
    "multi-dot": lambda m, a, b: torch.linalg.multi_dot([a[0], m.w, m.w.t(), b[0].t()]),
    "addmm": lambda m, a, b: torch.addmm(a[0, :, :5], a[0], m.w, beta=0.5, alpha=2),
    "baddbmm": lambda m, a, b: torch.baddbmm(a[:, :, :4], a, b.mT),
    "addmv": lambda m, a, b: torch.addmv(a[0, :, 0], a[0], b[0, 0]),
    "matmul-1d": lambda m, a, b: (a @ b[0, 0], a[0, 0] @ m.w, a[0, 0] @ b[0, 0]),
    "matmul-broadcast": lambda m, a, b: a[:, None] @ b.mT[None],
    "matrix-power": lambda m, a, b: torch.matrix_power(a[..., :4], 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", CONTRACTIONS.values(), ids=CONTRACTIONS)
def test_products_of_all_kinds(function, dtype):
    w, other = real(6, 5), real(2, 4, 6, seed=1)
    if dtype in (torch.bfloat16, torch.float16):  # where few reals can look like levels
        w, other = w.sign(), other.sign()
    model = Call(function, w=w.to(dtype)).eval()
    operands = (spikes(2, 4, 6).to(dtype), other.to(dtype))
    profile = analyzer.profile(model, operands)
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(model, *operands))
    assert profile.totals["dense_macs"] > 0


def test_a_covariance():
    """The centred data times itself; their sums, differences and the division by 5."""
    model = model_of(lambda x: torch.cov(x[0]))
    profile = analyzer.profile(model, X)
    assert counted(profile) == rows(watch(model, X))
    assert profile.totals["dense_macs"] == 4 * 6 * 4


def test_a_sum_of_matrix_products():
    """``addbmm`` sums over the batch; the oracle's batched product counts the same pairs."""
    a, b = spikes(2, 4, 6), real(2, 6, 3)
    model = model_of(lambda a, b: torch.addbmm(a[0, :, :3], a, b))
    assert counted(analyzer.profile(model, (a, b))) == rows(watch(model, a, b))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_integer_products(dtype):
    a, b = (spikes(20, 16) * 3).to(dtype), real(16, 8).mul(4).round().to(dtype)
    function = torch._int_mm if dtype == torch.int8 else torch.matmul
    profile = analyzer.profile(model_of(function), (a, b))
    expected = rows(watch(model_of(lambda a, b: a.double() @ b.double()), a, b))
    assert counted(profile) == expected
    assert profile.uncovered.empty


def test_weights_in_8_bits():
    x, weight = spikes(4, 32).bfloat16(), real(8, 32).mul(9).to(torch.int8)
    model = nn.Module()
    model.register_buffer("weight", weight)
    model.register_buffer("scale", torch.ones(8, dtype=torch.bfloat16))
    model.forward = lambda x: torch._weight_int8pack_mm(x, model.weight, model.scale)
    totals = analyzer.profile(model.eval(), x).totals
    assert totals["dense_macs"] == 4 * 32 * 8
    assert totals["ac"] == int(x.sum()) * 8


def test_grouped_products():
    """Rows 0 to 2 meet the first matrix, the rest the second."""
    x, w = spikes(8, 16).bfloat16(), real(2, 16, 16).bfloat16()
    ends = torch.tensor([3, 8], dtype=torch.int32)
    grouped = Call(lambda m, x, w: torch._grouped_mm(x, w, offs=ends)).eval()
    written = Call(lambda m, x, w: (x[:3] @ w[0], x[3:] @ w[1])).eval()
    assert counted(analyzer.profile(grouped, (x, w))) == rows(watch(written, x, w))


def test_convolution_with_time_first():
    layer = nn.Conv1d(6, 5, 3, padding=1)
    weight = layer.weight.detach().permute(2, 1, 0).contiguous()
    model = Call(lambda m, x: torch.conv_tbc(x, m.w, m.b, 1), w=weight, b=torch.zeros(5)).eval()
    x = spikes(7, 2, 6)
    expected = rows(watch(layer, x.permute(1, 2, 0).contiguous()))
    assert counted(analyzer.profile(model, x)) == expected


CONVOLUTIONS = {
    "circular-1d": (nn.Conv1d(4, 3, 3, padding=2, padding_mode="circular"), spikes(2, 4, 9)),
    "reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), spikes(2, 3, 8, 8)),
    "replicate": (nn.Conv3d(2, 3, 2, padding=1, padding_mode="replicate"), spikes(1, 2, 4, 4, 4)),
    "same-dilated": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), spikes(2, 3, 8, 8)),
    "valid": (nn.Conv1d(4, 3, 3, padding="valid"), spikes(2, 4, 9)),
    "unbatched": (nn.Conv2d(3, 4, 3), spikes(3, 8, 8)),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3), spikes(2, 3, 8, 8)),
    "output-padding-1d": (
        nn.ConvTranspose1d(4, 3, 3, stride=3, output_padding=2),
        spikes(2, 4, 5),
    ),
    "output-padding": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
        spikes(2, 4, 5, 6),
    ),
    "output-padding-3d": (
        nn.ConvTranspose3d(2, 3, 2, stride=2, output_padding=(1, 0, 1)),
        spikes(1, 2, 3, 3, 3),
    ),
    "transposed-unbatched": (nn.ConvTranspose1d(4, 3, 3), spikes(4, 9)),
}


@pytest.mark.parametrize(("layer", "x"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_of_all_kinds(layer, x):
    profile = analyzer.profile(layer.eval(), x)
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(layer, x))


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


def test_kernels_of_gpus_have_masks_where_the_rules_look_for_them():
    rules = default_rules()
    names = [n for n in rules.products if n.startswith("_scaled_dot_product")]
    assert len(names) == 5
    q, k, v = (real(1, 2, 5, 8, seed=s) for s in range(3))
    for name in names:
        schema = getattr(torch.ops.aten, name).default._schema
        for causal, masked in ((False, False), (True, False), (False, True)):
            keyword = any(a.name == "attn_mask" and a.kwarg_only for a in schema.arguments)
            has_mask = keyword or any(a.name == "attn_bias" for a in schema.arguments)
            if masked and not has_mask:
                continue
            bias = torch.zeros(5, 5).masked_fill(~MASK, -torch.inf)[None, None] if masked else None
            given = {
                "query": q, "key": k, "value": v, "attn_bias": bias, "is_causal": causal,
                "compute_log_sumexp": not causal, "dropout_p": 0.0, "return_debug_mask": not causal,
            }  # fmt: skip
            args = tuple(given[a.name] for a in schema.arguments if not a.kwarg_only)
            kwargs = {"attn_mask": bias} if keyword and masked else {}
            allowed = rules.products[name](args, kwargs, None)[1].geometry.allowed
            if masked:
                assert allowed.squeeze().equal(MASK)
            elif causal:
                assert allowed.equal(torch.ones(5, 5).tril().bool())
            else:
                assert allowed is None
            # Two heads of 5 × 5 scores: sums, differences from maxima, and the mask.
            assert rules.works[name](args, None, kwargs).adds == 40 + 50 + (50 if masked else 0)


DISTANCES = {
    "of-many": (spikes(30, 6), real(40, 6)),
    "batched": (spikes(2, 30, 6), real(2, 30, 6)),
}


@pytest.mark.parametrize(("a", "b"), DISTANCES.values(), ids=DISTANCES)
def test_euclidean_distances_of_many_points_are_a_product(a, b):
    """√(|a|² + |b|² - 2 a·b): one product, both squared norms, two additions, clipping, a root."""
    profile = analyzer.profile(model_of(torch.cdist), (a, b))
    assert counted(profile) == rows(watch(model_of(lambda a, b: a @ b.mT), a, b))
    pairs = math.prod(a.shape[:-1]) * b.shape[-2]
    rows_of_both = (a.numel() + b.numel()) // 6
    assert work(profile) == (
        2 * pairs + 5 * rows_of_both,
        pairs + a.numel() + b.numel(),
        pairs,
        pairs,
    )


@pytest.mark.parametrize("first", [spikes, real], ids=["spikes", "real"])
def test_bilinear_layers(first):
    """A product with the weight, and each result's with the second input."""

    def written(m, a, b):
        mixed = torch.stack([a @ weight for weight in m.layer.weight], 1)
        return torch.einsum("noj,nj->no", mixed, b)

    layer = nn.Bilinear(6, 5, 3)
    a, b = first(4, 6), spikes(4, 5, seed=1)
    profile = analyzer.profile(layer.eval(), (a, b))
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(Call(written, layer=layer), a, b))
    assert profile.totals["dense_macs"] == 4 * 3 * 6 * 5 + 4 * 3 * 5
    assert profile.totals["adds"] == 4 * 3  # the bias


REFUSED = {
    "complex": (nn.Linear(6, 3, dtype=torch.cfloat), X.cfloat(), "complex"),
    "complex-sine": (lambda x: torch.complex(x, x).sin(), X, "sin on complex numbers"),
    "sparse": (lambda x: torch.eye(4).to_sparse_csr() @ x[0], X, "sparse"),
    "nested": (
        lambda x: F.linear(torch.nested.nested_tensor([*x]), torch.ones(3, 6)),
        X,
        "nested tensors can not be counted",
    ),
    "jagged": (
        lambda x: F.linear(torch.nested.nested_tensor([*x], layout=torch.jagged), torch.ones(3, 6)),
        X,
        "nested tensors can not be counted",
    ),
}


@pytest.mark.parametrize(("what", "x", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_counted_is_refused_in_a_sentence(what, x, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(analyzer.AnalyzerError, match=message) as caught:
            analyzer.profile(model_of(what), x)
    assert caught.value.args[0].endswith(".")


@pytest.mark.parametrize(
    ("module", "x", "name"),
    [
        ("Linear", X, "quantized::linear"),
        ("Conv2d", IMAGE, "quantized::conv2d"),
    ],
)
def test_quantized_layers_are_listed_under_their_own_name(module, x, name):
    """``quantized::linear`` was taken for ``aten::linear``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = (6, 3) if module == "Linear" else (3, 4, 3)
        layer = getattr(torch.ao.nn.quantized, module)(*sizes)

        def run(x):
            return layer(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()

        profile = analyzer.profile(model_of(run), x)
    assert profile.uncovered["op"].tolist() == [name]


def test_no_operation_is_both_free_and_counted():
    rules = default_rules()
    known = [set(rules.products) | set(rules.fused), set(rules.works)]
    assert not set(FREE) & (known[0] | known[1])


def test_every_rule_is_for_an_operation_of_this_pytorch():
    """A misspelt name would never be asked for."""
    rules = default_rules()
    packets = torch.ops.aten
    names = {*rules.products, *rules.works, *rules.fused}
    assert {n for n in names if not (hasattr(packets, n) or hasattr(packets, f"{n}_"))} == set()
