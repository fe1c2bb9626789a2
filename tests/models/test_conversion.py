"""The Ge²mS-T network with the neurons of other paradigms, and the conversion of its ANN."""

import math

import pytest
import torch
from torch import nn

from analyzer import models
from analyzer.data.digits import batches, digits
from analyzer.errors import AnalyzerError
from analyzer.models.conversion import LIFNeuron, Rectifier, calibrate, neurons
from analyzer.models.expg_if import ExpGIF, GroupedCoding
from analyzer.models.neurons import LIF

PARADIGMS = ["ge2mst-tiny", "ge2mst-tiny-ann", "ge2mst-tiny-converted", "ge2mst-tiny-stbp"]


def weights(model):
    return {
        name: module.weight.shape
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    }


def test_all_paradigms_share_one_topology():
    first, *others = (weights(models.build(name)) for name in PARADIGMS)
    assert len(first) > 40
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("paradigm", "kind"),
    [("ge2mst", ExpGIF), ("ann", Rectifier), ("converted", ExpGIF), ("stbp", LIFNeuron)],
)
def test_each_paradigm_has_its_neuron(paradigm, kind):
    assert type(neurons(paradigm, GroupedCoding(2, 2))()) is kind


def test_an_unknown_paradigm_is_refused():
    with pytest.raises(AnalyzerError, match="unknown paradigm 'ternary'"):
        neurons("ternary", GroupedCoding())


def test_conversion_is_rate_coding_with_the_steps_of_any_coding():
    neuron = neurons("converted", GroupedCoding(3, 2))()
    assert (neuron.coding.groups, neuron.coding.steps, neuron.timesteps) == (6, 1, 6)


def test_a_constant_current_gives_the_spikes_of_that_current_at_every_step():
    neuron = LIFNeuron(5)
    current = torch.randn(2, 3, 4, 4) * 3
    spikes = neuron(current)
    assert torch.equal(spikes, LIF()(current.expand(5, -1, -1, -1, -1)))
    assert spikes.shape == (5, 2, 3, 4, 4)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_a_step_of_stbp_sees_no_later_step():
    torch.manual_seed(0)
    model = models.build("ge2mst-tiny-stbp", timesteps=6, pretrained=True).eval()
    few = models.build("ge2mst-tiny-stbp", timesteps=3, pretrained=True).eval()
    images = digits()[1].tensors[0][:4]
    inputs = []
    for network in (model, few):
        seen = []
        handle = network.head.neuron.register_forward_hook(
            lambda m, a, out, seen=seen: seen.append(out)
        )
        with torch.no_grad():
            network(images)
        handle.remove()
        inputs.append(seen[0])
    assert torch.equal(inputs[0][:3], inputs[1])


def test_thresholds_are_a_quantile_of_the_activations():
    model = nn.Sequential(Rectifier())
    values = torch.linspace(-1, 1, 7 * 2001).reshape(1, 7, 2001, 1)
    calibrate(model, [(values,)], quantile=0.9)
    expected = values.flatten().clamp(min=0).sort().values[math.ceil(0.9 * 7 * 2001) - 1]
    assert model[0].log_theta.exp() == pytest.approx(float(expected), rel=1e-6)


def test_a_large_map_is_sampled_and_nothing_of_it_kept():
    model = nn.Sequential(Rectifier())
    values = torch.rand(4, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    calibrate(model, [(values,)] * 3)
    assert model[0].log_theta.exp() == pytest.approx(0.999, abs=1e-3)
    before = model[0].log_theta.clone()
    calibrate(model, [(values,)] * 3)
    assert torch.equal(model[0].log_theta, before)


def test_a_network_that_can_not_be_converted_is_refused():
    with pytest.raises(AnalyzerError, match="needs a network with rectifiers"):
        calibrate(nn.Identity(), [(torch.ones(1, 1, 1, 1),)])


def test_a_silent_rectifier_keeps_its_threshold():
    model = nn.Sequential(Rectifier())
    before = model[0].log_theta.clone()
    calibrate(model, [(-torch.ones(1, 1, 4, 4),)])
    assert torch.equal(model[0].log_theta, before)
    calibrate(model, [(torch.eye(100)[None, None],)], quantile=0.5)
    assert model[0].log_theta == 0  # a quantile of zero, and a largest activation of one


def test_the_conversion_has_the_weights_of_the_ann_and_comes_closer_with_time():
    ann = models.build("ge2mst-tiny-ann", pretrained=True).eval()
    images, _ = next(iter(batches(digits()[1], 60)))
    with torch.no_grad():
        exact = ann(images)
        off = []
        for timesteps in (2, 8, 64):
            model = models.build("ge2mst-tiny-converted", pretrained=True, timesteps=timesteps)
            assert all(
                torch.equal(value, ann.state_dict()[key])
                for key, value in model.state_dict().items()
            )
            off.append(float((model.eval()(images) - exact).abs().mean()))
    assert off[0] > 2 * off[1] > 4 * off[2]


def test_an_ann_has_no_timesteps():
    with pytest.raises(AnalyzerError, match="an ANN has no timesteps"):
        models.build("ge2mst-tiny-ann", timesteps=4)
    with pytest.raises(AnalyzerError, match="an ANN has no groups, no steps"):
        models.build("ge2mst-tiny-ann", groups=2, steps=2)
    assert models.describe("ge2mst-tiny-converted").timesteps == 8


@pytest.mark.parametrize("name", PARADIGMS)
def test_training_reaches_every_parameter(name):
    form = {} if name.endswith(("ann", "stbp")) else {"form": "training"}
    model = models.build(name, **form)
    model(torch.rand(8, 1, 32, 32)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(("size", "millions"), [("s", (9, 11)), ("b", (18, 22)), ("l", (46, 54))])
def test_larger_sizes_have_about_the_parameters_they_should(size, millions):
    with torch.device("meta"):
        model = models.build(f"ge2mst-{size}")
    assert millions[0] <= sum(p.numel() for p in model.parameters()) / 1e6 <= millions[1]
