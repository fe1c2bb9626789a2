"""SpikeZIP-TF: its quantised form and its form in spikes agree, and spikes drive its products."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import analyzer
from analyzer.errors import AnalyzerError
from analyzer.models import spikezip, vit
from analyzer.models.spikezip import STBIF, Memory, calibrate, firing

from .hooks import record_inputs, weight_layers

SMALL = {"image_size": 16, "embed_dim": 32, "depth": 2, "heads": 2}
"""A network of 17 tokens and 2 blocks, which runs fast."""
SETTLED = SMALL | {"timesteps": 24}
"""The same with as few timesteps as it needs to come to rest, for slow tests."""


def calibrated(dtype=torch.float64, dyadic=False, **overrides):
    torch.manual_seed(0)
    model = spikezip.build("tiny", **overrides).to(dtype).eval()
    side = model.config.image_size
    calibrate(model, torch.rand(8, 1, side, side, dtype=dtype))
    if dyadic:
        with torch.no_grad():
            for neuron in neurons(model).values():
                neuron.theta.copy_(2 ** neuron.theta.log2().round())
    return model, torch.rand(3, 1, side, side, dtype=dtype)


def neurons(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, STBIF)}


def both_forms(model, images):
    outputs = []
    for form in ("quantised", "spikes"):
        model.form = form
        with torch.no_grad():
            outputs.append(model(images))
    return outputs


# Increments in 16ths of theta, the first one followed by 15 neighbours: ties are among them.
@settings(max_examples=100, deadline=None)
@given(
    increments=st.lists(st.integers(-48, 48) | st.integers(-400, 400), min_size=1, max_size=12),
    exponent=st.integers(-6, 6),
    levels=st.sampled_from([(0, 16), (0, 1), (-8, 7), (-8, 8), (-1, 1)]),
)
def test_the_tracer_ends_at_the_quantised_sum_of_any_increments(increments, exponent, levels):
    lo, hi = levels
    neuron = STBIF(lo, hi).double()
    theta = 2.0**exponent
    inputs = torch.tensor(increments).double()[:, None].repeat(1, 16)
    inputs[0] += torch.arange(16)
    with torch.no_grad():
        neuron.theta.fill_(theta)
        quantised = neuron(inputs.sum(0) * theta / 16)
        neuron.form, memory, fired = "spikes", Memory(), []
        for x in (*inputs, *torch.zeros(hi - lo + 1, 16).double()):
            fired.append(neuron(x * theta / 16, memory))
            assert set(fired[-1].tolist()) <= {-theta, 0, theta}
            tracer = memory.state[neuron][1]
            assert lo <= tracer.min() <= tracer.max() <= hi
    assert not fired[-1].any()
    assert torch.equal(sum(fired), quantised)
    assert torch.equal(neuron.total(memory), quantised)
    levels = [(sum(increments) + k + 8) // 16 for k in range(16)]
    assert quantised.tolist() == [theta * min(max(level, lo), hi) for level in levels]


def test_the_order_of_increments_moves_no_spike_of_the_sum():
    torch.manual_seed(0)
    neuron = STBIF(-8, 7, peak=7.0).double()
    inputs = torch.randint(-256, 257, (10, 500)).double() / 64
    ends = []
    for order in (torch.arange(10), torch.randperm(10), torch.arange(9, -1, -1)):
        neuron.form, memory = "spikes", Memory()
        with torch.no_grad():
            for x in (*inputs[order], *torch.zeros(16, 500)):
                neuron(x, memory)
            ends.append(memory.state[neuron][1])
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    assert {ends[0].min().item(), ends[0].max().item()} == {-8, 7}


def test_gradients_are_those_of_learned_step_sizes():
    """For the input: 1 between the end levels. For theta: level minus input, or the end level."""
    neuron = STBIF(-2, 1).double()
    with torch.no_grad():
        neuron.theta.fill_(0.5)
    x = torch.tensor([[-9, -0.3, 0.1, 0.2, 0.3, 9]], dtype=torch.float64, requires_grad=True)
    out = neuron(x)
    assert out.tolist() == [[-1, -0.5, 0, 0, 0.5, 0.5]]
    out.sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 1, 1, 0]]
    expected = (-2 + (-1 + 0.6) + (0 - 0.2) + (0 - 0.4) + (1 - 0.6) + 1) / 6**0.5
    torch.testing.assert_close(neuron.theta.grad.item(), expected)
    rectifier = STBIF(0, 4)
    x = torch.tensor([[-1, -0.1, 0.3, 1.1]], requires_grad=True)
    rectifier(x).sum().backward()
    assert x.grad.tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("dyadic", [True, False], ids=["dyadic", "any theta"])
def test_spikes_give_the_output_of_the_quantised_network(dyadic):
    """With steps that are powers of two, products are exact; norms and softmax round in both."""
    model, images = calibrated(dyadic=dyadic)
    assert firing(model, images)[-1] == 0
    quantised, spikes = both_forms(model, images)
    assert quantised.std() > 0.1
    torch.testing.assert_close(quantised, spikes, atol=1e-9, rtol=0)
    assert torch.equal(quantised.argmax(1), spikes.argmax(1))


def test_every_code_is_the_same_in_both_forms():
    """Not only the output: each neuron's spikes add up to its value, to the last bit."""
    model, images = calibrated(dyadic=True, **SMALL)
    seen = {}
    for form in ("quantised", "spikes"):
        model.form = form
        codes = seen[form] = {}
        handles = [
            neuron.register_forward_hook(
                lambda _, args, out, name=name, codes=codes: codes.update(
                    {name: codes.get(name, 0) + out}
                )
            )
            for name, neuron in neurons(model).items()
        ]
        with torch.no_grad():
            model(images)
        for handle in handles:
            handle.remove()
    assert len(seen["spikes"]) == 2 * 8 + 1
    for name, neuron in neurons(model).items():
        code = seen["quantised"][name]
        assert torch.equal(code, seen["spikes"][name]), name
        levels = code / neuron.theta
        assert torch.equal(levels, levels.round())
        assert len(levels.unique()) > 4, name
        assert neuron.lo <= levels.min() < levels.max() <= neuron.hi


def test_too_few_timesteps_are_seen():
    model, images = calibrated(timesteps=4, **SMALL)
    spikes = firing(model, images)
    assert len(spikes) == 4
    assert min(spikes) > 0
    quantised, short = both_forms(model, images)
    assert (quantised - short).abs().max() > 1e-3


def test_a_network_at_rest_stays_at_rest():
    model, images = calibrated(**SMALL)
    spikes = firing(model, images)
    first = spikes.index(0)
    assert 16 <= first < model.config.timesteps  # the highest level takes 16 spikes
    assert not any(spikes[first:])


def test_a_forward_leaves_nothing_behind():
    model, images = calibrated(form="spikes", **SMALL)
    before = {name: dict(vars(m)) for name, m in model.named_modules()}
    with torch.no_grad():
        outputs = [model(images), model(images[:1]), model(images)]
    assert torch.equal(outputs[0], outputs[2])
    torch.testing.assert_close(outputs[0][:1], outputs[1], atol=1e-9, rtol=0)
    assert {name: dict(vars(m)) for name, m in model.named_modules()} == before


def test_the_float_form_is_a_vit_with_relu():
    torch.manual_seed(0)
    dense = vit.build("tiny").double().eval()
    for block in dense.blocks:
        block.mlp[1] = nn.ReLU()
    model = spikezip.build("tiny", form="float").double().eval()
    missing, unexpected = model.load_state_dict(dense.state_dict(), strict=False)
    assert not unexpected
    assert all(name.endswith(".theta") for name in missing)
    image = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(image), dense(image))
        # And with ever finer levels the quantised one comes near it.
        fine = spikezip.build("tiny", levels=1 << 14).double().eval()
        fine.load_state_dict(dense.state_dict(), strict=False)
        calibrate(fine, image, quantile=1)
        torch.testing.assert_close(fine(image), dense(image), atol=5e-3, rtol=0)


def test_calibration_sets_the_highest_level_to_a_quantile():
    model, images = calibrated(**SMALL)
    norms = []
    model.blocks[0].norm1.register_forward_hook(lambda _, args, out: norms.append(out.abs()))
    state = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("theta")}
    for quantile in (1.0, 0.5):
        calibrate(model, images, quantile)
        sizes = norms.pop().flatten().sort().values
        top = model.blocks[0].neuron1.theta * 7
        torch.testing.assert_close(top, sizes[round(quantile * len(sizes)) - 1])
        assert model.form == "quantised"
    assert all(torch.equal(model.state_dict()[k], v) for k, v in state.items())
    silent = STBIF(0, 4)
    calibrated_before = silent.theta.item()
    with torch.no_grad():
        model.blocks[0].mlp[0].weight.zero_()
        model.blocks[0].mlp[0].bias.fill_(-1)
        model.blocks[0].mlp[1].theta.fill_(calibrated_before)
    calibrate(model, images)
    assert model.blocks[0].mlp[1].theta == calibrated_before


def test_training_reaches_every_weight_and_step():
    model, images = calibrated(dtype=torch.float32, **SMALL)
    model.train()
    nn.functional.cross_entropy(model(images), torch.arange(3)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
    assert sum(name.endswith(".theta") for name, _ in model.named_parameters()) == 17


def test_dense_work_in_quantised_form_is_that_of_a_vit():
    model = spikezip.build("tiny").eval()
    reference = analyzer.count("vit-tiny")
    counted = analyzer.count(model, (1, 32, 32))
    assert counted.totals["dense_macs"] == reference.totals["dense_macs"]
    assert counted.parameters == reference.parameters + len(neurons(model))
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(torch.rand(1, 1, 32, 32))
    assert flops.get_total_flops() == 2 * reference.totals["dense_macs"]
    with torch.device("meta"):
        large = spikezip.build("s-16")
    counted = analyzer.count(large, (3, 224, 224)).totals["dense_macs"]
    assert counted == analyzer.count("vit-s-16").totals["dense_macs"] == 4_598_882_304


@pytest.fixture(scope="module")
def profiles():
    model, images = calibrated(dtype=torch.float32, **SETTLED)
    measured = {}
    for form in ("quantised", "spikes"):
        model.form = form
        measured[form] = analyzer.profile(model, images[:2], name=form)
    return measured


def test_spikes_drive_every_product_but_that_of_the_patches(profiles):
    quantised, spikes = profiles["quantised"], profiles["spikes"]
    assert quantised.uncovered.empty
    assert spikes.uncovered.empty
    read = spikes.operations()
    assert set(read.loc[read["mac"] > 0, "module"]) == {"patches"}
    assert read["mac"].sum() == quantised.operations().set_index("module").loc["patches", "mac"]
    for kinds in read.loc[read["module"] != "patches", "input_class"]:
        assert {"zero", "binary", "ternary"} & set(kinds.split("*")), kinds
    # Dense work: T times the weights; each product of attention from the second step on twice.
    T = spikes.metadata["timesteps"]
    assert T == 24
    times = {"conv2d": 1, "linear": T, "matmul": 2 * T - 1}
    one, other = (p.counts.groupby("op")["dense_macs"].sum() for p in profiles.values())
    for op, n in times.items():
        assert other[op] == n * one[op] > 0


def test_events_of_weight_layers_are_their_spikes_times_their_width(profiles):
    model, images = calibrated(dtype=torch.float32, form="spikes", **SETTLED)
    events = {}

    def add(path):
        def hook(layer, args):
            n = int(args[0].count_nonzero()) * layer.out_features
            events[path] = events.get(path, 0) + n

        return hook

    for path, layer in weight_layers(model).items():
        if path != "patches":
            layer.register_forward_pre_hook(add(path))
    with torch.no_grad():
        model(images[:2])
    counts = profiles["spikes"].counts.query("op == 'linear'")
    assert counts.groupby("module")["events"].sum().to_dict() == events


@pytest.mark.parametrize("axis", ["module", "timestep", "temporal", "spatial", "structural"])
def test_activity_has_every_axis(profiles, axis):
    table = profiles["spikes"].sparsity(axis)
    assert table["sparsity"].between(0, 1).all()
    assert table["sparsity"].max() > 0.5
    if axis in ("timestep", "temporal"):
        last = table[table[table.columns[1]] == 23]
        assert (last["nonzeros"] == 0).all()


def test_profiles_add_up_and_shapes_tell_the_same():
    small = SMALL | {"depth": 1, "timesteps": 8}
    model, images = calibrated(dtype=torch.float32, form="spikes", **small)
    whole = analyzer.profile(model, images)
    parts = analyzer.profile(model, [(image[None],) for image in images])
    passes = parts.metadata["passes"]
    assert passes["full"] + passes["replayed"] == 3
    assert passes["missed"] == 0
    assert parts.totals == whole.totals
    counted = analyzer.count(model, (1, 16, 16))
    for work in ("dense_macs", "adds", "multiplies", "compares", "specials"):
        assert 3 * counted.totals[work] == whole.totals[work]


@pytest.mark.parametrize("form", ["float", "quantised", "spikes"])
def test_layouts_are_those_of_one_timestep(form):
    model, images = calibrated(dtype=torch.float32, form=form, timesteps=3, **SMALL)
    inputs = record_inputs(model)
    with torch.no_grad():
        model(images)
    assert inputs.keys() == model.layouts.keys()
    for path, values in inputs.items():
        assert len(model.layouts[path].split()) == values.ndim
        assert len(values) == 3
    assert model.timesteps == (3 if form == "spikes" else 1)
    assert model.groups.get("temporal") == (3 if form == "spikes" else None)


def test_what_does_not_fit_is_refused():
    with pytest.raises(AnalyzerError, match="'float', 'quantised' or 'spikes', not 'integer'"):
        spikezip.build("tiny", form="integer")
    with pytest.raises(AnalyzerError, match="no pool 'mean'"):
        spikezip.build("tiny", pool="mean")
    with pytest.raises(AnalyzerError, match="got 7 and 64"):
        spikezip.build("s-16", levels=7)
    with pytest.raises(AnalyzerError, match="patches of 5"):
        spikezip.build("tiny", patch_size=5)
