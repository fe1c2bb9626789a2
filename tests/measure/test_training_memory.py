"""Bytes that a training step keeps, against sums by hand."""

import gc
from weakref import ref

import pytest
import torch
from torch import nn

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError


def two_layers():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def test_saved_bytes_are_those_of_each_storage_once():
    found = analyzer.training_memory(two_layers(), torch.rand(3, 4))
    # The input; the rectified values, which the ReLU and the second layer share.
    assert found.by_module.to_dict("list") == {"module": ["0", "1"], "saved_bytes": [48, 60]}
    assert found.saved_bytes == 108
    assert found.gradient_bytes == 4 * (4 * 5 + 5 + 5 * 2 + 2)
    assert found.samples == 3
    assert found.seconds > 0


def test_a_convolution_with_batch_norm_saves_both_inputs():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.Tanh())
    found = analyzer.training_memory(model, torch.rand(5, 2, 8, 8))
    sizes = dict(zip(found.by_module["module"], found.by_module["saved_bytes"], strict=True))
    assert sizes["0"] == 4 * 5 * 2 * 64
    assert sizes["1"] == 4 * (5 * 3 * 64 + 2 * 3)  # with mean and deviation of each channel
    assert sizes["2"] == 4 * 5 * 3 * 64


def test_the_training_form_saves_the_same_for_any_number_of_timesteps_and_stbp_more_with_each():
    images = torch.rand(2, 1, 32, 32)

    def saved(name, **options):
        return analyzer.training_memory(models.build(name, **options), images).saved_bytes

    ours = [saved("ge2mst-tiny", form="training", groups=g) for g in (1, 2, 4)]
    assert len(set(ours)) == 1
    theirs = [saved("ge2mst-tiny-stbp", timesteps=t) for t in (1, 2, 4)]
    assert theirs[2] - theirs[1] == 2 * (theirs[1] - theirs[0]) > 0
    assert theirs[1] > 1.9 * theirs[0]


def test_a_large_step_raises_the_measured_peak_by_what_it_keeps():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x):
            for _ in range(4):
                x = (x * self.w).sin()
            return x

    x = torch.ones(8, 1 << 20)
    found = analyzer.training_memory(Wide(), x)
    assert found.saved_bytes == 8 * x.nbytes
    if found.measured_peak_bytes is not None:
        assert found.saved_bytes <= found.measured_peak_bytes < 3 * found.saved_bytes


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    model[0].weight.grad = torch.full_like(model[0].weight, 7.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    analyzer.training_memory(model, torch.rand(2, 1, 8, 8, generator=torch.Generator()))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert (model[0].weight.grad == 7).all()
    assert model[1].weight.grad is None
    assert not model.training


def test_what_takes_no_gradient_is_refused():
    with pytest.raises(AnalyzerError, match="no parameter of the model needs one"):
        analyzer.training_memory(nn.ReLU(), torch.ones(2, 3))
    with pytest.raises(AnalyzerError, match="inputs are int"):
        analyzer.training_memory(two_layers(), 3)


def test_a_weight_that_the_forward_overwrites_is_put_back():
    class Decays(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.mul_(0.5)
            return super().forward(x)

    model = Decays(3, 2)
    before = model.weight.clone()
    x = torch.rand(4, 3, requires_grad=True)
    analyzer.training_memory(model, x)
    assert torch.equal(model.weight, before)
    assert x.grad is None


def test_nothing_is_kept_after_a_loss_that_fails():
    kept = []

    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1000))

        def forward(self, x):
            out = (x * self.w).exp()
            kept.append(ref(out.untyped_storage()))
            return out

    def fails(out):
        raise ValueError("no loss")

    with pytest.raises(ValueError, match="no loss"):
        analyzer.training_memory(Squared(), torch.rand(5, 1000), loss=fails)
    gc.collect()
    assert all(r() is None for r in kept)


def test_samples_are_counted_along_the_batch_axis():
    class Timed(nn.Linear):
        timesteps = 7
        layouts = {"": "T B D"}  # noqa: RUF012

    model = Timed(6, 2)
    assert analyzer.training_memory(model, torch.rand(7, 3, 6)).samples == 3
