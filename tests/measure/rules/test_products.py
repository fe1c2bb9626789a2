"""Products of matrices in every spelling, against the brute-force oracle."""

import math

import pytest
import torch
from oracles import counted, rows, watch
from rule_checks import Call, X, agree, model_of, real, spikes, values, work
from torch import nn
from torch.nn import functional as F

import analyzer


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
