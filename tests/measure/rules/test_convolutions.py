"""Convolutions of every kind, against the brute-force oracle."""

import pytest
import torch
from oracles import counted, rows, watch
from rule_checks import Call, agree, spikes, values
from torch import nn
from torch.nn import functional as F

import analyzer

CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 11)),
    "2d": (nn.Conv2d(4, 6, 3), (2, 4, 9, 8)),
    "2d-bias-padded": (nn.Conv2d(4, 6, 3, padding=1, bias=True), (2, 4, 9, 8)),
    "1x1": (nn.Conv2d(4, 6, 1), (2, 4, 9, 8)),
    "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 8)),
    "stride-beyond-kernel": (nn.Conv2d(4, 6, 2, stride=3), (2, 4, 9, 8)),
    "asymmetric": (
        nn.Conv2d(4, 6, (5, 3), stride=(3, 1), padding=(2, 0), dilation=(1, 2)),
        (2, 4, 17, 11),
    ),
    "padding-beyond-kernel": (nn.Conv2d(4, 6, 2, padding=3), (2, 4, 5, 5)),
    "kernel-beyond-input": (nn.Conv2d(4, 6, 5, padding=2), (2, 4, 2, 3)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=1), (2, 4, 9, 8)),
    "depthwise-multiplier": (nn.Conv2d(4, 12, 3, groups=4), (2, 4, 9, 8)),
    "same-even": (nn.Conv2d(4, 6, 4, padding="same"), (2, 4, 9, 8)),
    "same-dilated": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 8)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 8)),
    "reflect": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 8)),
    "unbatched": (nn.Conv2d(4, 6, 3, padding=1), (4, 9, 8)),
    "empty": (nn.Conv2d(4, 6, 3, padding=1), (0, 4, 9, 8)),
    "3d": (nn.Conv3d(2, 3, 3, padding=1, stride=(1, 2, 1)), (2, 2, 5, 6, 4)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (2, 4, 5, 6)),
    "transposed-output-padding": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        (2, 4, 5, 6),
    ),
    "transposed-groups": (nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2), (2, 4, 7)),
    "transposed-dilated": (nn.ConvTranspose2d(4, 2, 3, dilation=2, padding=2), (2, 4, 5, 6)),
    "transposed-3d": (nn.ConvTranspose3d(2, 3, 2, stride=2), (1, 2, 3, 4, 3)),
}


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["binary", "graded-signed", "real-sparse"])
def test_convolutions(layer, shape, kind):
    agree(layer, values(kind, *shape))


@pytest.mark.parametrize("kind", ["binary", "graded"])
def test_channels_last(kind):
    x = values(kind, 2, 4, 9, 8)
    plain = agree(nn.Conv2d(4, 6, 3, padding=1), x)
    last = agree(
        nn.Conv2d(4, 6, 3, padding=1).to(memory_format=torch.channels_last),
        x.to(memory_format=torch.channels_last),
    )
    assert plain.counts.equals(last.counts)


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize(
    ("left", "right"),
    [("binary", "binary"), ("graded", "scaled"), ("real", "binary"), ("ninths", "graded")],
    ids=lambda kind: kind,
)
def test_convolution_with_a_computed_kernel(left, right, transposed):
    """The second operand is an activation: it drives, or pairs count."""
    function = F.conv_transpose2d if transposed else F.conv2d
    shape = (6, 2, 3, 3) if transposed else (4, 3, 3, 3)
    model = Call(lambda m, x, w: function(x, w, stride=2, padding=1, groups=2))
    agree(model, values(left, 2, 6, 7, 8), values(right, *shape, seed=1))


def test_functional_convolution_with_a_parameter():
    model = Call(lambda m, x: F.conv2d(x, m.w, padding=1), w=torch.randn(6, 4, 3, 3))
    agree(model, values("binary", 2, 4, 9, 8))


WITH_INPUTS = {
    "circular-1d": (nn.Conv1d(4, 3, 3, padding=2, padding_mode="circular"), spikes(2, 4, 9)),
    "reflect": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), spikes(2, 3, 8, 8)),
    "replicate": (nn.Conv3d(2, 3, 2, padding=1, padding_mode="replicate"), spikes(1, 2, 4, 4, 4)),
    "same-dilated": (nn.Conv2d(3, 4, 3, padding="same", dilation=2), spikes(2, 3, 8, 8)),
    "valid": (nn.Conv1d(4, 3, 3, padding="valid"), spikes(2, 4, 9)),
    "unbatched": (nn.Conv2d(3, 4, 3), spikes(3, 8, 8)),
    "depthwise": (nn.Conv2d(3, 6, 3, groups=3), spikes(2, 3, 8, 8)),
    "output-padding-1d": (
        nn.ConvTranspose1d(4, 3, 3, stride=3, output_padding=2),
        spikes(2, 4, 5),
    ),
    "output-padding": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
        spikes(2, 4, 5, 6),
    ),
    "output-padding-3d": (
        nn.ConvTranspose3d(2, 3, 2, stride=2, output_padding=(1, 0, 1)),
        spikes(1, 2, 3, 3, 3),
    ),
    "transposed-unbatched": (nn.ConvTranspose1d(4, 3, 3), spikes(4, 9)),
}


@pytest.mark.parametrize(("layer", "x"), WITH_INPUTS.values(), ids=WITH_INPUTS)
def test_convolutions_of_all_kinds(layer, x):
    profile = analyzer.profile(layer.eval(), x)
    assert profile.uncovered.empty
    assert counted(profile) == rows(watch(layer, x))


def test_convolution_with_time_first():
    layer = nn.Conv1d(6, 5, 3, padding=1)
    weight = layer.weight.detach().permute(2, 1, 0).contiguous()
    model = Call(lambda m, x: torch.conv_tbc(x, m.w, m.b, 1), w=weight, b=torch.zeros(5)).eval()
    x = spikes(7, 2, 6)
    expected = rows(watch(layer, x.permute(1, 2, 0).contiguous()))
    assert counted(analyzer.profile(model, x)) == expected
