"""Right counts are never called wrong, whatever kind of operation, module or input it is."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention
from verified_models import Levels, Runs, heads, networks, spikes, values

import analyzer
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.session.passes import Passes
from analyzer.measure.torch_private.operators import decomposes
from analyzer.verification import brute_force as brute_force_module
from analyzer.verification import comparison as comparison_module
from analyzer.verification.kernels import TAKEN_APART

NETWORKS = networks()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", [spikes, values])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_called_wrong(name, given):
    torch.manual_seed(0)
    model, shape = NETWORKS[name]
    if name != "exported":
        model.eval()
    found = analyzer.verify(model, given(*shape))
    assert not found.unexplained
    assert {row.verdict for row in found.rows} <= {"agrees", "explained"}
    assert name == "nothing" or any(row.brute_force for row in found.rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("step", [1.0, 0.25, 0.3, 1 / 7])
@pytest.mark.parametrize("most", [1, 3, 20])
def test_levels_agree_in_every_float(dtype, step, most):
    (row,) = analyzer.verify(Levels(dtype, step, most).eval(), values(16, 8)).rows
    assert row.verdict == "agrees"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("step", [0.1, 1 / 3, 3.3])
def test_signs_of_16_bits_agree_in_convolutions(dtype, step):
    layer = nn.Conv1d(5, 4, 3, padding=1).to(dtype)
    model = Runs(lambda part, x: part((x.round().sign() * step).to(dtype)), layer)
    (row,) = analyzer.verify(model.eval(), values(3, 5, 8)).rows
    assert row.verdict == "agrees"
    assert 0 < row.unary_events == row.events < row.dense_macs


def again(part, x):
    return while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, part(y)), (torch.tensor(0), x))[1]


GIVEN_FUNCTIONS = {
    "cond": (lambda part, x: torch.cond(x.sum() > 9, part, torch.neg, (x,)), 0),
    "while_loop": (again, 3),
    "scan": (lambda part, x: scan(lambda c, y: (part(c + y),) * 2, torch.zeros(5, 8), x)[0], 3),
    "flex_attention": (lambda part, x: flex_attention(*[heads(part(x))] * 3), 1),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", [spikes, values])
@pytest.mark.parametrize("name", GIVEN_FUNCTIONS)
def test_operators_that_are_given_functions_are_followed(name, given):
    function, runs = GIVEN_FUNCTIONS[name]
    x = given(3, 5, 8)
    found = analyzer.verify(Runs(function, nn.Linear(8, 8)).eval(), x)
    assert not found.unexplained
    assert {row.verdict for row in found.rows} <= {"agrees", "explained"}
    runs = int(x.sum() > 9) if name == "cond" else runs
    rows = 5 if name == "scan" else 15
    layer = sum(row.brute_force or 0 for row in found.rows if "linear" in row.operation)
    assert layer == runs * rows * 8 * 8


def test_levels_that_16_bits_round_are_those_that_are_stored():
    """0.9 is no multiple of 0.3 in bfloat16: 230 levels of 2⁻⁸, where float32 has 3 of 0.3."""
    x = torch.tensor([[0, 1, 2, 3, 0, 0, 0, 0]]) / 4
    for dtype, levels in ((torch.float32, 1 + 2 + 3), (torch.bfloat16, 77 + 154 + 230)):
        (row,) = analyzer.verify(Levels(dtype, 0.3, 3).eval(), x).rows
        assert row.unary_events == row.brute_force_unary_events == 4 * levels


def test_an_input_is_left_as_it_was_given():
    class Reshapes(nn.Module):
        def forward(self, x, y):
            x.unsqueeze_(0).add_(y)
            return x[0] @ torch.ones(8, 3)

    x = values(4, 8)
    before = x.clone()
    found = analyzer.verify(Reshapes().eval(), (x, x))  # the same tensor twice
    assert torch.equal(x, before)
    assert not found.unexplained


@pytest.mark.parametrize("fast", [True, False])
def test_attention_agrees_with_the_fast_path_and_without(fast):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        model, shape = networks()["encoder, padded"]
        found = analyzer.verify(model.eval(), values(*shape))
        assert torch.backends.mha.get_fastpath_enabled() is fast
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert not found.unexplained
    # Of 15 tokens 6 are padding, which the fast path leaves out of all but attention.
    tokens, layers = (9 if fast else 15), 2
    each = tokens * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 3 * 5 * 5 * 8
    assert sum(row.brute_force or 0 for row in found.rows) == layers * each


def test_brute_force_knows_every_contraction_of_the_rules():
    rules = default_rules()
    known = {*brute_force_module._OPERANDS, *brute_force_module._CONVOLUTIONS, *TAKEN_APART}
    known |= {"conv_tbc", "_weight_int8pack_mm"}
    left = {*rules.products, *rules.fused} - known
    left = {name for name in left if not name.startswith("_scaled_dot_product_")}
    assert all(decomposes(getattr(torch.ops.aten, name).default) for name in left)


@torch.library.custom_op("tests_verify::spike_linear", mutates_args=())
def spike_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight.t()


@torch.library.custom_op("tests_verify::opaque", mutates_args=())
def opaque(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.numpy() @ weight.numpy().T)


def test_a_rule_for_an_operation_in_python_is_held_against_what_it_runs():
    model = Runs(lambda x: spike_linear(x, torch.ones(3, 8)))
    with analyzer.rule.temporarily() as rule:

        @rule(spike_linear)
        def right(args, kwargs, out):
            return analyzer.products.linear(args[0], args[1])

        (row,) = analyzer.verify(model.eval(), spikes(4, 8)).rows
        assert (row.verdict, row.brute_force) == ("explained", 4 * 8 * 3)
        assert row.explanation == (
            "fvcore says nothing on tests_verify::spike_linear; "
            "torch says nothing on tests_verify::spike_linear"
        )

        @rule(spike_linear, replace=True)
        def wrong(args, kwargs, out):
            return analyzer.products.linear(args[0], args[1][:2])

        (row,) = analyzer.verify(model, spikes(4, 8)).unexplained
        assert (row.dense_macs, row.brute_force) == (4 * 8 * 2, 4 * 8 * 3)


def test_an_operation_that_nobody_can_look_into_is_unchecked():
    """And a difference beside it, of which brute force has more, is found."""
    model = Runs(lambda x: opaque(x, torch.ones(3, 8)) @ torch.ones(3, 2))
    with analyzer.rule.temporarily() as rule:

        @rule(opaque)
        def count(args, kwargs, out):
            return analyzer.products.linear(args[0], args[1])

        found = analyzer.verify(model.eval(), spikes(4, 8))
        (row,) = found.rows
        assert (row.dense_macs, row.brute_force) == (4 * 8 * 3 + 4 * 3 * 2, 4 * 3 * 2)
        assert (row.verdict, row.explanation) == (
            "unchecked",
            "nothing else counts tests_verify::opaque",
        )
        assert found.summary == "0 operations agree; 1 unchecked"
        assert not found.unexplained

        @rule("aten::mm")
        def nothing(args, kwargs, out):
            return None

        (row,) = analyzer.verify(model, spikes(4, 8)).unexplained
        assert row.brute_force == 4 * 3 * 2


def test_what_a_counter_can_not_follow_is_unchecked_and_said(monkeypatch):
    def fails(*args, **kwargs):
        raise NotImplementedError("no rule\nfor this")

    monkeypatch.setattr(comparison_module, "brute_force", fails)
    monkeypatch.setattr(comparison_module, "by_torch", fails)
    found = analyzer.verify(nn.Sequential(nn.Linear(8, 4)).eval(), values(4, 8))
    *failed, row = found.rows
    assert {(r.operation, r.verdict, r.explanation) for r in failed} == {
        (name, verdict, f"{name} can not follow this model (NotImplementedError: no rule for this)")
        for name, verdict in (("brute force", "unchecked"), ("torch", "explained"))
    }
    assert (row.dense_macs, row.fvcore, row.torch, row.brute_force) == (128, 128, None, None)
    assert (row.verdict, row.explanation) == (
        "unchecked",
        "brute force could not follow the model",
    )
    assert not found.unexplained


class Prompted(nn.Module):
    """Prompts and positions are projected before they meet the input."""

    def __init__(self, expanded):
        super().__init__()
        self.prompts = nn.Parameter(values(3, 8))
        self.project, self.place = nn.Linear(8, 8, bias=False), nn.Linear(1, 8, bias=False)
        self.expanded = expanded

    def forward(self, x):
        prompts, at = self.prompts, torch.arange(5.0)[:, None]
        if self.expanded:
            prompts, at = prompts.expand(len(x), -1, -1), at.expand(len(x), -1, -1)
        return self.project(prompts) @ (x + self.place(at)).mT


@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize(("factor", "right"), [(1, True), (2, False), (4, True), (5, False)])
def test_products_of_constants_are_of_one_pass_or_of_each_sample(
    monkeypatch, expanded, factor, right
):
    """Whichever of the two the profile says, and nothing else."""
    model, x = Prompted(expanded).eval(), values(4, 5, 8)
    honest = Passes.profile
    once = 3 * 8 * 8 * (4 if expanded else 1)

    def profile(*args):
        own = honest(*args)
        counts = {"dense_macs": once * factor, "pair_events": once * factor}
        changed = (
            replace(site, **counts) if site.module == "project" else site
            for site in own.contractions
        )
        return replace(own, contractions=tuple(changed))

    monkeypatch.setattr(Passes, "profile", profile)
    found = analyzer.verify(model, x)
    assert [row.module for row in found.unexplained] == ([] if right else ["project"])
    (row,) = (row for row in found.rows if row.module == "project")
    assert row.torch == once
    assert row.explanation.startswith("products of constants") is (right and factor > 1)
