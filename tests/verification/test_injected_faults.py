"""A wrong rule is found and named, whatever operation it is for."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from verified_models import Runs, networks, spikes, values

import analyzer
import analyzer.measure.rules.defaults as defaults_module
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.matrices import Attended, MatMul
from analyzer.verification import brute_force as brute_force_module

NETWORKS = networks() | {
    "linear": (nn.Sequential(nn.Linear(8, 6)), (4, 8)),
    "linear without bias": (nn.Sequential(nn.Linear(8, 6, bias=False)), (4, 8)),
    "product": (Runs(lambda x: x @ x.mT), (3, 5, 8)),
    "convolution": (nn.Sequential(nn.Conv2d(4, 6, 3, padding=1)), (2, 4, 9, 9)),
}

CASES = [
    ("linear", "addmm"),
    ("linear without bias", "mm"),
    ("not contiguous", "mm"),
    ("product", "bmm"),
    ("added", "baddbmm"),
    ("added", "addbmm"),
    ("vectors", "mv"),
    ("vectors", "dot"),
    ("in place", "addmm"),
    ("grouped rows", "mm"),
    ("scaled", "_scaled_mm"),
    ("weights of 8 bits", "_weight_int8pack_mm"),
    ("convolution", "convolution"),
    ("transposed", "convolution"),
    ("traced", "_convolution"),
    ("time first", "conv_tbc"),
    ("attention", "_scaled_dot_product_flash_attention_for_cpu"),
    ("hooks", "addmm"),
    ("autograd function", "mm"),
    ("vmap", "bmm"),
    ("spectral norm", "mv"),
    ("scripted", "addmm"),
]

FUSED = [
    ("bilinear", "_trilinear"),
    ("distances", "_euclidean_dist"),
    ("grouped columns", "_grouped_mm"),
    ("fused", "_native_multi_head_attention"),
    ("encoder", "_transformer_encoder_layer_fwd"),
    ("encoder, padded", "_transformer_encoder_layer_fwd"),
    ("lstm", "mkldnn_rnn_layer"),
]


def counted_by(monkeypatch, rules):
    """The profile is counted by some rules, which also are the list of operations."""
    monkeypatch.setattr(defaults_module, "_pytorch_rules", lambda: rules)


def doubled(rule):
    return lambda args, kwargs, out: 2 * rule(args, kwargs, out)


def halved(rule):
    return lambda args, kwargs, out: [half(product) for product in rule(args, kwargs, out)]


def half(product):
    """A product of half as much of something: the axis to sum over, channels, or samples."""
    lhs, rhs = product.lhs, product.rhs
    if isinstance(product.geometry, MatMul):
        inner = rhs.shape[-2] // 2
        return product._replace(lhs=lhs[..., :inner], rhs=rhs[..., :inner, :])
    if isinstance(product.geometry, Attended):
        return product._replace(rhs=rhs[..., : rhs.shape[-1] // 2])
    return product._replace(lhs=lhs[: len(lhs) // 2])


def forgotten(rule):
    return lambda args, kwargs, out: []


def unexplained(name, given):
    model, shape = NETWORKS[name]
    torch.manual_seed(0)
    return analyzer.verify(model.eval(), given(*shape)).unexplained


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", [doubled, halved, forgotten])
@pytest.mark.parametrize(("name", "op"), CASES)
def test_a_wrong_rule_is_found(monkeypatch, name, op, fault):
    rules = default_rules()
    assert not unexplained(name, spikes)
    wrong = {**rules.products, op: fault(rules.products[op])}
    counted_by(monkeypatch, replace(rules, products=wrong))
    found = unexplained(name, spikes)
    assert found
    for row in found:
        assert row.dense_macs != row.brute_force
        assert "by brute force" in row.explanation


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize(("name", "op"), FUSED)
def test_a_layer_that_is_written_out_wrongly_is_found(monkeypatch, name, op, times):
    rules = default_rules()

    def wrong(*args, **kwargs):
        for _ in range(times):
            rules.fused[op](*args, **kwargs)

    counted_by(monkeypatch, replace(rules, fused={**rules.fused, op: wrong}))
    found = unexplained(name, values)
    assert found
    for row in found:
        assert (row.dense_macs > row.brute_force) if times else not row.dense_macs


def test_a_forgotten_mask_is_found(monkeypatch):
    """Only events tell: dense work is that without a mask."""
    rules = default_rules()
    op = "_native_multi_head_attention"

    def wrong(*args):
        return rules.fused[op](*args[:9])

    counted_by(monkeypatch, replace(rules, fused={**rules.fused, op: wrong}))
    (row,) = unexplained("fused, padded", values)
    assert row.dense_macs == row.brute_force
    assert row.events > row.brute_force_events


@pytest.mark.filterwarnings("ignore")
def test_an_operation_without_a_rule_is_found(monkeypatch):
    rules = default_rules()
    left = {name: rule for name, rule in rules.products.items() if name != "mm"}
    counted_by(monkeypatch, replace(rules, products=left))
    (row,) = unexplained("linear without bias", spikes)
    assert (row.module, row.dense_macs, row.brute_force) == ("0", 0, 4 * 8 * 6)


@pytest.mark.filterwarnings("ignore")
def test_an_operation_that_only_a_reference_knows_is_found(monkeypatch):
    rules = default_rules()
    left = {name: rule for name, rule in rules.products.items() if name != "_scaled_mm"}
    lacking = replace(rules, products=left)
    counted_by(monkeypatch, lacking)
    operands = {k: v for k, v in brute_force_module._OPERANDS.items() if k != "_scaled_mm"}
    monkeypatch.setattr(brute_force_module, "_OPERANDS", operands)
    (row,) = unexplained("scaled", values)
    assert (row.dense_macs, row.brute_force, row.torch) == (0, 0, 8 * 16 * 32)
    assert "torch counts 4,096, also _scaled_mm, which no rule covers" in row.explanation


def test_two_references_outweigh_what_the_others_share(monkeypatch):
    rules = default_rules()
    wrong = {**rules.products, "mm": doubled(rules.products["mm"])}
    counted_by(monkeypatch, replace(rules, products=wrong))
    honest = brute_force_module._Watch._add

    def twice(self, *args, **kwargs):
        honest(self, *args, **kwargs)
        honest(self, *args, **kwargs)

    monkeypatch.setattr(brute_force_module._Watch, "_add", twice)
    (row,) = unexplained("linear without bias", spikes)
    assert row.dense_macs == row.brute_force == 2 * row.torch
    assert row.explanation == "fvcore counts 192; torch counts 192"


def test_a_module_is_named_among_many(monkeypatch):
    rules = default_rules()
    honest = rules.products["addmm"]

    def wrong(args, kwargs, out):
        return honest(args, kwargs, out) * (2 if out.shape[-1] == 5 else 1)

    counted_by(monkeypatch, replace(rules, products={**rules.products, "addmm": wrong}))
    model = nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 5)), nn.Linear(5, 6))
    found = analyzer.verify(model.eval(), values(4, 8))
    assert [row.module for row in found.unexplained] == ["1.0"]
    assert found.summary == "2 operations agree; 1 differs, 1 unexplained"
