"""ExpG-IF neurons: both forms send the same level, for every coding; gradients are those of LSQ."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analyzer.errors import AnalyzerError
from analyzer.models.coding import SpikeConv
from analyzer.models.expg_if import ExpGIF, GroupedCoding, set_form
from analyzer.models.neurons import IF

CODINGS = [
    GroupedCoding(groups, steps, limit)
    for groups, steps, limit in [
        (1, 1, None),
        (4, 1, None),
        (2, 2, None),
        (1, 4, None),
        (3, 3, None),
        (2, 4, 1),
        (2, 4, 2),
        (3, 3, 2),
        (2, 2, 5),
        (2, 2, 1),
    ]
]


def neuron(coding, theta, form):
    """A neuron whose theta is a power of two, so that its arithmetic is exact."""
    module = ExpGIF(coding, form=form)
    with torch.no_grad():
        module.log_theta.fill_(math.log(theta))
    return module


def dyadic(shape, seed, denominator=64, bound=128):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-bound, bound + 1, shape, generator=generator) / denominator


def weighted_sum(spikes, coding):
    weights = torch.tensor(coding.weights * coding.groups, dtype=spikes.dtype)
    return (spikes * weights.view(-1, *[1] * (spikes.dim() - 1))).sum(0)


@pytest.mark.parametrize("coding", CODINGS, ids=str)
class TestCoding:
    def test_spikes_sum_to_the_level(self, coding):
        L = coding.levels
        # Every level, below zero, far beyond saturation, and between the levels.
        a = torch.cat([torch.arange(-3 * L, 3 * L + 1) / 4, torch.tensor([-1e9, 1e9, -0.0])])
        a = a * neuron(coding, 2.0, "inference").scale.detach()
        spikes = neuron(coding, 2.0, "inference")(a)
        levels = neuron(coding, 2.0, "training")(a)
        assert spikes.shape == (coding.timesteps, *a.shape)
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(weighted_sum(spikes, coding), levels.detach())
        assert torch.equal(coding.charge(spikes), levels.detach())
        assert levels.max() == coding.reachable(L)
        assert levels.min() == 0

    def test_no_group_exceeds_its_spikes(self, coding):
        a = torch.linspace(-1, 3, 401)
        spikes = neuron(coding, 2.0, "inference")(a)
        per_group = spikes.unflatten(0, (coding.groups, coding.steps)).sum(1)
        allowed = min(coding.steps, coding.max_spikes or coding.steps)
        assert per_group.max() == allowed


@pytest.mark.parametrize("coding", [c for c in CODINGS if not c.regulated], ids=str)
def test_the_level_is_the_rounded_value(coding):
    # A scale of 1/2 makes a·L/theta exact; ties round up.
    L = coding.levels
    module = neuron(coding, L / 2, "training")
    a = torch.arange(-4 * L, 8 * L + 1) / 16
    expected = [min(max(math.floor(2 * x + 0.5), 0), L) for x in a.tolist()]
    assert module(a + 1 / 64).tolist() == expected


def test_regulation_to_one_spike_makes_every_group_a_power_of_two():
    coding = GroupedCoding(1, 4, 1)
    assert [coding.reachable(n) for n in range(16)] == [
        0, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8,
    ]  # fmt: skip
    # The second group sends what the first had to leave.
    assert GroupedCoding(2, 4, 1).reachable(11) == 8 + 2


def test_one_step_a_group_is_rate_coding_by_a_plain_integrate_and_fire_neuron():
    coding = GroupedCoding(groups=8, steps=1)
    module = neuron(coding, 2.0, "inference")
    a = torch.linspace(-1, 3, 201)
    # The IF neuron is charged once, with the half that rounds, and keeps what is left.
    currents = torch.zeros(8, len(a))
    currents[0] = a / module.scale.detach() + 0.5
    assert torch.equal(module(a), IF(reset="soft")(currents))


@given(
    groups=st.integers(1, 4),
    steps=st.integers(1, 5),
    limit=st.none() | st.integers(1, 5),
    theta=st.floats(0.01, 100),
    values=st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=30),
)
@settings(max_examples=150, deadline=None)
def test_forms_agree_for_any_coding_and_theta(groups, steps, limit, theta, values):
    coding = GroupedCoding(groups, steps, limit)
    a = torch.tensor(values)
    spikes = neuron(coding, theta, "inference")(a)
    assert torch.equal(weighted_sum(spikes, coding), neuron(coding, theta, "training")(a).detach())


@pytest.mark.parametrize("coding", CODINGS, ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("theta", [0.7, 2.0, 3.3])
def test_a_driven_layer_is_bit_identical_in_both_forms_with_dyadic_weights(coding, training, theta):
    torch.manual_seed(1)
    layer = SpikeConv(6, 8, 3, lambda: ExpGIF(coding), stride=2, groups=2).train(training)
    with torch.no_grad():
        layer.conv.weight.copy_(dyadic(layer.conv.weight.shape, 0))
        layer.neuron.log_theta.fill_(math.log(theta))
        layer.norm.weight.uniform_(0.5, 1.5)
        layer.norm.bias.uniform_(-1, 1)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    a = torch.randn(3, 6, 9, 9) * 2
    results = []
    for form in ("inference", "training"):
        layer.load_state_dict(before)
        set_form(layer, form)
        assert layer.training is training
        results.append(layer(a))
    assert torch.equal(*results)
    assert results[0].abs().max() > 0


def test_switching_form_changes_no_parameter_or_buffer():
    layer = SpikeConv(3, 4, 1, lambda: ExpGIF(GroupedCoding()))
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    set_form(layer, "training")
    set_form(layer, "inference")
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_gradient_is_straight_through_inside_the_range_only():
    module = ExpGIF(GroupedCoding(2, 2), theta=2.0, form="training")
    a = torch.tensor([[-0.5, 0.1, 1.0, 1.9, 2.5]], requires_grad=True)
    (module(a) * module.scale.detach()).sum().backward()
    torch.testing.assert_close(a.grad, torch.tensor([[0.0, 1, 1, 1, 0]]))


def test_gradient_of_theta_is_that_of_lsq():
    coding = GroupedCoding(2, 2)
    module = ExpGIF(coding, theta=2.0, form="training")
    a = torch.tensor([[-0.5, 0.1, 1.0, 1.9, 2.5]])
    levels = module(a)
    (levels * module.unit(levels)).sum().backward()
    L, theta = coding.levels, 2.0
    inside = sum(math.floor(x * L / theta + 0.5) / L - x / theta for x in (0.1, 1.0, 1.9))
    # Zero below the range, one above; the parameter is log theta.
    expected = theta * (inside + 1) / math.sqrt(5 * L)
    torch.testing.assert_close(module.log_theta.grad, torch.tensor(expected))


def test_training_form_saves_the_same_for_every_number_of_timesteps():
    def saved_bytes(coding):
        layer = SpikeConv(4, 4, 3, lambda: ExpGIF(coding))
        set_form(layer, "training")
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            layer(torch.randn(2, 4, 8, 8))
        return sum(sizes)

    sizes = {saved_bytes(GroupedCoding(groups, 2)) for groups in (1, 2, 8)}
    assert len(sizes) == 1


def test_wrong_codings_and_forms_are_refused():
    with pytest.raises(AnalyzerError, match="groups"):
        GroupedCoding(groups=0)
    with pytest.raises(AnalyzerError, match="max_spikes"):
        GroupedCoding(max_spikes=0)
    with pytest.raises(AnalyzerError, match="quick"):
        set_form(nn.Identity(), "quick")
