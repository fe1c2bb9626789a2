"""The Ge²mS-T network: its two forms give the same logits, and its layers read binary spikes."""

import pytest
import torch

import analyzer
from analyzer import models
from analyzer.data.digits import digits
from analyzer.errors import AnalyzerError
from analyzer.models.expg_if import ExpGIF, round_weights

from .hooks import record_inputs


@pytest.fixture(scope="module")
def test_split():
    return digits()[1].tensors


def both_forms(model, images):
    logits = []
    for form in ("training", "inference"):
        model.form = form
        with torch.no_grad():
            logits.append(model(images))
    return logits


def test_every_weight_layer_but_the_stem_reads_binary_spikes(test_split):
    model = models.build("ge2mst-tiny", pretrained=True).eval()
    seen = record_inputs(model)
    with torch.no_grad():
        model(test_split[0][:16])
    stem = seen.pop("stem.conv")
    assert stem.shape[0] == 16
    assert len(stem.unique()) > 2
    assert len(seen) > 20
    for path, values in seen.items():
        assert values.shape[0] == 16 * model.timesteps, path
        assert set(values.unique().tolist()) == {0.0, 1.0}, path


def test_the_training_form_has_no_time_axis(test_split):
    model = models.build("ge2mst-tiny", form="training").eval()
    seen = record_inputs(model)
    model(test_split[0][:5])
    assert {values.shape[0] for values in seen.values()} == {5}


def test_shipped_weights_give_the_same_logits_in_both_forms_on_the_whole_test_set(test_split):
    model = models.build("ge2mst-tiny", pretrained=True).eval()
    trained, inferred = both_forms(model, test_split[0])
    assert trained.std() > 0
    assert torch.equal(trained, inferred)


def test_batch_size_moves_no_spike(test_split):
    model = models.build("ge2mst-tiny", pretrained=True).eval()
    seen = record_inputs(model)
    with torch.no_grad():
        model(test_split[0][:9])
        whole = dict(seen)
        for index in range(9):
            model(test_split[0][index : index + 1])
            for path, values in seen.items():
                batch = whole[path].view(-1, 9, *values.shape[1:])
                assert torch.equal(batch[:, index], values), path


def test_any_weights_agree_in_both_forms_up_to_rounding(test_split):
    torch.manual_seed(0)
    model = models.build("ge2mst-tiny", pretrained=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-3 * torch.randn_like(parameter))
    trained, inferred = both_forms(model, test_split[0][:120])
    difference = (trained - inferred).abs().amax(1)
    assert torch.equal(trained.argmax(1), inferred.argmax(1))
    # Rounding moves a potential across a level in a few images; the others agree to rounding.
    assert difference.median() < 1e-5
    assert (difference > 1e-4).float().mean() < 0.1
    # In double precision there is nothing left to move.
    trained, inferred = both_forms(model.double(), test_split[0][:30].double())
    torch.testing.assert_close(trained, inferred, atol=1e-9, rtol=0)


@pytest.mark.parametrize("max_spikes", [None, 1], ids=["free", "one spike a group"])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_network_is_bit_identical_in_both_forms_with_dyadic_weights(
    test_split, groups, max_spikes
):
    model = models.build("ge2mst-tiny", pretrained=True, groups=groups, max_spikes=max_spikes)
    model.eval()
    round_weights(model)
    trained, inferred = both_forms(model, test_split[0][:16])
    assert trained.std() > 0
    assert torch.equal(trained, inferred)


def test_form_and_mode_are_independent_and_switching_keeps_the_state():
    model = models.build("ge2mst-tiny", form="training")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert model.training
    model.form = "inference"
    assert model.training
    model.eval()
    assert model.form == "inference"
    assert {m.form for m in model.modules() if isinstance(m, ExpGIF)} == {"inference"}
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_training_reaches_every_parameter():
    model = models.build("ge2mst-tiny", form="training")
    model(torch.rand(8, 1, 32, 32)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_timesteps_choose_the_groups():
    model = models.build("ge2mst-tiny", timesteps=6, steps=3)
    assert (model.config.groups, model.timesteps) == (2, 6)
    with pytest.raises(AnalyzerError, match="5 timesteps"):
        models.build("ge2mst-tiny", timesteps=5)
    with pytest.raises(AnalyzerError, match="3 groups"):
        models.build("ge2mst-tiny", timesteps=4, groups=3)


def test_size_is_that_of_a_tiny_model():
    model = models.build("ge2mst-tiny")
    assert 100_000 <= sum(p.numel() for p in model.parameters()) <= 220_000


@pytest.mark.parametrize("name", ["ge2mst-tiny", "ge2mst-tiny-ann", "ge2mst-tiny-stbp"])
def test_sparsity_speaks_of_the_groups_that_the_model_declares(name):
    model = models.build(name).eval()
    profile = analyzer.profile(model, torch.rand(4, 1, 32, 32))
    axes = {"temporal": model.config.coding.groups, "spatial": 4, "structural": 4}
    if name.endswith("ann"):
        axes.pop("temporal")
    for axis, number in axes.items():
        table = profile.sparsity(axis)
        assert table["group"].nunique() == number, axis
        assert table["sparsity"].between(0, 1).all()
