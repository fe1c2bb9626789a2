"""Reading on several threads: whatever their number, all elements are counted once."""

import math
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from drawn_tensors import KINDS, filled, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.measure.read import openmp
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.groups import grouping
from analyzer.measure.read.statistics import prepared_reader


@contextmanager
def threads(number):
    """That many threads read a tensor, however small it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with patch.object(openmp, "_LEAST", 0):
            yield
    finally:
        torch.set_num_threads(before)


def reader_of(tensor, keep, *, reals):
    """What reads such tensors, not one that was prepared for another number of parts."""
    prepare = prepared_reader.__wrapped__
    threads = torch.get_num_threads()
    return prepare(tensor.shape, tensor.stride(), tensor.dtype, keep, 1, reals, threads)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tensors(), st.integers(1, 5), st.data())
def test_counts_levels_and_classes(tensor, number, data):
    axes = range(tensor.ndim)
    keep = tuple(sorted(data.draw(st.sets(st.sampled_from(axes), max_size=tensor.ndim))))
    steps = data.draw(st.sampled_from([s for s in (1, 2, 3) if tensor.shape[0] % s == 0]))
    with threads(number):
        found = Activity.read(tensor, keep, steps)
        counts = found.counts(tensor, keep, steps)
        levels = None if found.values.real else found.levels(tensor, keep, steps)
    stepped = tensor.double().unflatten(0, (steps, -1))
    summed = [axis + 1 for axis in axes if axis not in keep]

    def sums(of):
        return (of.sum(summed) if summed else of).reshape(steps, -1).tolist()

    assert found.nonzeros == int((tensor != 0).sum())
    assert counts.tolist() == sums(stepped != 0)
    alone = Activity.read(tensor.clone())
    assert found.values == alone.values
    if levels is not None:
        step = found.values.step or 1.0
        assert levels.tolist() == sums((stepped / step).abs().round())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tensors(), st.integers(1, 5))
def test_a_prepared_reader_of_reals(tensor, number):
    with threads(number):
        reader = reader_of(tensor, (), reals=True)
        found = reader and reader(tensor)
    if found is not None:
        assert found.nonzeros == int((tensor != 0).sum())
        assert found.peak == float(tensor.double().abs().max())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("reals", [True, False])
@pytest.mark.parametrize("keep", [(), (1,)])
def test_what_is_not_finite_is_found_among_reals_and_late_among_spikes(bad, number, reals, keep):
    tensor = torch.full((100, 400), 0.5) if reals else torch.eye(100, 400)
    tensor[97, 123] = bad
    with threads(number):
        assert not math.isfinite(reader_of(tensor, keep, reals=reals)(tensor).peak)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.permutations(range(4)), st.sampled_from(KINDS), st.integers(1, 9))
def test_groups(number, order, kind, size):
    shape = (4, 2, size, 30)
    generator = torch.Generator().manual_seed(size)
    stored = filled(kind, [shape[at] for at in order], torch.float32, generator)
    tensor = stored.permute([order.index(at) for at in range(4)])
    groups = {"temporal": 2, "spatial": 3, "structural": 4}
    plan = grouping("T B N D", tensor.shape, tensor.stride(), {"T": 4, "B": 2}, groups)
    with threads(number):
        found = plan.fold(plan.count(tensor))
    expected = plan._by_torch(tensor)
    assert {a: x.tolist() for a, x in found.items()} == {a: x.tolist() for a, x in expected.items()}


def facts(model, batches):
    """All that a profile counted."""
    found = analyzer.profile(model, batches)
    return found.contractions, found.tallies, found.groups


@pytest.mark.parametrize("number", [2, 3])
def test_a_profile_is_the_same_on_any_number_of_threads(number):
    torch.manual_seed(0)
    model = analyzer.models.build("spikformer-tiny", timesteps=2).eval()
    batches = [torch.rand(2, 1, 8, 8) for _ in range(3)]
    with threads(1):
        alone = facts(model, batches)
    with threads(number):
        assert facts(model, batches) == alone


def test_a_region_with_fewer_threads_than_it_should_have():
    """The parts that no thread has read are read afterwards."""
    tensor = filled("graded", (50_000,), torch.float32, torch.Generator().manual_seed(0))
    alone = Activity.read(tensor)

    def one_thread(loop, job, parts, flags):
        openmp._function(loop)(job)

    with threads(4), patch.object(openmp, "_region", lambda: one_thread):
        found = Activity.read(tensor)
    assert (found.nonzeros, found.values) == (alone.nonzeros, alone.values)
    assert found.levels(tensor).tolist() == alone.levels(tensor).tolist()


def test_one_thread_reads_where_there_is_no_library():
    other = "OpenMP not found\nATen parallel backend: native thread pool"
    with patch.object(openmp, "_region", lambda: None), threads(4):
        assert openmp.parts_of(1 << 30) == 1
    with patch.object(torch.__config__, "parallel_info", lambda: other):
        assert openmp._library.__wrapped__() is None


@pytest.mark.skipif(
    "parallel backend: OpenMP" not in torch.__config__.parallel_info(), reason="no OpenMP"
)
def test_threads_are_those_of_pytorch():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert (openmp.parts_of(0), openmp.parts_of(1 << 30)) == (1, 2)
    finally:
        torch.set_num_threads(before)
