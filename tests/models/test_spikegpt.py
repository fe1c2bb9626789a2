"""SpikeGPT: its parameters and work by hand, its recurrence by the sum it stands for."""

import pytest
import torch
from small_models import image_of, small

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.spikegpt import weighted_mean

DEPTH, WIDTH, VOCABULARY = 18, 768, 50277


def test_parameters_by_hand():
    """Those of the released file: 861.6 MB of float32, 215.4 million."""
    block = 13 * WIDTH**2 + 7 * WIDTH + 4 * WIDTH
    norms = 4 * WIDTH
    parameters = DEPTH * block + norms + 2 * VOCABULARY * WIDTH
    assert parameters == 215_399_424 == models.describe("spikegpt-216m").parameters
    assert round(parameters * 4 / 1e6) == 862
    with torch.device("meta"):
        model = models.build("spikegpt-216m")
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_dense_work_by_hand():
    tokens = 8
    counted = analyzer.count("spikegpt-216m", (tokens,))
    assert counted.metadata["timesteps"] == tokens
    assert counted.uncovered.empty
    work = tokens * (DEPTH * 13 * WIDTH**2 + VOCABULARY * WIDTH)
    assert counted.totals["dense_macs"] == work


def test_the_recurrence_is_the_weighted_mean_of_all_tokens_so_far():
    torch.manual_seed(0)
    keys, values = (torch.randn(2, 7, 3, dtype=torch.float64) for _ in range(2))
    decay, bonus = torch.rand(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    found = weighted_mean(keys, values, decay, bonus)
    for t in range(7):
        weights = [torch.exp(keys[:, i] - (t - 1 - i) * decay) for i in range(t)]
        weights.append(torch.exp(keys[:, t] + bonus))
        total = sum(w * values[:, i] for i, w in enumerate(weights))
        torch.testing.assert_close(found[:, t], total / sum(weights))


def test_the_recurrence_holds_large_keys():
    keys = torch.tensor([[[1000.0], [-1000.0], [1000.0]]])
    values = torch.tensor([[[1.0], [2.0], [3.0]]])
    zero = torch.zeros(1)
    found = weighted_mean(keys, values, zero, zero)
    torch.testing.assert_close(found, torch.tensor([[[1.0], [1.0], [2.0]]]))


def test_a_token_sees_none_that_comes_after_it():
    torch.manual_seed(0)
    model = small("spikegpt-216m").double()
    tokens = image_of(model, 2)
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 50
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_what_is_added_to_the_stream_are_spikes_and_no_layer_reads_them_alone():
    torch.manual_seed(0)
    model = small("spikegpt-216m")
    with torch.no_grad():  # larger weights, for untrained branches hardly reach the threshold
        for block in model.blocks:
            block.time.output.weight *= 20
            block.channel.value.weight *= 20
    spikes = []
    for module in model.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda *args: spikes.append(args[2]))
    embedded = []
    model.entry.register_forward_pre_hook(lambda _, args: embedded.append(args[0]))
    profile = analyzer.profile(model, image_of(model, 4))
    assert len(spikes) >= 4
    assert all(set(s.unique().tolist()) <= {0.0, 1.0} for s in [*spikes, *embedded])
    assert sum(float(s.sum()) for s in spikes) > 0
    layers = profile.counts[profile.counts["dense_macs"] > 0]
    assert set(layers["input_class"]) == {"real"}


def test_another_number_of_tokens_is_refused_with_the_remedy():
    model = small("spikegpt-216m")
    with pytest.raises(AnalyzerError, match=r"takes 5 tokens \[B, 5\], not \[2, 4\]: .* context="):
        model(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(AnalyzerError, match=r"a sample is \(N,\), not \(3, 224, 224\)"):
        models.build("spikegpt-216m", input_shape=(3, 224, 224))
    with pytest.raises(AnalyzerError, match="needs a width, a depth"):
        models.build("spikegpt-216m", context=0)
