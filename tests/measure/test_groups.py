"""Counting by groups in one pass, against einops and NumPy."""

import math
from itertools import product

import einops
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.measure.read.groups import axes_of, grouping, kept

SIZES = {"T": 4, "B": 2}
LAYOUTS = (
    "(T B) C H W", "T B C H W", "T B N D", "T B D N", "T B h N d", "B C H W", "B N C", "T B C",
)  # fmt: skip


def windows(sums, number, axis):
    """Contiguous ranges of a line, or windows of a map; a square one for N."""
    side = math.isqrt(sums.size)
    if axis == "spatial":
        if sums.ndim == 1 and side * side == sums.size:
            sums = sums.reshape(side, side)
        if sums.ndim == 2:
            rows = np.array_split(sums, min(number, sums.shape[0]), axis=0)
            return [w for r in rows for w in np.array_split(r, min(number, r.shape[1]), axis=1)]
    line = sums.reshape(-1)
    return list(np.array_split(line, min(number, line.size)))


def oracle(layout, tensor, sizes, groups):
    mask, found = (tensor != 0).to(torch.int32), {}
    for axis, number in groups.items():
        names = kept(axis, axes_of(layout))
        if names:
            sums = einops.reduce(mask, f"{layout} -> {' '.join(names)}", "sum", **sizes).numpy()
            parts, share = windows(sums, number, axis), tensor.numel() // sums.size
            found[axis] = ([p.size * share for p in parts], [int(p.sum()) for p in parts])
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_groups_of_any_layout_in_any_order_of_memory(data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    names = layout.replace("(T B)", "TB").split()
    known = {"TB": 8, **SIZES}
    shape = [known.get(name) or data.draw(st.integers(1, 12)) for name in names]
    groups = {axis: data.draw(st.integers(1, 6)) for axis in ("temporal", "spatial", "structural")}
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.bool,
                                       torch.int8, torch.int64]))  # fmt: skip
    order = data.draw(st.permutations(range(len(shape))))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    stored = torch.randint(-1, 2, [shape[at] for at in order], generator=generator).to(dtype)
    tensor = stored.permute([order.index(at) for at in range(len(shape))])
    if dtype.is_floating_point:
        tensor = tensor * -1.0  # zeros with a sign are zeros
    sizes = {name: size for name, size in SIZES.items() if name in axes_of(layout)}
    plan = grouping(layout, tensor.shape, tensor.stride(), sizes, groups)
    expected = oracle(layout, tensor, sizes, groups)
    assert {axis: x.tolist() for axis, x in plan.elements.items()} == {
        axis: elements for axis, (elements, _) in expected.items()
    }
    counts = plan.count(tensor)
    found = {axis: x.tolist() for axis, x in plan.fold(counts + counts).items()}
    assert found == {axis: [2 * n for n in fired] for axis, (_, fired) in expected.items()}
    by_torch = {axis: x.tolist() for axis, x in plan._by_torch(tensor).items()}
    assert by_torch == {axis: fired for axis, (_, fired) in expected.items()}


def test_memory_with_gaps_is_counted_too():
    """Every second channel: no element lies next to another."""
    tensor = (torch.rand(4, 2, 9, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    tensor = tensor[..., ::2]
    groups = {"temporal": 2, "spatial": 3, "structural": 2}
    plan = grouping("T B N D", tensor.shape, tensor.stride(), SIZES, groups)
    found = plan.fold(plan.count(tensor))
    expected = oracle("T B N D", tensor, SIZES, groups)
    assert {axis: x.tolist() for axis, x in found.items()} == {
        axis: fired for axis, (_, fired) in expected.items()
    }


def test_rows_longer_than_are_counted_side_by_side():
    tensor = (torch.rand(2, 5000, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    plan = grouping("B C", tensor.shape, tensor.stride(), {"B": 2}, {"structural": 7})
    expected = [int(p.sum()) for p in np.array_split(tensor.numpy().sum(0), 7)]
    assert plan.fold(plan.count(tensor))["structural"].tolist() == expected


@pytest.mark.parametrize(
    ("layout", "shape"), [("T B N", (4, 2)), ("T B N", (5, 2, 3)), ("(T B) N", (9, 3))]
)
def test_a_layout_that_does_not_fit(layout, shape):
    with pytest.raises(ValueError, match="another"):
        grouping(layout, shape, torch.empty(shape).stride(), SIZES, {"temporal": 2})


def test_a_layout_whose_brackets_do_not_match():
    with pytest.raises(ValueError, match="parentheses"):
        grouping("(T B N", (4, 2, 3), (6, 3, 1), SIZES, {"temporal": 2})


def test_every_cell_by_hand():
    """One non-zero at a time lands in its own group of each axis."""
    groups = {"temporal": 2, "spatial": 2, "structural": 3}
    for t, c, h, w in product(range(4), range(3), range(4), range(4)):
        tensor = torch.zeros(4, 2, 3, 4, 4)
        tensor[t, 1, c, h, w] = -2.5
        plan = grouping("T B C H W", tensor.shape, tensor.stride(), SIZES, groups)
        found = {axis: int(x.argmax()) for axis, x in plan.fold(plan.count(tensor)).items()}
        assert found == {"temporal": t // 2, "spatial": h // 2 * 2 + w // 2, "structural": c}
