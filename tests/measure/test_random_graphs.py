"""Profiles of random models equal what the oracle says, operation by operation.

A short run, the same every time, is part of the suite. The long one has new cases each time::

    ANALYZER_EXAMPLES=10000 pytest tests/measure/test_random_graphs.py -k oracle

``ANALYZER_SEED`` repeats one: the seed of each run is printed. A failing graph is shrunk and
printed as a short program.
"""

import os
import random

import pytest
import torch
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from oracles import UndecidedError, counted, rows
from random_graphs.cases import cases
from random_graphs.oracle import contractions
from snapshots import snapshot
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

EXAMPLES = os.environ.get("ANALYZER_EXAMPLES")
SEED = int(os.environ.get("ANALYZER_SEED", random.SystemRandom().randrange(2**32)))


def examples(default):
    """As many examples as asked for by hand; else three fifths of a default, without chance."""
    number = int(EXAMPLES) * default // 200 if EXAMPLES else default * 3 // 5
    chosen = settings(
        max_examples=number,
        deadline=None,
        derandomize=EXAMPLES is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return chosen if EXAMPLES is None else lambda test: chosen(seed(SEED)(test))


@pytest.fixture(autouse=True, scope="module")
def printed_seed(pytestconfig):
    if EXAMPLES is not None:
        writer = pytestconfig.pluginmanager.get_plugin("terminalreporter")
        writer.write_line(f"ANALYZER_SEED={SEED}")


def fed(batches):
    """Batches as ``analyzer.profile`` takes them, all inputs of a pass in one dictionary."""
    return [{f"x{i}": x for i, x in enumerate(b.tensors())} for b in batches]


def profiled(case, batches=None):
    """The profile of a graph; its outputs have any size, so they can tell nothing of samples."""
    batches = fed(case.batches if batches is None else batches)
    return analyzer.profile(case.model(), batches, samples=lambda batch: len(batch["x0"]))


def unordered(table):
    """torch.einsum may swap its operands: the two classes of a product, in one order."""
    sums = {}
    for (module, op, kinds, *_), figures in table.items():
        kinds = "*".join(sorted(kinds.split("*"))) if op == "matmul" else kinds
        key = module, op, kinds
        sums[key] = tuple(a + b for a, b in zip(figures, sums.get(key, (0, 0, 0)), strict=True))
    return sums


def with_work(table):
    """Without rows that did nothing: PyTorch writes attention of an empty batch out."""
    return {key: figures for key, figures in table.items() if any(figures)}


def written_out(truth, found):
    """Attention as matrix products in modules where PyTorch chose no fused kernel for it."""
    fused = {module for module, op, _ in found if op.startswith("attention")}

    def name(module, op, kinds):
        if module in fused or not op.startswith("attention"):
            return op
        return "matmul" if "*" in kinds else "linear"  # one activation or none: weights

    return {(m, name(m, op, k), k, op): figures for (m, op, k), figures in truth.items()}


def expected(case, batches=None):
    """The oracle's rows, None where an operand is not finite."""
    model = case.model()
    try:
        passes = [contractions(model, b.tensors()) for b in batches or case.batches]
        operands = [x for one in passes for seen in one for x in (seen.lhs, seen.rhs)]
        if not all(x.isfinite().all() for x in operands):
            return None
        return rows(*passes)
    except UndecidedError:
        assume(False)


@examples(200)
@given(cases())
def test_rows_are_those_of_the_oracle(case):
    """Dense work, events and unary events of every module, operation and input class."""
    truth = expected(case)
    if truth is None:
        with pytest.raises(AnalyzerError, match="NaN or infinite"):
            profiled(case)
        return
    profile = profiled(case)
    found = counted(profile)
    truth = written_out(truth, found)
    if any(batch.size == 0 for batch in case.batches):
        found, truth = with_work(found), with_work(truth)
    assert unordered(found) == unordered(truth)
    assert profile.samples == sum(b.size for b in case.batches)
    assert profile.uncovered.empty


@examples(60)
@given(cases())
def test_profiles_of_batches_add_up_to_the_profile_of_all(case):
    """Element-wise work too; a branch that only later batches take must not be missed."""
    assume(expected(case) is not None)
    whole = profiled(case)
    parts = [profiled(case, [b]) for b in case.batches]
    assert sum(parts[1:], parts[0]) == whole
    assert sum(parts[-2::-1], parts[-1]) == whole


@examples(60)
@given(cases(per_sample=True, most_batches=2), st.integers(1, 3))
def test_any_cut_of_the_data_gives_the_same_profile(case, size):
    model = case.model()
    data = [torch.cat(xs) for xs in zip(*(b.tensors() for b in case.batches), strict=True)]
    names = [f"x{i}" for i in range(len(data))]

    def cut(size):
        return [
            dict(zip(names, (x.clone() for x in xs), strict=True))
            for xs in zip(*(x.split(size) for x in data), strict=True)
        ]

    whole = analyzer.profile(model, cut(len(data[0])))
    parts = analyzer.profile(model, cut(size))
    assert parts == whole
    assert parts.counts.equals(whole.counts)


class KeepsOutputs(nn.Module):
    """Returns what a model returns, and keeps a copy where the profile can not take it back."""

    def __init__(self, inner, outputs):
        super().__init__()
        self.inner = inner
        self.keep = outputs.append

    def forward(self, **inputs):
        output = self.inner(**inputs)
        self.keep(output.clone())
        return output


@examples(60)
@given(cases())
def test_outputs_are_those_of_a_plain_forward_and_nothing_is_changed(case):
    assume(expected(case) is not None)
    plain = case.model()
    with torch.no_grad():
        outputs = [plain(*b.tensors()) for b in case.batches]
    kept = []
    last = []

    def batches():
        for batch in fed(case.batches):
            yield batch
            last.append(kept[-1])

    model = case.model()
    before = snapshot(model)
    analyzer.profile(KeepsOutputs(model, kept).eval(), batches())
    assert snapshot(model) == before
    for output, profiled_one in zip(outputs, last, strict=True):
        assert output.dtype == profiled_one.dtype
        assert output.shape == profiled_one.shape
        assert torch.equal(bits(output), bits(profiled_one))


def bits(x):
    """Also tells negative zeros and kinds of NaN apart."""
    x = x.contiguous().reshape(-1)
    return x if x.dtype == torch.bool else x.view(torch.uint8)
