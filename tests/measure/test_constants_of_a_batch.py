"""A sample's work does not depend on the batch, also where it is on weights and constants alone."""

import pytest
import torch
from constant_models import MODELS, WIDTH
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import analyzer


def facts(profile):
    """All that is told of one sample."""
    table = profile.counts
    sums = [c for c in table.columns if not c.startswith(("module", "op", "input_class", "weight"))]
    table[sums] = table[sums] // profile.samples
    return table.to_dict("records"), profile.per_sample()


@pytest.mark.parametrize("watch", ["first", "every"])
@pytest.mark.parametrize("name", MODELS)
def test_a_sample_costs_the_same_in_any_batch(name, watch):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    x = torch.randn(1, 5, WIDTH).expand(24, -1, -1).contiguous()
    found = {n: facts(analyzer.profile(model, list(x.split(n)), watch=watch)) for n in (1, 2, 3, 8)}
    for n in (2, 3, 8):
        assert found[n] == found[1], n


def test_what_is_one_for_all_samples_takes_the_same_memory():
    model = MODELS["coordinates"]().eval()
    x = torch.randn(8, 5, WIDTH)
    one, all_ = (analyzer.profile(model, some).memory for some in (x[:1], x))
    assert one == all_


WRITTEN = {
    "expanded": ("prompts-expand", "prompts-repeat", "prompts-stack", "prompts-after"),
    "zeros": ("detector", "detector-zeros", "detector-new"),
    "state": ("cell-zeros", "cell-like"),
    "latents": ("latents", "latents-broadcast"),
    "weights": ("hyper", "hyper-broadcast"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_same_work_costs_the_same_however_it_is_written(kind):
    found = []
    for name in WRITTEN[kind]:
        torch.manual_seed(0)
        model = MODELS[name]().eval()
        profile = analyzer.profile(model, torch.ones(4, 5, WIDTH))
        found.append(profile.totals)
    assert all(totals == found[0] for totals in found)


def test_a_product_of_weights_is_one_of_each_sample():
    """Expanded to the batch, it was charged with the square of it."""
    model = MODELS["latents"]().eval()
    per_sample = analyzer.profile(model, torch.randn(8, 5, WIDTH)).per_sample()
    project, read = 3 * WIDTH * WIDTH, 5 * WIDTH * 2 * WIDTH
    assert per_sample["dense_macs"] == project + read + 2 * 3 * 5 * WIDTH


class Program(nn.Module):
    """Constants through random operations, each in the batch's length from some point on."""

    def __init__(self, steps):
        super().__init__()
        torch.manual_seed(0)
        self.steps = steps
        self.p, self.other = (nn.Parameter(torch.randn(5, 7)) for _ in range(2))
        self.register_buffer("b", torch.randn(5, 7))
        self.square, self.norm = nn.Linear(7, 7), nn.LayerNorm(7)

    def forward(self, x):
        n, y = len(x), self.p
        for step in self.steps:
            spread = y.ndim == 3
            y = {
                "buffer": lambda y: y * self.b,
                "other": lambda y: y + self.other,
                "made": lambda y: y + torch.ones(5, 7),
                "made each": lambda y: y + torch.zeros(n, 5, 7),
                "like": lambda y: y + torch.zeros_like(x),
                "positions": lambda y: y + torch.arange(5.0)[:, None],
                "looked up": lambda y: self.other[torch.zeros(n, 5).long()] + y,
                "expand": lambda y, s=spread: y if s else y.expand(n, -1, -1),
                "repeat": lambda y, s=spread: y if s else y.repeat(n, 1, 1),
                "stack": lambda y, s=spread: y if s else torch.stack([y] * n),
                "linear": self.square,
                "norm": self.norm,
                "gelu": nn.functional.gelu,
                "softmax": lambda y: y.softmax(-1),
                "scores": lambda y: (y @ y.mT) @ self.b,
                "weights": lambda y: (y @ self.p.mT).softmax(-1) @ self.other,
                "sum": lambda y: y - y.sum(-1, keepdim=True),
                "copy": lambda y: y.transpose(-1, -2).contiguous().transpose(-1, -2),
            }[step](y)
        return x + y


STEPS = (
    "buffer", "other", "made", "made each", "like", "positions", "looked up", "expand", "repeat",
    "stack", "linear", "norm", "gelu", "softmax", "scores", "weights", "sum", "copy",
)  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7))
def test_random_programs_on_constants_cost_a_sample_the_same(steps):
    model = Program(steps).eval()
    x = torch.randn(1, 5, 7).expand(24, -1, -1).contiguous()
    alone, *others = (analyzer.profile(model, list(x.split(n))).per_sample() for n in (1, 2, 3, 8))
    assert all(other == alone for other in others)


class OverTwoAxes(nn.Module):
    """A product over two leading axes that PyTorch can not fold into one: a batch of products."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]]))

    def forward(self, x):
        return x.transpose(1, 2) @ self.weight


@pytest.mark.parametrize("watch", ["first", "every"])
def test_weights_that_are_broadcast_over_a_batch_of_products_are_read_once(watch):
    data = (torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    whole = analyzer.profile(OverTwoAxes().eval(), [data], watch=watch)
    (fact,) = whole.contractions
    assert (fact.rhs.parameter, fact.rhs.elements, fact.rhs.nonzeros) == (True, 6, 3)
    for size in (1, 2, 3):
        assert analyzer.profile(OverTwoAxes().eval(), list(data.split(size)), watch=watch) == whole
