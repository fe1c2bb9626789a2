"""The three reference models on digits: every operation against brute force and other counters."""

import warnings
from functools import cache

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from oracles import counted, rows, watch
from torch.utils.flop_counter import FlopCounterMode

import analyzer
from analyzer.data.digits import digits

NAMES = ["ge2mst-tiny", "spikformer-tiny", "vit-tiny"]


@cache
def built(name):
    """With trained weights, or at least batch norms that let neurons fire."""
    torch.manual_seed(0)
    if analyzer.models.weights_path(name).exists():
        return analyzer.models.build(name, pretrained=True).eval()
    model = analyzer.models.build(name).train()
    with torch.no_grad():
        for _ in range(20):
            model(images(32))
    return model.eval()


@cache
def images(number):
    return digits(32)[1].tensors[0][:number].clone()


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_equals_brute_force(name):
    model, x = built(name), images(2)
    expected = rows(watch(model, x))
    profile = analyzer.profile(model, x)
    assert counted(profile) == expected
    assert profile.uncovered.empty
    fired = sum(events for (_, _, kind), (_, events, _) in expected.items() if kind == "binary")
    assert (fired > 0) == (name != "vit-tiny")


@pytest.mark.parametrize("name", NAMES)
def test_dense_work_equals_the_flop_counter_of_torch(name):
    """It has no rule for fused attention on a CPU: the difference is the attention products."""
    model, x = built(name), images(2)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(x)
    table = analyzer.profile(model, x).operations()
    fused = table["op"].str.startswith("attention")
    assert flops.get_total_flops() == 2 * int(table.loc[~fused, "dense_macs"].sum())
    assert fused.any() == (name == "vit-tiny")


def test_dense_work_of_the_vit_equals_fvcore_operation_by_operation():
    """Fvcore also counts norms, and knows no fused attention."""
    model, x = built("vit-tiny"), images(2)
    analysis = FlopCountAnalysis(model, x).unsupported_ops_warnings(False)
    analysis = analysis.uncalled_modules_warnings(False)
    by_operation = analysis.by_operator()
    table = analyzer.profile(model, x).operations()
    assert set(by_operation) == {"linear", "conv", "layer_norm"}
    for op, ours in (("linear", "linear"), ("conv", "conv2d")):
        assert by_operation[op] == table.loc[table["op"] == ours, "dense_macs"].sum()
    assert analysis.unsupported_ops()["aten::scaled_dot_product_attention"] == 4
    tokens, width, depth = model.config.tokens, model.config.embed_dim, model.config.depth
    attention = table.loc[table["op"].str.startswith("attention"), "dense_macs"]
    assert attention.sum() == 2 * depth * 2 * tokens * tokens * width
    by_module = analysis.by_module_and_operator()
    ours = table[table["op"] == "linear"].set_index("module")["dense_macs"]
    assert {m: ours[m] for m in ours.index} == {m: by_module[m]["linear"] for m in ours.index}


@pytest.mark.parametrize("name", NAMES)
def test_the_profile_does_not_depend_on_the_batch_size(name):
    """Counts, element-wise work, groups and timesteps are equal however the data is cut."""
    model, x = built(name), images(10)
    groups = {"temporal": 2, "spatial": 2, "structural": 4}
    whole = analyzer.profile(model, x, groups=groups)
    for size in (1, 7):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cut = analyzer.profile(model, list(x.split(size)), groups=groups)
        assert cut == whole
        assert cut.counts.equals(whole.counts)
        assert cut.operations().equals(whole.operations())
        assert cut.totals == whole.totals
        axes = ["module", "spatial", "structural"]
        axes += [] if name == "vit-tiny" else ["timestep", "temporal"]
        for by in axes:
            assert cut.sparsity(by).equals(whole.sparsity(by))


@pytest.mark.parametrize("name", NAMES)
def test_profiles_of_disjoint_data_add_up(name):
    model, x = built(name), images(6)
    parts = [analyzer.profile(model, part) for part in (x[:1], x[1:3], x[3:])]
    whole = analyzer.profile(model, x)
    assert parts[0] + parts[1] + parts[2] == whole
    assert parts[2] + (parts[0] + parts[1]) == whole
    assert (parts[1] + parts[0] + parts[2]).totals == whole.totals


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_the_share_of_labels_that_a_plain_forward_gets_right(name):
    model = built(name)
    x, y = (tensor[:10] for tensor in digits(32)[1].tensors)
    with torch.no_grad():
        right = int((model(x).argmax(1) == y).sum())
    profile = analyzer.profile(model, list(zip(x.split(8), y.split(8), strict=True)))
    assert (profile.correct, profile.samples) == (right, 10)
    assert profile.accuracy == right / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_batches_of_one_seven_and_sixty_four_give_one_profile(name):
    model, x = built(name), images(64)
    whole = analyzer.profile(model, x)
    assert analyzer.profile(model, list(x.split(7))) == whole
    assert analyzer.profile(model, list(x.split(1))) == whole
