"""Which work is counted, and which module it is charged to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import analyzer

X = torch.ones(2, 4)


def modules(model, x=X):
    """Samples that passed, by module path."""
    table = analyzer.profile(model.eval(), x).operations()
    return table.groupby("module")["calls"].sum().to_dict()


class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x))


class Parent(nn.Module):
    def __init__(self, *children):
        super().__init__()
        self.children_list = nn.ModuleList(children)

    def forward(self, x):
        for child in self.children_list:
            x = child(x)
        return x


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def forward(self, x):
        return F.linear(x, self.weight)


class Recursive(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, depth=3):
        return self.layer(x) if depth == 0 else self(self.layer(x), depth - 1)


def test_work_is_charged_to_the_innermost_module():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Functional(), nn.Linear(4, 4)))
    assert modules(model) == {"0": 2, "1.0": 2, "1.1": 2}
    assert modules(Functional()) == {"": 2}


def test_two_calls_of_a_layer_are_charged_to_it():
    assert modules(nn.Sequential(Twice(nn.Linear(4, 4)))) == {"0.layer": 4}


def test_a_shared_layer_is_charged_under_the_parent_that_runs_it():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(Twice(shared), nn.Sequential(shared), Twice(nn.Sequential(shared)))
    assert modules(model) == {"0.layer": 4, "1.0": 2, "2.layer.0": 4}


def test_children_of_a_shared_module_are_charged_under_the_parent_that_runs_it():
    shared = nn.Sequential(nn.Linear(4, 4))
    assert modules(Parent(Twice(shared), Twice(shared))) == {
        "children_list.0.layer.0": 4,
        "children_list.1.layer.0": 4,
    }


def test_a_weight_of_two_modules_is_charged_to_each_and_held_once():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    model = nn.Sequential(a, b)
    assert modules(model) == {"0": 2, "1": 2}
    assert analyzer.profile(model.eval(), X).parameters == 16 + 4 + 4


def test_recursive_calls_are_charged_to_the_layer_that_they_reach():
    assert modules(Recursive()) == {"layer": 8}


def test_a_module_list_only_adds_to_the_path():
    assert modules(Parent(nn.Linear(4, 4), nn.Linear(4, 4))) == {
        "children_list.0": 2,
        "children_list.1": 2,
    }


def test_modules_from_outside_the_model_are_charged_to_their_caller():
    outside = nn.Linear(4, 4)

    class Borrows(nn.Module):
        def forward(self, x):
            return outside(x)

    table = analyzer.profile(nn.Sequential(Borrows()).eval(), X).operations()
    assert table["module"].tolist() == ["0"]


def test_only_work_of_the_forward_is_counted():
    """Work done while batches are made, labels scored or states reset once was counted."""
    model = nn.Linear(8, 2).eval()
    mixing = torch.randn(8, 8)
    batches = ((torch.randn(3, 8) @ mixing * 2, torch.zeros(3).long()) for _ in range(2))
    profile = analyzer.profile(model, batches, reset=lambda m: m.weight @ m.weight.T)
    assert profile.counts[["module", "op"]].values.tolist() == [["", "linear"]]
    assert profile.totals["dense_macs"] == 6 * 8 * 2


def test_a_fused_encoder_layer_is_counted_as_its_products():
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    profile = analyzer.profile(model, torch.randn(4, 5, 16))
    assert profile.uncovered.empty
    linear, attention = 4 * 5 * 16 * (3 * 16 + 16 + 2 * 32), 4 * 2 * 5 * 5 * 16
    assert profile.totals["dense_macs"] == linear + attention


class Fails(nn.Module):
    def forward(self, x):
        raise ValueError("no")


def test_an_error_names_the_innermost_module():
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.Identity(), Fails()))
    with pytest.raises(ValueError, match="no") as caught:
        analyzer.profile(model.eval(), torch.ones(2, 6))
    assert caught.value.__notes__ == [
        "raised while profiling, in module 1.1",
        "the model was given tensors of shape (2, 6)",
    ]


def test_after_an_error_that_the_model_handles_work_is_charged_as_before():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails, self.layer = Fails(), nn.Linear(6, 6)

        def forward(self, x):
            try:
                return self.fails(x)
            except ValueError:
                return self.layer(x) @ self.layer.weight

    profile = analyzer.profile(Careful().eval(), torch.ones(2, 6))
    assert profile.counts["module"].tolist() == ["layer", ""]


trees = st.recursive(
    st.just("leaf"), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=6
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(trees)
def test_random_nesting_charges_every_leaf_by_its_path(tree):
    def grow(node):
        return nn.Linear(4, 4) if node == "leaf" else nn.Sequential(*map(grow, node))

    model = grow(tree)
    paths = {n: 2 for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert modules(model) == paths
