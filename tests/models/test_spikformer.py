"""Spikformer: its neurons, what its layers read, and its attention."""

import pytest
import torch
from torch import nn

from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.spikformer import build

from .hooks import record_inputs


def meta(name, **overrides):
    with torch.device("meta"):
        return models.build(name, **overrides).eval()


def test_neurons_and_their_thresholds():
    thresholds = [m.v_threshold for m in meta("spikformer-8-512").modules() if isinstance(m, LIF)]
    assert (thresholds.count(1.0), thresholds.count(0.5)) == (53, 8)
    assert len(thresholds) == 61


def test_binary_and_integer_inputs_are_where_the_published_model_has_them():
    torch.manual_seed(0)
    model = models.build("spikformer-8-512", depth=2, embed_dim=64, image_size=64).train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.bias.fill_(1)
        seen = record_inputs(model)
        model(torch.rand(4, 3, 64, 64))
    del seen["head"]
    integer = {f"attention.{name}.layer" for name in "qkv"} | {"mlp.0.layer"}
    for path, values in seen.items():
        if path == "stem.units.0.layer":
            assert len(values.unique()) > 2
            continue
        assert torch.equal(values, values.round()), path
        if path.startswith("blocks"):
            _, block, part = path.split(".", 2)
            bound = 1
            if part in integer:
                bound = 2 * int(block) + (3 if part == "mlp.0.layer" else 2)
            assert 1 <= values.max() <= bound, path
            assert values.max() > 1 or part not in integer, path
        else:
            assert values.max() <= 1, path


@pytest.mark.parametrize("flavour", ["imagenet", "cifar"])
def test_attention_is_the_scaled_product_of_its_spikes(flavour):
    torch.manual_seed(0)
    attention = build("8-384", embed_dim=32, heads=4, depth=1, flavour=flavour).blocks[0].attention
    x = torch.randint(0, 3, (4, 2, 32, 3, 3)).float()
    spikes, products = [], []
    for unit in (attention.q, attention.k, attention.v):
        unit.register_forward_hook(lambda _, args, out: spikes.append(out))
    attention.neuron.register_forward_pre_hook(lambda _, args: products.append(args[0]))
    with torch.no_grad():
        assert attention(x).shape == x.shape
    q, k, v = (s.unflatten(2, (4, 8)) for s in spikes)
    expected = torch.einsum("tbhdn,tbhdm,tbhem->tbhen", q, k, v).flatten(2, 3) * 0.125
    assert expected.max() > 0
    assert torch.equal(products[0], expected)


def test_images_of_a_batch_do_not_see_each_other():
    model = models.build("spikformer-tiny", pretrained=True).eval()
    images = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


def test_impossible_shapes_are_refused():
    with pytest.raises(AnalyzerError, match="3 heads"):
        models.build("spikformer-tiny", heads=3)
    with pytest.raises(AnalyzerError, match="timestep"):
        models.build("spikformer-tiny", timesteps=0)
