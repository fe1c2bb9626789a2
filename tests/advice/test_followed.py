"""Advice that is followed in the model itself: does it save what was said?

What is called exact must save that to the digit. What is called an estimate may differ, for the
neurons that are put in front fire as they do.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import analyzer
from analyzer import models
from analyzer.data import digits
from analyzer.models.neurons import LIF

SAMPLES = 8


def profile_of(model, **options):
    """In float64, so that another order of sums makes no neuron fire that did not."""
    images, labels = (x[:SAMPLES] for x in digits(32)[1].tensors)
    return analyzer.profile(model.double().eval(), [(images.double(), labels)], **options)


def built(name):
    trained = "fashion-mnist" if name == "qkformer-tiny" else True
    return models.build(name, pretrained=trained)


@pytest.fixture(scope="module", params=["spikformer-tiny", "qkformer-tiny"])
def advised(request):
    profile = profile_of(built(request.param), name=request.param)
    return request.param, profile, analyzer.advise(profile)


def first(found, kind):
    return next(row for row in found.rows.to_dict("records") if row["kind"] == kind)


def unit_of(path):
    return path.rpartition(".")[0]


def replaced(model, path, module):
    setattr(model.get_submodule(unit_of(path)), path.rpartition(".")[2], module)


class UnaryLinear(nn.Linear):
    """Reads a value of n as n spikes, one after the other, and adds what each causes."""

    def forward(self, x):
        sums = sum(F.linear((x >= n).to(x.dtype), self.weight) for n in range(1, 9))
        return sums + self.bias


class UnaryConv(nn.Conv2d):
    """The same of a convolution without bias."""

    def forward(self, x):
        assert self.bias is None
        return sum(self._conv_forward((x >= n).to(x.dtype), self.weight, None) for n in range(1, 9))


class Fired(nn.Module):
    """A unit with neurons in front."""

    def __init__(self, unit):
        super().__init__()
        self.front, self.unit = LIF(), unit

    def forward(self, x):
        return self.unit(self.front(x))


class Once(nn.Module):
    """A unit that computes its layer in the first timestep and keeps the result."""

    def __init__(self, unit):
        super().__init__()
        self.unit = unit

    def forward(self, x):
        kept = self.unit.norm(self.unit.layer(x[0]))
        return self.unit.neuron(kept.expand(len(x), *kept.shape))


@pytest.mark.slow
def test_sums_sent_as_spikes_save_what_was_said(advised):
    name, profile, found = advised
    row = first(found, "sums as spikes")
    model = built(name)
    layer = model.get_submodule(row["module"])
    layer.__class__ = UnaryLinear if isinstance(layer, nn.Linear) else UnaryConv
    after = profile_of(model, name="followed")
    saved = found.report.total_pj - after.energy().total_pj
    assert row["certainty"] == "exact"
    assert saved == pytest.approx(row["saving_pj"], rel=1e-12)
    assert after.correct == profile.correct


@pytest.mark.slow
def test_a_kept_result_saves_what_was_said(advised):
    name, profile, found = advised
    row = first(found, "cache")
    model = built(name)
    unit = unit_of(row["module"])
    replaced(model, unit, Once(model.get_submodule(unit)))
    after = profile_of(model, name="followed", layouts={f"{unit}.unit.layer": "B C H W"})
    saved = found.report.total_pj - after.energy().total_pj
    assert row["certainty"] == "exact"
    assert saved == pytest.approx(row["saving_pj"], rel=1e-12)
    assert after.correct == profile.correct


@pytest.mark.slow
def test_the_first_advice_is_an_estimate_of_the_right_size(advised):
    """Neurons in front of one layer: it accumulates, but not as often as its input was not zero.

    What follows reads other spikes, which no advice foresees.
    """
    name, _, found = advised
    row = found.rows.iloc[0]
    assert (row["kind"], row["certainty"]) == ("membrane shortcut", "estimate")
    model = built(name)
    unit = unit_of(row["module"])
    replaced(model, unit, Fired(model.get_submodule(unit)))
    after = profile_of(model, name="followed")
    (site,) = (s for s in after.contractions if s.module == f"{unit}.unit.layer")
    assert site.input_class == "binary"
    saved = row["energy_pj"] - 0.9 * site.events / after.samples
    assert saved == pytest.approx(row["saving_pj"], rel=0.1)
    everything = found.report.total_pj - after.energy().total_pj
    assert everything != pytest.approx(row["saving_pj"], rel=0.01)


class Without(nn.Module):
    """Neurons of which only some are updated; the others send nothing."""

    def __init__(self, neuron, keep):
        super().__init__()
        self.neuron = neuron
        self.register_buffer("keep", keep)

    def drive(self, *given):
        return self.neuron.drive(*given)

    def forward(self, x):
        flat = x.flatten(1)
        some = self.neuron(flat[:, self.keep])
        sent = some.new_zeros(len(some), *flat.shape)
        sent[:, :, self.keep] = some
        return sent.unflatten(2, x.shape[1:])


@pytest.mark.slow
def test_silent_neurons_of_ge2mst_save_what_was_said_on_the_same_samples():
    convention = "exact(elementwise=priced)"
    profile = profile_of(built("ge2mst-tiny"), name="ge2mst-tiny")
    found = analyzer.advise(profile, convention=convention)
    row = found.rows.iloc[0]
    assert row["kind"] == "silent neurons"
    (sent,) = (s for s in profile.sent if s.module == row["module"])
    model = built("ge2mst-tiny")
    keep = torch.from_numpy(~sent.silent.mask).nonzero()[:, 0]
    replaced(model, row["module"], Without(model.get_submodule(row["module"]), keep))
    after = profile_of(model, name="followed")
    saved = found.report.total_pj - after.energy(convention=convention).total_pj
    assert saved == pytest.approx(row["saving_pj"], rel=1e-9)
    assert after.correct == profile.correct
