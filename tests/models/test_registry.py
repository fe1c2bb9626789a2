import subprocess
import sys
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from analyzer import models
from analyzer.checkpoints import load_checkpoint
from analyzer.errors import AnalyzerError

from .hooks import record_inputs, weight_layers

# Sizes that keep every structure of the model but run in a moment, by how a name begins.
STAGES = {"widths": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "image_size": 64}
WINDOWS = {"image_size": 64, "embed_dim": 24, "depths": (2, 2, 1, 1)}
SMALL = {
    "spikformer-8": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "spikformer-4": {"timesteps": 5, "depth": 2, "embed_dim": 96},
    "spikformer-tiny": {"timesteps": 5},
    "spikingformer-8": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "spikingformer-4": {"timesteps": 5, "depth": 2, "embed_dim": 96},
    "sdt-v3": STAGES,
    "sdt": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "meta-spikeformer": {"timesteps": 5} | STAGES,
    "qkformer": {
        "timesteps": 5,
        "depths": (1, 1, 2),
        "image_size": 64,
        "heads": 2,
        "embed_dim": 64,
    },
    "spikingresformer": {
        "timesteps": 5,
        "widths": (16, 32, 32),
        "heads": (1, 2, 4),
        "group_size": 16,
        "image_size": 64,
    },
    "vit-tiny": {},
    "vit": {"depth": 2, "image_size": 32, "embed_dim": 48},
    "deit": {"depth": 2, "image_size": 32, "embed_dim": 48},
    "resnet": {"width": 8, "image_size": 64},
    "swin": WINDOWS,
    "ge2mst-tiny": {},
    "ge2mst": {"widths": (16, 24, 32, 40), "depths": (1, 1, 1, 1), "image_size": 64},
}


def small(name, **overrides):
    """A model of the name's structure, at T = 5 where it has time."""
    fields = dict(SMALL[next(start for start in SMALL if name.startswith(start))])
    if name.startswith("ge2mst") and models.describe(name).paradigm != "ANN":
        fields |= {"groups": 5, "steps": 1}
    return models.build(name, **(fields | overrides)).eval()


def image_of(model, batch):
    config = model.config
    return torch.rand(batch, config.in_channels, config.image_size, config.image_size)


def test_listing_needs_no_torch():
    code = (
        "import sys; from analyzer import models; [models.describe(n) for n in models.names()]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", models.names())
def test_a_card_says_what_the_model_is(name):
    card = models.describe(name)
    with torch.device("meta"):
        model = models.build(name)
    assert card.name == name
    assert card.input_shape == (
        model.config.in_channels,
        model.config.image_size,
        model.config.image_size,
    )
    assert card.num_classes == model.config.num_classes
    assert card.timesteps == getattr(model, "timesteps", 1)
    assert card.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", models.names())
def test_overrides_reach_the_model(name):
    model = small(name, num_classes=7, in_channels=2)
    assert model(image_of(model, 2)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [(name, {}) for name in models.names()]
    + [("ge2mst-tiny", {"form": "training"}), ("sdt-v3-5m", {"form": "spikes", "levels": 5})],
    ids=str,
)
def test_declared_layouts_fit_what_each_weight_layer_reads(name, overrides):
    model = small(name, **overrides)
    layers = weight_layers(model)
    inputs = record_inputs(model)
    batch = 3
    with torch.no_grad():
        model(image_of(model, batch))

    unused = {path for path in layers if path.endswith("head_mixing")}
    assert inputs.keys() == layers.keys() - unused
    for path, values in inputs.items():
        if "attention" in path and name.startswith("swin"):  # windows are samples of their own
            continue
        shape = values.shape
        matching = [pattern for pattern in model.layouts if fnmatchcase(path, pattern)]
        assert len(matching) == 1, f"{path} matches {matching}"
        layout = model.layouts[matching[0]]
        axes = layout.replace("(T B)", "TB").split()
        assert len(axes) == len(shape), path
        layer = layers[path]
        sizes = dict(zip(axes, shape, strict=True))
        features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        assert sizes["D" if "D" in sizes else "C"] == features, path
        assert "TB" in sizes or "B" in sizes, path
        assert sizes.get("TB", 15) == 15, path
        assert sizes.get("T", 5) == 5, path
        assert sizes.get("B", batch) == batch, path
    for pattern in model.layouts:
        assert any(fnmatchcase(path, pattern) for path in layers), pattern


def test_an_unknown_name_gets_the_closest_ones():
    with pytest.raises(AnalyzerError, match=r"^unknown model 'vit-tyni': did you mean 'vit-tiny'"):
        models.build("vit-tyni")
    with pytest.raises(AnalyzerError, match=r"^unknown model 'zzz': there are ge2mst-tiny, "):
        models.describe("zzz")


def test_an_unknown_override_is_refused():
    with pytest.raises(AnalyzerError, match=r"^vit-tiny takes no 'wings'; it takes: image_size, "):
        models.build("vit-tiny", wings=2)
    with pytest.raises(AnalyzerError, match=r"no 'size' and no 'tau'; .*steps.*form, timesteps\.$"):
        models.build("ge2mst-tiny", size="tiny", tau=2)


def test_missing_and_misfitting_weights_are_refused(tmp_path):
    with pytest.raises(
        AnalyzerError, match="No trained weights are shipped for 'spikformer-8-512'"
    ):
        models.load_weights(nn.Identity(), "spikformer-8-512")
    with pytest.raises(AnalyzerError, match="does not fit ViT"):
        models.build("vit-tiny", pretrained=True, num_classes=3)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(AnalyzerError, match="no readable safetensors file"):
        load_checkpoint(nn.Identity(), broken)
    with pytest.raises(AnalyzerError, match="there is no checkpoint"):
        load_checkpoint(nn.Identity(), tmp_path / "absent.safetensors")
