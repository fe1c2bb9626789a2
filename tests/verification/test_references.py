"""Nothing that a reference counts is lost on the way to the rows."""

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from verified_models import Runs, networks, values

import analyzer

NETWORKS = networks()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_rows_hold_all_that_references_count(name):
    torch.manual_seed(0)
    model, shape = NETWORKS[name]
    if name != "exported":
        model.eval()
    x = values(*shape)
    found = analyzer.verify(model, x.clone())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x.clone())
    assert 2 * sum(row.torch or 0 for row in found.rows) == counter.get_total_flops()
    if found.rows[0].operation == "fvcore":
        assert found.rows[0].explanation.startswith("fvcore can not follow this model (")
        return
    with torch.no_grad():
        analysis = FlopCountAnalysis(model, (x.clone(),)).unsupported_ops_warnings(False)
        assert sum(row.fvcore or 0 for row in found.rows) == analysis.total()


def test_a_formula_that_fails_leaves_out_its_operation_alone(monkeypatch):
    def fails(*args, **kwargs):
        raise AssertionError("these shapes were not expected")

    monkeypatch.setitem(flop_registry, torch.ops.aten.bmm, fails)
    model = nn.Sequential(nn.Linear(8, 4), Runs(lambda x: x @ x.mT))
    layer, product = analyzer.verify(model.eval(), values(3, 5, 8)).rows
    assert (layer.torch, layer.verdict) == (3 * 5 * 8 * 4, "agrees")
    assert (product.fvcore, product.torch) == (3 * 5 * 5 * 4, 0)
    assert product.explanation == "torch says nothing on bmm"
