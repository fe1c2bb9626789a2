"""Work of softmax, norms and normalisation layers, by hand."""

import math

import pytest
import torch
from rule_checks import IMAGE, VOLUME, X, model_of, work
from torch import nn
from torch.nn import functional as F

import analyzer

N = X.numel()

COSTS = {
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
}


@pytest.mark.parametrize(("what", "args", "expected"), COSTS.values(), ids=COSTS)
def test_work_by_hand(what, args, expected):
    assert work(analyzer.profile(model_of(what), args)) == expected
