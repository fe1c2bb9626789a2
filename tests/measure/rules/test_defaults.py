"""Which operations are free, listed as uncounted or refused; whether PyTorch knows every name."""

import warnings

import pytest
import torch
from rule_checks import IMAGE, VOLUME, X, model_of, real, work
from torch import nn
from torch.nn import functional as F

import analyzer
from analyzer.measure.rules.defaults import FREE, default_rules

FREE_OF_WORK = {
    "identity": (nn.Identity(), X),
    "dropout": (nn.Dropout(), X),
    "flatten": (nn.Flatten(), X),
    "pixel-shuffle": (nn.PixelShuffle(2), real(1, 4, 3, 3)),
    "pixel-unshuffle": (nn.PixelUnshuffle(2), IMAGE),
    "channel-shuffle": (nn.ChannelShuffle(3), IMAGE),
    "unfold": (nn.Unfold(3), IMAGE),
    "embedding": (nn.Embedding(10, 4), torch.arange(6)[None]),
    "nearest": (nn.Upsample(scale_factor=2), IMAGE),
    "nearest-exact": (nn.Upsample(scale_factor=2, mode="nearest-exact"), IMAGE),
    "nearest-exact-1d": (nn.Upsample(scale_factor=2, mode="nearest-exact"), X),
    "nearest-exact-3d": (nn.Upsample(scale_factor=2, mode="nearest-exact"), VOLUME),
    "zero-pad": (nn.ZeroPad2d(1), IMAGE),
    "constant-pad": (nn.ConstantPad1d(1, 2.0), X),
    "reflection-pad": (nn.ReflectionPad2d(1), IMAGE),
    "replication-pad": (nn.ReplicationPad3d(1), VOLUME),
    "circular-pad": (nn.CircularPad2d(1), IMAGE),
    "abs": (torch.abs, X),
    "neg": (torch.neg, X),
    "triu": (torch.triu, X),
    "diagonal": (torch.diag_embed, X),
    "index-copy": (lambda x: x.index_copy(0, torch.tensor([1, 0]), x), X),
    "index-fill": (lambda x: x.index_fill(0, torch.tensor([1]), 0.0), X),
}


@pytest.mark.parametrize(("what", "args"), FREE_OF_WORK.values(), ids=FREE_OF_WORK)
def test_what_only_moves_elements_is_free(what, args):
    assert work(analyzer.profile(model_of(what), args)) == (0, 0, 0, 0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_only_moves_elements(axes):
    pool = getattr(nn, f"MaxPool{axes}d")(2, return_indices=True)
    unpool = getattr(nn, f"MaxUnpool{axes}d")(2)
    x = real(1, 2, *[4] * axes)
    both = analyzer.profile(model_of(lambda x: unpool(*pool(x))), x)
    assert work(both) == (0, 0, x.numel() - x.numel() // 2**axes, 0)


WITHOUT_RULE = {
    "fft": (lambda x: torch.fft.fft(x).real, "_fft_r2c"),
    "inverse": (lambda x: torch.linalg.inv(x[..., :4]), "linalg_inv_ex"),
    "bessel": (torch.special.bessel_j0, "special_bessel_j0"),
}


@pytest.mark.parametrize(("what", "name"), WITHOUT_RULE.values(), ids=WITHOUT_RULE)
def test_what_has_no_rule_is_listed(what, name):
    with pytest.warns(analyzer.AnalyzerWarning, match=name):
        profile = analyzer.profile(model_of(what), X)
    assert name in set(profile.uncovered["op"])


class Jagged(nn.Module):
    def forward(self, x):
        return torch.nested.nested_tensor([*x], layout=torch.jagged)


REFUSED = {
    "complex": (nn.Linear(6, 3, dtype=torch.cfloat), X.cfloat(), "complex"),
    "complex-sine": (lambda x: torch.complex(x, x).sin(), X, "sin on complex numbers"),
    "sparse": (lambda x: torch.eye(4).to_sparse_csr() @ x[0], X, "sparse"),
    "nested": (
        lambda x: F.linear(torch.nested.nested_tensor([*x]), torch.ones(3, 6)),
        X,
        "nested tensors can not be counted",
    ),
    "jagged": (
        lambda x: F.linear(torch.nested.nested_tensor([*x], layout=torch.jagged), torch.ones(3, 6)),
        X,
        "nested tensors can not be counted",
    ),
    "jagged, in a layer": (
        nn.Sequential(Jagged(), nn.Linear(6, 3)),
        X,
        "nested tensors can not be counted",
    ),
}


@pytest.mark.parametrize(("what", "x", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_counted_is_refused_in_a_sentence(what, x, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(analyzer.AnalyzerError, match=message) as caught:
            analyzer.profile(model_of(what), x)
    assert caught.value.args[0].endswith(".")


@pytest.mark.parametrize(
    ("module", "x", "name"),
    [
        ("Linear", X, "quantized::linear"),
        ("Conv2d", IMAGE, "quantized::conv2d"),
    ],
)
def test_quantized_layers_are_listed_under_their_own_name(module, x, name):
    """``quantized::linear`` was taken for ``aten::linear``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = (6, 3) if module == "Linear" else (3, 4, 3)
        layer = getattr(torch.ao.nn.quantized, module)(*sizes)

        def run(x):
            return layer(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()

        profile = analyzer.profile(model_of(run), x)
    assert profile.uncovered["op"].tolist() == [name]


def test_no_operation_is_both_free_and_counted():
    rules = default_rules()
    known = [set(rules.products) | set(rules.fused), set(rules.works)]
    assert not set(FREE) & (known[0] | known[1])


def test_every_rule_is_for_an_operation_of_this_pytorch():
    """A misspelt name would never be asked for."""
    rules = default_rules()
    packets = torch.ops.aten
    names = {*rules.products, *rules.works, *rules.fused}
    assert {n for n in names if not (hasattr(packets, n) or hasattr(packets, f"{n}_"))} == set()
