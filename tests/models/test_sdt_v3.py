"""Spike-driven Transformer V3: its forms in integers and in spikes agree in output and counts."""

import pytest
import torch
from small_models import image_of, small
from torch import nn

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.warm import warm


def dyadic(model):
    """Weights as multiples of 2^-6: sums of their products with spikes are exact in float64."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_((module.weight * 64).round() / 64)
    return model.double()


@pytest.mark.parametrize("name", ["sdt-v3-5m", "sdt-v3-173m"])
def test_integers_and_spikes_of_sdt_v3_give_the_same_output(name):
    torch.manual_seed(0)
    model = small(name)
    image = image_of(model, 3)
    warm(model, image)
    dyadic(model)
    outputs, profiles = {}, {}
    for form in ("integer", "spikes"):
        model.form = form
        with torch.no_grad():
            outputs[form] = model(image.double())
        profiles[form] = analyzer.profile(model, image.double(), name=form)
    assert torch.equal(outputs["integer"], outputs["spikes"])
    integer, spikes = (p.counts.set_index("module") for p in profiles.values())
    assert profiles["spikes"].metadata["timesteps"] == 4
    # Dense work of layers behind neurons is D times that in integers, and what spikes cause is the
    # sum of the integers: their unary events.
    real = {
        module
        for module in integer.index[integer["weight_elements"] > 0]
        if module == "stem.0" or module.endswith("narrow") or name + module == "sdt-v3-173mhead"
    }
    for module in integer.index[integer["weight_elements"] > 0]:
        one, other = integer.loc[module], spikes.loc[module]
        times = 1 if module in real else 4
        assert other["dense_macs"] == times * one["dense_macs"]
        if module not in real:
            assert other["input_class"] in ("binary", "zero")
            assert other["events"] == one["unary_events"]
    read = profiles["spikes"].operations()
    assert set(read.loc[read["mac"] > 0, "module"]) <= real


def test_a_form_that_is_none_is_refused():
    with pytest.raises(AnalyzerError, match="'integer' or 'spikes'"):
        models.build("sdt-v3-5m", form="spiking")
