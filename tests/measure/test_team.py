"""Reading on several threads: whatever their number, all elements are counted once."""

import math
import warnings
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import analyzer
from analyzer.measure.read import kernels
from analyzer.measure.read import openmp as team
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.groups import grouping
from analyzer.measure.read.statistics import TensorLayout

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.int16)
KINDS = ("spikes", "graded", "reals", "full", "nothing")


@contextmanager
def threads(number):
    """However small a tensor is, that many threads read it."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with patch.object(team, "_LEAST", 0):
            yield
    finally:
        torch.set_num_threads(before)


def filled(kind, shape, dtype, generator):
    """Values of a kind, in memory in the order of the axes."""
    fires = (torch.rand(shape, generator=generator) < 0.4).float()
    level = torch.randint(-3, 4, shape, generator=generator).float()
    real = torch.randn(shape, generator=generator).abs() + 0.1
    values = {
        "spikes": fires,
        "graded": fires * level,
        "reals": fires * real,
        "full": real + 1,
        "nothing": torch.zeros(shape),
    }
    return values[kind].to(dtype)


@st.composite
def tensors(draw):
    """Tensors in any order of memory, some long enough for several blocks of a loop."""
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    if draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(2000, 40_000))
        shape = [size if size > 9 else min(size, 2) for size in shape]
    order = draw(st.permutations(range(len(shape))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    stored = filled(
        draw(st.sampled_from(KINDS)),
        [shape[at] for at in order],
        draw(st.sampled_from(DTYPES)),
        generator,
    )
    tensor = stored.permute([order.index(at) for at in range(len(shape))])
    if tensor.is_floating_point() and draw(st.booleans()):
        tensor = tensor * -1  # zeros have a sign now
    way = draw(st.sampled_from(["whole", "gaps", "part", "expanded"]))
    if way == "expanded":
        return tensor[:1].expand(3, *shape[1:])
    last = slice(None, None, 2) if way == "gaps" else slice(0, max(shape[-1] // 2, 1))
    return tensor if way == "whole" else tensor[..., last]


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
def test_a_look_at_reals(tensor, number):
    with threads(number):
        look = TensorLayout.of(tensor).look((), 1, reals=True)
        found = look and look(tensor)
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
        assert not math.isfinite(TensorLayout.of(tensor).look(keep, 1, reals=reals)(tensor).peak)


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
    """All that a profile counted, whoever counted it."""
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
    """What nobody has read is read afterwards."""
    tensor = filled("graded", (50_000,), torch.float32, torch.Generator().manual_seed(0))
    alone = Activity.read(tensor)

    def lonely(loop, order, parts, flags):
        team._function(loop)(order)

    with threads(4), patch.object(team, "_region", lambda: lonely):
        found = Activity.read(tensor)
    assert (found.nonzeros, found.values) == (alone.nonzeros, alone.values)
    assert found.levels(tensor).tolist() == alone.levels(tensor).tolist()


def test_one_thread_reads_where_there_is_no_library():
    other = "OpenMP not found\nATen parallel backend: native thread pool"
    with patch.object(team, "_region", lambda: None), threads(4):
        assert team.parts_of(1 << 30) == 1
    with patch.object(torch.__config__, "parallel_info", lambda: other):
        assert team._region.__wrapped__() is None


@pytest.mark.skipif(
    "parallel backend: OpenMP" not in torch.__config__.parallel_info(), reason="no OpenMP"
)
def test_threads_are_those_of_pytorch():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert (team.parts_of(0), team.parts_of(1 << 30)) == (1, 2)
    finally:
        torch.set_num_threads(before)


def test_loops_are_kept_on_disk():
    """Numba says so where it must compile a loop again in every process."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reals in (False, True):
            kernels.by_chunk.__wrapped__(4, reals)
        kernels.by_position.__wrapped__(4)
        kernels.by_cell.__wrapped__(4, True)
        kernels.by_level.__wrapped__()
