"""The four counters: references are dropped where they do not know, all else is a difference."""

import ast
from dataclasses import replace
from pathlib import Path

import oracles
import pytest
import torch
from small_models import ONE_OF_EACH, image_of, small
from torch import nn
from torch.nn import functional as F
from verified_models import Runs, spikes

import analyzer
import analyzer.measure.rules.defaults as defaults_module
import analyzer.verification.brute_force as brute_force_module
import analyzer.verification.groups as groups_module
import analyzer.verification.kernels as kernels_module
import analyzer.verification.operands as operands_module
import analyzer.verification.passes as passes_module
import analyzer.verification.seen as seen_module
import analyzer.verification.steps as steps_module
from analyzer.cli import main
from analyzer.errors import AnalyzerError
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.rules.matrices import MatMul
from analyzer.measure.session.passes import Passes
from analyzer.models.warm import warm
from analyzer.verification.brute_force import brute_force
from analyzer.verification.comparison import verify
from analyzer.verification.operands import value_class


def x():
    return torch.rand(2, 8, 16, generator=torch.Generator().manual_seed(2))


ELSEWHERE = ("ge2mst-tiny-ann", "ge2mst-tiny-converted", "spikformer-tiny", "vit-tiny")
"""Of the structure of others here, or held against brute force in a test of their own."""


@pytest.mark.parametrize("name", [n for n in ONE_OF_EACH if n not in ELSEWHERE])
def test_registered_models_are_explained_to_the_last_integer(name):
    torch.manual_seed(0)
    model = small(name)
    x = image_of(model, 2)
    if not name.startswith("ge2mst"):
        warm(model, x)
    found = verify(model, x)
    assert not found.unexplained, found.unexplained
    assert found.samples == len(x)
    own = analyzer.profile(model, x)
    for figure in ("dense_macs", "events", "unary_events"):
        assert found.table[figure].sum() == sum(getattr(x, figure) for x in own.contractions)
    assert own.totals["events"] > 0
    assert {row.verdict for row in found.rows} == {"agrees", "explained"}


def silent(name, op):
    return f"{name} says nothing on {op}"


FLASH = silent("torch", "_scaled_dot_product_flash_attention_for_cpu")
FUSED_FVCORE = silent("fvcore", "_native_multi_head_attention")
FUSED_TORCH = silent("torch", "_transformer_encoder_layer_fwd")
SDPA = silent("fvcore", "scaled_dot_product_attention")
REFERENCES = {
    "attention": (Runs(lambda a: F.scaled_dot_product_attention(a[None], a[None], a[None])),
                  4096, 0, 0, {SDPA, FLASH}),
    "written-out attention": (Runs(lambda a: F.scaled_dot_product_attention(a, a, a)),
                              4096, 0, 4096, {SDPA}),
    "same padding": (Runs(nn.Conv1d(8, 4, 4, padding="same")), 4096, 0, 4096,
                     {silent("fvcore", "_convolution_mode")}),
    "broadcast": (Runs(lambda a: a[:, None] @ torch.ones(5, 16, 3)), 3840, 768, 3840,
                  {"fvcore alone counts 768"}),
    "einsum": (Runs(lambda a: torch.einsum("bij,bjk,k->bi", a, a.mT, a[0, :, 0])),
               2176, 512, 2176, {"fvcore alone counts 512"}),
    "baddbmm": (Runs(lambda a: torch.baddbmm(torch.zeros(1), a, a.mT)), 2048, 0, 2048,
                {silent("fvcore", "baddbmm")}),
    "vector": (Runs(lambda a: torch.mv(a[0], a[0, 0])), 128, 0, 0,
               {silent("fvcore", "mv"), silent("torch", "mv")}),
    "tensordot": (Runs(lambda a: torch.tensordot(a, a, dims=([2], [2]))), 4096, 0, 4096,
                  {silent("fvcore", "tensordot")}),
    "bilinear": (Runs(lambda part, a: part(a, a), nn.Bilinear(16, 16, 3)), 13056, 0, 0,
                 {silent("fvcore", "bilinear"), silent("torch", "_trilinear")}),
    "gru": (Runs(lambda part, a: part(a)[0], nn.GRU(16, 4)), 3840, 0, 3840,
            {silent("fvcore", "gru")}),
    "lstm": (Runs(lambda part, a: part(a)[0], nn.LSTM(16, 4)), 5120, 0, 0,
             {silent("fvcore", "lstm"), silent("torch", "mkldnn_rnn_layer")}),
    "in place": (Runs(lambda a: torch.zeros(8, 8).addmm_(a[0], a[0].T)), 1024, 0, 0,
                 {silent("fvcore", "addmm"), silent("torch", "addmm")}),
    "fused attention": (
        Runs(lambda part, a: part(a, a, a)[0], nn.MultiheadAttention(16, 4, batch_first=True)),
        20480, 0, 0, {FUSED_FVCORE, silent("torch", "_native_multi_head_attention")}),
    "fused encoder layer": (
        Runs(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)), 36864, 16384, 0,
        {FUSED_FVCORE, FUSED_TORCH}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFERENCES)
def test_a_reference_that_is_dropped_is_named(case):
    model, dense, by_fvcore, by_torch, reasons = REFERENCES[case]
    layouts = {"": "N B D"} if case in ("gru", "lstm") else None  # their samples come second
    if not isinstance(model.function, nn.Module):
        found = verify(model.eval(), x(), layouts=layouts)
    else:  # a module in the place of the function
        found = verify(model.function.eval(), x())
    row = max(found.rows, key=lambda row: row.dense_macs)
    assert (row.dense_macs, row.fvcore, row.torch) == (dense, by_fvcore, by_torch)
    assert row.brute_force == dense
    assert row.verdict == "explained"
    assert set(row.explanation.split("; ")) == reasons
    assert not found.unexplained


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "flops"),
    [
        (nn.BatchNorm2d(3), (2, 3, 4, 4), "batch_norm", 192),
        (nn.LayerNorm(4), (2, 3, 4), "layer_norm", 120),
        (nn.AdaptiveAvgPool2d(1), (2, 3, 4, 4), "adaptive_avg_pool2d", 96),
        (nn.Upsample(scale_factor=2), (2, 3, 4, 4), "upsample_nearest2d", 384),
    ],
)
def test_what_fvcore_counts_besides_contractions_is_named(layer, shape, kind, flops):
    (row,) = verify(nn.Sequential(layer).eval(), torch.rand(shape)).rows
    assert (row.module, row.operation, row.fvcore) == ("0", kind, flops)
    assert (row.dense_macs, row.torch, row.brute_force) == (0, 0, 0)
    assert (row.verdict, row.explanation) == ("explained", f"fvcore alone counts {flops}")


def test_unused_results_and_products_of_weights_are_named():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept, self.dropped = nn.Linear(16, 3), nn.Linear(16, 5)
            self.scale = nn.Parameter(torch.rand(3, 2))

        def forward(self, x):
            self.dropped(x)
            return self.kept(x) @ (self.scale @ self.scale.T)

    rows = {row.module: row for row in verify(Unused().eval(), x()).rows}
    assert rows["kept"].verdict == "agrees"
    assert rows["dropped"].explanation == "fvcore alone counts 0"
    assert (rows["dropped"].dense_macs, rows["dropped"].fvcore) == (2 * 8 * 16 * 5, 0)
    # 2 samples: 3·2·3 for each here, once there; and [2, 8, 3] @ [3, 3].
    assert (rows[""].dense_macs, rows[""].torch) == (2 * 18 + 144, 18 + 144)
    assert rows[""].explanation.startswith("products of constants count once a sample")


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(16, 4)).bfloat16(),
        nn.Sequential(nn.ConvTranspose1d(8, 4, 3, stride=2, padding=1, output_padding=1, groups=2)),
        nn.Sequential(nn.Conv1d(8, 4, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.Conv1d(8, 8, 3, padding=2, stride=2, dilation=2, groups=8)),
    ],
)
def test_spikes_agree_in_every_count(model):
    data = spikes(2, 8, 16).to(next(model.parameters()).dtype)
    (row,) = verify(model.eval(), data).rows
    assert row.verdict == "agrees"
    assert 0 < row.events == row.brute_force_events < row.dense_macs


def shifted(monkeypatch, **changes):
    """Makes the profile's first contraction wrong by one, in what it counts or of what class."""
    honest = Passes.profile

    def wrong(*args):
        own = honest(*args)
        first, *rest = own.contractions
        lhs = first.lhs
        dense = first.dense_macs + changes.get("dense", 0)
        lhs = replace(lhs, events=lhs.events + changes.get("events", 0))
        lhs = replace(lhs, levels=lhs.levels + changes.get("levels", 0))
        if "values" in changes:
            lhs = replace(lhs, values=replace(lhs.values, **changes["values"]))
        return replace(own, contractions=(replace(first, dense_macs=dense, lhs=lhs), *rest))

    monkeypatch.setattr(Passes, "profile", wrong)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dense": 1}, "fvcore counts 1,024; torch counts 1,024"),
        ({"events": 1}, "binary: 1,024 dense, "),
        ({"levels": 1}, "binary: 1,024 dense, "),
        ({"values": {"real": True}}, "binary: nothing here, 1,024 dense, "),
    ],
    ids=str,
)
def test_a_count_that_is_off_by_one_is_found(monkeypatch, changes, says):
    shifted(monkeypatch, **changes)
    found = verify(nn.Sequential(nn.Linear(16, 4)).eval(), spikes(16, 16))
    (row,) = found.unexplained
    assert (row.module, row.verdict) == ("0", "differs")
    assert says in row.explanation
    assert found.summary == "0 operations agree; 1 differs, 1 unexplained"


def test_a_wrong_rule_ends_the_command_with_1_and_its_row(monkeypatch, tmp_path, capsys):
    """A rule that forgets the last column of every weight."""
    rules = default_rules()

    def addmm(a, k, out):
        (product,) = rules.products["addmm"](a, k, out)
        return [product._replace(rhs=product.rhs[:, :-1], geometry=MatMul())]

    wrong = replace(rules, products={**rules.products, "addmm": addmm})

    path = tmp_path / "two.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.Linear(8, 4))\n"
    )
    given = ["verify", f"{path}:net", "--input", "1,4,4"]
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 0
    assert capsys.readouterr().out.endswith("net, 2 samples: 2 operations agree.\n")

    monkeypatch.setattr(defaults_module, "_pytorch_rules", lambda: wrong)
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 1
    captured = capsys.readouterr()
    shown, unexplained = captured.out.split("Without a known reason:")
    assert shown.rstrip().endswith("1 operation agrees; 1 differs, 1 unexplained.")
    assert len(unexplained.strip().splitlines()) == 2  # the heading and the one wrong row
    assert "real: 48 dense, 48 events, 0 unary here, 64 dense" in unexplained
    assert captured.err.startswith("error: 1 operation ")


def test_a_model_that_can_not_be_traced_is_one_row_and_keeps_no_hook():
    def untraceable(layer, x):
        if torch.jit.is_tracing():
            raise ValueError("no tracing here")
        return layer(x)

    model = Runs(untraceable, nn.Linear(16, 4)).eval()
    found = verify(model, x())
    failed, row = found.rows
    assert failed.explanation == "fvcore can not follow this model (ValueError: no tracing here)"
    assert (failed.operation, failed.verdict, failed.dense_macs) == ("fvcore", "explained", None)
    assert (row.verdict, row.fvcore, row.torch) == ("agrees", None, 1024)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not found.unexplained


def test_every_pass_starts_from_reset_state_and_the_state_is_put_back():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    model = nn.Sequential(nn.Linear(16, 12), neuron.IFNode(), nn.Linear(12, 5)).eval()
    x = torch.rand(3, 16, generator=torch.Generator().manual_seed(0)) * 4
    with torch.no_grad():
        model(x)
    before = model[1].v.clone()
    first = verify(model, x)
    assert torch.equal(model[1].v, before)
    assert before.any()
    second = verify(model, x)
    assert first.rows == second.rows
    assert torch.backends.mha.get_fastpath_enabled()
    assert not first.unexplained
    assert 0 < first.rows[1].events < first.rows[1].dense_macs


def test_random_models_are_seen_alike_by_all_observers():
    noisy = Runs(lambda layer, x: layer((torch.rand_like(x) < x).float()), nn.Linear(16, 4))
    model, data = noisy.eval(), x()
    before = torch.get_rng_state()
    (row,) = verify(model, data).rows
    assert row.verdict == "agrees"
    assert 0 < row.events < row.dense_macs
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_add_up_and_targets_are_left_out():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    data = [(spikes(4, 16), torch.zeros(4)), (spikes(3, 16), torch.zeros(3))]
    (row,) = verify(model, data).rows
    assert row.dense_macs == row.fvcore == row.torch == row.brute_force == 7 * 48
    assert row.events == 3 * sum(int(x.sum()) for x, _ in data)
    (row,) = verify(model, list(data[0])).rows  # one batch, as a DataLoader yields it
    assert row.dense_macs == row.brute_force == 4 * 48
    with pytest.raises(AnalyzerError, match="hold no sample"):
        verify(model, [])
    with pytest.raises(AnalyzerError, match="inputs are int"):
        verify(model, 3)


def test_arguments_by_name_are_seen_by_all_but_fvcore():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 4)

        def forward(self, *, image):
            return self.layer(image)

    failed, row = verify(Named().eval(), {"image": x()}).rows
    assert failed.explanation == "fvcore takes no keyword arguments"
    assert (row.verdict, row.torch, row.brute_force) == ("agrees", 1024, 1024)


def test_brute_force_shares_no_code_with_what_it_checks():
    used = set()
    for module in (
        brute_force_module,
        groups_module,
        kernels_module,
        operands_module,
        passes_module,
        seen_module,
        steps_module,
    ):
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        used |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name for name in used if name.startswith("analyzer")} == {
        "analyzer.measure.frame.layouts",  # which axis is time, and what axes are called
        "analyzer.measure.torch_private.kernels",  # names of PyTorch, and nothing that counts
        "analyzer.measure.torch_private.modes",
        "analyzer.measure.torch_private.operators",
        "analyzer.measure.torch_private.tensors",
        "analyzer.measure.torch_private.trees",
        "analyzer.measure.undoing",  # takes hooks away again
        "analyzer.measure.watch.compiler",
        "analyzer.measure.watch.operators",  # runs functions that operators are given
        "analyzer.measure.tensors.scales",  # what a tensor was multiplied by
        "analyzer.measure.watch.scopes",
        "analyzer.verification.kernels",
        "analyzer.verification.operands",
        "analyzer.verification.passes",
        "analyzer.verification.seen",
        "analyzer.verification.steps",
    }


def test_brute_force_equals_loops():
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
    data = spikes(2, 4, 6, 5)
    (seen,) = brute_force(nn.Sequential(layer), (data,)).seen
    dense, events = oracles.conv2d_by_loops(data, layer.weight, (2, 1), (1, 2), (1, 2), groups=2)
    assert (seen.dense, seen.events, seen.unary) == (dense, events, events)
    a, b = spikes(5, 7), torch.rand(7, 3)
    linear = nn.Linear(7, 3, bias=False)
    linear.weight.data = b.T.contiguous()
    (seen,) = brute_force(nn.Sequential(linear), (a,)).seen
    assert (seen.dense, seen.events) == oracles.matmul_by_loops(a, b)
    assert (seen.module, seen.kind, seen.input_class) == ("0", "product", "binary")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, -0.0], ("zero", 0.0)),
        ([0, 2.5, 2.5], ("binary", 2.5)),
        ([-3.0, 0, 3], ("ternary", 3.0)),
        ([0, 1, 2, 4], ("graded", 1.0)),
        ([0.5, -0.75], ("graded", 0.25)),
        ([1, 3.14159], ("real", 0.0)),
        ([1, 256], ("real", 0.0)),
        ([], ("zero", 0.0)),
    ],
)
def test_value_classes(values, expected):
    assert value_class(torch.tensor(values)) == expected
