"""``analyzer.SynOps``: figures against profiles and brute force, gradients against differences."""

import math

import pytest
import torch
from oracles import rows, watch
from random_spikes import random_spikes
from small_models import image_of, small
from torch import nn
from torch.nn import functional as F

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.measure.torch_private.modes import mode_depth
from analyzer.models.neurons import LIF, spike
from analyzer.models.warm import warm

SPIKING = (
    "ge2mst-tiny", "ge2mst-tiny-converted", "ge2mst-tiny-stbp", "spikformer-8-384",
    "spikformer-tiny", "spikingformer-4-384", "sdt-8-384", "meta-spikeformer-15m", "sdt-v3-5m",
    "qkformer-10-384", "qkformer-tiny", "sdt-tiny", "spikingresformer-ti", "spikezip-tiny",
)  # fmt: skip


def counted(model, *args, **options):
    with analyzer.SynOps(model, **options) as ops:
        model(*args)
    return ops


def short(name):
    """Of two timesteps."""
    return small(name, **({"groups": 2} if name.startswith("ge2mst") else {"timesteps": 2}))


@pytest.mark.parametrize("convention", ["exact", "unary"])
@pytest.mark.parametrize("name", SPIKING)
def test_the_figures_are_those_of_a_profile_of_the_same_batch(name, convention):
    torch.manual_seed(0)
    model = small(name)
    x = image_of(model, 2)
    warm(model, x)
    table = analyzer.profile(model, x).operations(convention=convention)
    ops = counted(model, x, convention=convention)
    assert ops.total().item() == table["ac"].sum()
    # All that SpikeZIP reads in its default form is graded.
    assert (ops.total() > 1000) == (name != "spikezip-tiny" or convention == "unary")
    assert ops.per_sample().item() == table["ac"].sum() / 2
    by_module = table.groupby("module")["ac"].sum()
    found = {path: count.item() for path, count in ops.by_module().items()}
    assert {path: count for path, count in found.items() if count} == {
        path: count for path, count in by_module.items() if count
    }


@pytest.mark.parametrize("name", ["ge2mst-tiny-stbp", "spikformer-tiny"])
def test_the_figures_are_those_of_brute_force(name):
    torch.manual_seed(1)
    model = short(name)
    x = image_of(model, 1)
    warm(model, x)
    expected = sum(
        events
        for (_, _, kinds), (_, events, _) in rows(watch(model, x)).items()
        if {"binary", "ternary"} & set(kinds.split("*"))
    )
    assert counted(model, x).total().item() == expected > 0


@pytest.mark.parametrize("name", ["ge2mst-tiny-stbp", "spikformer-tiny"])
def test_a_step_along_the_gradient_saves_accumulates(name):
    torch.manual_seed(0)
    model = short(name)
    x = image_of(model, 2)
    warm(model, x)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before = counted(model, x)
    before.per_sample().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert sum(p.grad.abs().sum() > 0 for p in model.parameters() if p.grad is not None) > 10
    optimizer.step()
    assert counted(model, x).total() < before.total()


CONVOLUTIONS = {
    "padded": ((2, 4, 5, 6), (3, 4, 3, 2), {"padding": (1, 0)}),
    "strided": ((2, 4, 7, 6), (3, 4, 3, 3), {"stride": (2, 3), "padding": 1}),
    "dilated": ((1, 4, 7, 9), (3, 4, 2, 3), {"dilation": (3, 2), "padding": (2, 1)}),
    "depthwise": ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    "one axis": ((2, 3, 9), (5, 3, 4), {"stride": 2}),
    "three axes": ((1, 2, 4, 4, 3), (3, 2, 2, 2, 2), {"padding": (1, 0, 1)}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("who", ["input", "kernel", "both"])
def test_a_convolution_counts_and_its_gradient_are_those_of_one_with_ones(case, who):
    shape, kernel, settings = CONVOLUTIONS[case]
    axes = len(shape) - 2
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]

    class Dynamic(nn.Module):
        def forward(self, x, w):
            return conv(x, w, **settings)

    x, w = random_spikes(*shape, seed=1), random_spikes(*kernel, seed=2)
    ones = torch.ones_like
    if who == "input":
        w = torch.randn(kernel)
    if who == "kernel":
        x = torch.randn(shape)
    left, right = (
        (x if who != "kernel" else ones(x)).double().requires_grad_(),
        (w if who != "input" else ones(w)).double().requires_grad_(),
    )
    expected = conv(left, right, **settings).sum()
    expected.backward()
    x, w = x.requires_grad_(), w.requires_grad_()
    total = counted(Dynamic(), x, w).total()
    assert total.item() == expected.item() > 0
    total.backward()
    for given, wanted, drives in ((x, left, who != "kernel"), (w, right, who != "input")):
        assert torch.equal(given.grad, wanted.grad.float()) if drives else given.grad is None


@pytest.mark.parametrize("extra", [0, 1])
def test_a_transposed_convolution_counts_what_it_does_not_cut_off(extra):
    layer = nn.ConvTranspose2d(
        4, 6, 3, stride=2, padding=1, output_padding=extra, groups=2, dilation=2, bias=False
    )
    x = random_spikes(2, 4, 5, 4).requires_grad_()
    ones = nn.ConvTranspose2d(
        4, 6, 3, stride=2, padding=1, output_padding=extra, groups=2, dilation=2, bias=False
    ).double()
    nn.init.ones_(ones.weight)
    wanted = x.detach().double().requires_grad_()
    expected = ones(wanted).sum()
    expected.backward()
    total = counted(layer, x).total()
    total.backward()
    assert total.item() == expected.item() > 0
    assert torch.equal(x.grad, wanted.grad.float())

    class Dynamic(nn.Module):
        def forward(self, x, w):
            return F.conv_transpose2d(x, w, stride=3, padding=1, output_padding=extra, groups=2)

    w = random_spikes(4, 3, 2, 3, seed=5)
    expected = Dynamic()(x.double(), w.double()).sum()
    assert counted(Dynamic(), x, w).total().item() == expected.item() > 0


class Attention(nn.Module):
    def forward(self, q, k, v):
        return q @ k.mT @ v


def test_spikes_that_meet_spikes_count_pairs_and_each_has_the_others_as_gradient():
    q, k, v = (random_spikes(2, 3, 5, 4, seed=seed).requires_grad_() for seed in range(3))
    ops = counted(Attention(), q, k, v)
    scores = (q @ k.mT).detach()
    # The scores are graded, so in the second product the spikes of v alone count.
    assert scores.max() > 1
    assert ops.total().item() == scores.sum().item() + v.sum().item() * 5
    ops.total().backward()
    assert torch.equal(q.grad, k.detach().sum(-2, keepdim=True).expand_as(q))
    assert torch.equal(k.grad, q.detach().sum(-2, keepdim=True).expand_as(k))
    assert torch.equal(v.grad, torch.full_like(v, 5.0))
    levels = counted(Attention(), q, k, v, convention="unary")
    assert levels.total().item() == scores.sum().item() + (scores @ v).sum().item()


def test_fused_attention_and_its_mask_count_as_in_a_profile():
    class Fused(nn.Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    model = Fused().eval()
    q, k, v = (random_spikes(2, 2, 5, 4, seed=seed).requires_grad_() for seed in range(3))
    ops = counted(model, q, k, v)
    assert ops.total().item() == analyzer.profile(model, (q, k, v)).totals["ac"] > 0
    ops.total().backward()
    assert torch.equal(v.grad, torch.full_like(v, 5.0))


@pytest.mark.parametrize(
    ("values", "gradient"),
    [
        ([0.0, 0.25, 0.25, 0.0], [12.0] * 4),
        ([0.0, -1.0, -1.0, 0.0], [-3.0] * 4),
        ([0.0, 1.0, -1.0, 0.0], [0.0, 3.0, -3.0, 0.0]),
        ([0.0, 0.0, 0.0, 0.0], [3.0] * 4),
    ],
    ids=["scaled", "negative", "ternary", "silent"],
)
def test_spikes_of_other_sizes_and_signs_count_as_one_each(values, gradient):
    x = torch.tensor([values], requires_grad=True)
    ops = counted(nn.Linear(4, 3), x)
    assert ops.total().item() == 3 * sum(value != 0 for value in values)
    ops.total().backward()
    assert x.grad.tolist() == [gradient]


def test_what_no_spikes_drive_adds_nothing_and_has_no_gradient():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    ops = counted(model, torch.randn(5, 4, requires_grad=True))
    assert ops.total().item() == 0
    assert not ops.total().requires_grad
    assert ops.by_module() == {}


def test_the_gradient_goes_through_the_surrogate_into_the_weights():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 5)

        def forward(self, x):
            return self.second(spike(self.first(x) - 0.1))

    model, x = Layer(), torch.randn(6, 3)
    (1e-3 * counted(model, x).per_sample()).backward()
    # The derivative of the surrogate sigmoid(4 u), times 5 outputs, over 6 samples.
    slope = torch.sigmoid(4 * (model.first(x).detach() - 0.1))
    expected = (4 * slope * (1 - slope) * 5 / 6 * 1e-3).T @ x
    assert torch.allclose(model.first.weight.grad, expected, rtol=1e-5)
    assert model.second.weight.grad is None


class Smooth(nn.Module):
    """Every kind of contraction on fractions of spikes, in float64."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 3, 2, stride=2)
        self.attend = Attention()
        self.head = nn.Linear(8, 2)
        self.double()

    def forward(self, x):
        x = torch.sigmoid(self.conv(torch.sigmoid(self.stem(x))))
        x = torch.sigmoid(self.up(x))  # [B, 3, 8, 8]
        q, k, v = x.unbind(1)
        return self.head(torch.sigmoid(self.attend(q, k, v / 10)))


def test_the_gradient_agrees_with_finite_differences_on_a_smooth_network():
    torch.manual_seed(0)
    model = Smooth()
    with torch.no_grad():  # attention of fractions must stay in [0, 1]
        for parameter in model.up.parameters():
            parameter.sub_(2.0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    soft = ["conv", "up", "attend", "head"]

    def total():
        return counted(model, x, soft=soft).total()

    total().backward()
    assert total().item() != round(total().item())
    step, checked = 1e-5, 0
    for name, parameter in model.named_parameters():
        flat = parameter.data.view(-1)
        gradient = torch.zeros_like(flat) if parameter.grad is None else parameter.grad.view(-1)
        for place in range(0, len(flat), 17):
            value = flat[place].item()
            found = []
            for moved in (value + step, value - step):
                flat[place] = moved
                with torch.no_grad():
                    found.append(total().item())
            flat[place] = value
            slope = (found[0] - found[1]) / (2 * step)
            assert slope == pytest.approx(gradient[place].item(), rel=1e-6, abs=1e-6), name
            checked += abs(slope) > 1e-3
    assert checked > 10


def test_on_whole_spikes_soft_modules_count_the_same():
    x = random_spikes(4, 6)
    model = nn.Linear(6, 3)
    assert counted(model, x, soft="").total() == counted(model, x).total() > 0


def test_what_is_no_fraction_of_a_spike_is_refused():
    model = nn.Sequential(nn.Identity(), nn.Linear(2, 1))
    with pytest.raises(AnalyzerError, match=r"module '1' .* reads values from -2 to 3: leave"):
        counted(model, torch.tensor([[-2.0, 3.0]]), soft=["0", "[1-9]"])


def test_passes_add_up_and_only_the_models_own_operations_count():
    model, other = nn.Linear(6, 3), nn.Linear(6, 50)
    x, y = random_spikes(4, 6, seed=1), random_spikes(2, 6, seed=2)
    with analyzer.SynOps(model) as ops:
        model(x)
        other(x)
        x @ torch.ones(6, 9)
        model(y)
        (model.weight @ x[0]).sum().backward()
    assert ops.total().item() == 3 * (x.sum() + y.sum()).item()
    assert ops.per_sample().item() == ops.total().item() / 6
    with ops:
        model(y)
    assert ops.total().item() == 3 * y.sum().item()


def test_it_counts_under_no_grad_and_in_training_alike():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(0, 1)).train()
    x = random_spikes(2, 1, 6, 6).requires_grad_()
    with torch.no_grad():
        alone = counted(model, x).total()
    linked = counted(model, x).total()
    assert alone.item() == linked.item() > 0
    assert (alone.requires_grad, linked.requires_grad) == (False, True)


@pytest.mark.parametrize("gradient", [False, True])
def test_layers_of_one_kernel_count_by_what_they_are_made_of(gradient):
    torch.manual_seed(0)
    model = nn.LSTM(6, 4, batch_first=True).eval()
    x = random_spikes(3, 5, 6).requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        ops = counted(model, x)
    assert ops.total().item() == analyzer.profile(model, x).totals["ac"] > 0
    if gradient:
        ops.total().backward()
        assert torch.equal(x.grad, torch.full_like(x, 16.0))


def test_neurons_of_other_libraries_pass_the_gradient_on():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), neuron.LIFNode(step_mode="m"), nn.Linear(16, 4), LIF(0.2)
    )
    x = 4 * torch.rand(5, 3, 8)
    ops = counted(model, x)
    model[1].reset()
    with torch.no_grad():
        spikes = model[1](model[0](x))
    assert ops.total().item() == 4 * spikes.sum().item() > 0
    ops.total().backward()
    assert model[0].weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("counts", ["the compiled model", "the model inside"])
def test_a_compiled_model_counts_the_same(counts):
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))
    compiled = torch.compile(model, backend="eager")
    x = random_spikes(4, 6).requires_grad_()
    with analyzer.SynOps(compiled if counts == "the compiled model" else model) as ops:
        compiled(x)
    assert ops.total().item() == 3 * x.sum().item() > 0
    ops.total().backward()
    assert torch.equal(x.grad, torch.full_like(x, 3.0))


def test_in_a_loop_over_timesteps_the_samples_must_be_told():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), neuron.LIFNode(), nn.Linear(16, 4))
    x = 4 * torch.rand(5, 3, 8)
    with analyzer.SynOps(model) as ops:
        for step in x:
            model(step)
    with pytest.raises(AnalyzerError, match=r"one timestep of its neurons.*samples="):
        ops.per_sample()
    assert ops.per_sample(3).item() == ops.total().item() / 3 > 0


def test_samples_are_told_as_for_a_profile():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            return self.layer(x).mean(0)

    x = random_spikes(5, 4, 6)
    ops = counted(TimeFirst(), x, timesteps=5, layouts={"": "T B N"})
    assert ops.per_sample().item() == 3 * x.sum().item() / 4
    assert counted(TimeFirst(), x, samples=2).per_sample().item() == 3 * x.sum().item() / 2


def test_spikes_that_are_the_same_for_all_samples_count_for_each():
    class Mixed(nn.Module):
        def forward(self, x):
            return x + torch.eye(6).roll(1, 0) @ torch.eye(6)

    model = Mixed().eval()
    x = torch.rand(5, 6, 6)
    ops = counted(model, x)
    assert ops.total().item() == analyzer.profile(model, x).totals["ac"]


def test_an_operand_that_was_overwritten_is_named():
    class Overwrites(nn.Module):
        def forward(self, x):
            spikes = spike(x)
            out = spikes @ torch.ones(4, 2)
            spikes.mul_(0.5)
            return out

    with pytest.raises(AnalyzerError, match="operand of mm in module '' was overwritten after"):
        counted(Overwrites(), torch.randn(3, 4, requires_grad=True))


def test_a_forward_that_raises_leaves_nothing_behind():
    class Raises(nn.Module):
        def forward(self, x):
            x @ x.mT
            raise ValueError("mine")

    x = random_spikes(3, 4)
    model = Raises()
    ops = analyzer.SynOps(model)
    with pytest.raises(ValueError, match="mine"), ops:
        model(x)
    assert mode_depth() == 0
    with ops:
        pass
    with pytest.raises(AnalyzerError, match="saw no forward pass of this Raises"):
        ops.total()
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
    assert "_compiled_call_impl" not in vars(model)


def test_values_that_are_not_finite_are_named():
    x = torch.tensor([[1.0, math.nan]])
    with pytest.raises(AnalyzerError, match="module '', operand 1 of matmul: a value is NaN"):
        counted(nn.Linear(2, 1), x)
    assert mode_depth() == 0


def test_wrong_requests_are_refused():
    with pytest.raises(AnalyzerError, match=r"needs a torch\.nn\.Module, not str"):
        analyzer.SynOps("spikformer-tiny")
    with pytest.raises(AnalyzerError, match="unknown convention 'spikformer'"):
        analyzer.SynOps(nn.Linear(1, 1), convention="spikformer")
    model = nn.Linear(6, 3)
    with analyzer.SynOps(model) as ops:
        with pytest.raises(AnalyzerError, match="is in use"), ops:
            pass
        model(input=random_spikes(2, 6))
    assert ops.per_sample().item() == 3 * random_spikes(2, 6).sum().item() / 2
    with pytest.raises(AnalyzerError, match="of 0 samples"):
        ops.per_sample(0)
