"""Tensors of every dtype, content and order of memory, drawn by Hypothesis."""

import torch
from hypothesis import strategies as st

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.int16)
KINDS = ("spikes", "graded", "reals", "full", "nothing")


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
