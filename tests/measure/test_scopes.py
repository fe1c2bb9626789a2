"""Which module an operation is charged to."""

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


def test_nested_and_functional():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Functional(), nn.Linear(4, 4)))
    assert modules(model) == {"0": 2, "1.0": 2, "1.1": 2}
    assert modules(Functional()) == {"": 2}


def test_called_twice():
    assert modules(nn.Sequential(Twice(nn.Linear(4, 4)))) == {"0.layer": 4}


def test_shared_under_two_parents_is_charged_where_it_runs():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(Twice(shared), nn.Sequential(shared), Twice(nn.Sequential(shared)))
    assert modules(model) == {"0.layer": 4, "1.0": 2, "2.layer.0": 4}


def test_shared_with_its_own_children():
    shared = nn.Sequential(nn.Linear(4, 4))
    assert modules(Parent(Twice(shared), Twice(shared))) == {
        "children_list.0.layer.0": 4,
        "children_list.1.layer.0": 4,
    }


def test_shared_weight_of_two_modules():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    model = nn.Sequential(a, b)
    assert modules(model) == {"0": 2, "1": 2}
    assert analyzer.profile(model.eval(), X).parameters == 16 + 4 + 4


def test_recursion():
    assert modules(Recursive()) == {"layer": 8}


def test_module_list_has_no_scope_of_its_own():
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
