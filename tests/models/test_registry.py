"""The registry of models: cards, building with overrides, declared layouts, and refusals."""

import doctest
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from small_models import image_of, small
from torch import nn

import analyzer
from analyzer import models
from analyzer.errors import AnalyzerError
from analyzer.models.checkpoints import load_checkpoint

from .hooks import record_inputs, weight_layers
from .published import rows


def test_listing_needs_no_torch():
    code = (
        "import sys; from analyzer import models; [models.describe(n) for n in models.names()]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_examples_run():
    """Those of the module, and of describe, names, published, build and was_trained."""
    found = doctest.testmod(models)
    assert found.attempted == 20
    assert found.failed == 0


@pytest.mark.parametrize("name", models.names())
def test_a_card_says_what_the_model_is(name):
    card = models.describe(name)
    with torch.device("meta"):
        model = models.build(name)
    config = model.config
    assert card.name == name
    if card.takes_tokens:
        assert (card.input_shape, card.num_classes) == ((config.context,), config.vocabulary)
    else:
        assert card.input_shape == (config.in_channels, config.image_size, config.image_size)
        assert card.num_classes == config.num_classes
    assert card.timesteps == getattr(model, "timesteps", 1)
    assert card.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", [n for n in models.names() if not models.describe(n).takes_tokens])
def test_overrides_reach_the_model(name):
    model = small(name, num_classes=7, in_channels=2)
    assert model(image_of(model, 2)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [(name, {}) for name in models.names()]
    + [("ge2mst-tiny", {"form": "training"})]
    + [(name, {"form": "spikes", "levels": 5}) for name in ("sdt-v3-5m", "sdt-v3-173m")],
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
    for pattern in filter(None, model.layouts):  # that of the input has no name
        assert any(fnmatchcase(path, pattern) for path in layers), pattern


def test_an_unknown_name_gets_the_closest_ones():
    with pytest.raises(AnalyzerError, match=r"^unknown model 'vit-tyni': did you mean 'vit-tiny'"):
        models.build("vit-tyni")
    with pytest.raises(AnalyzerError, match=r"^unknown model 'zzz': there are ge2mst-tiny, "):
        models.describe("zzz")


def test_what_is_only_a_row_is_told_apart_and_refused():
    """Each has a sentence of what is missing; figures, where there are any, have sources."""
    listed = {row.name: row for row in models.unbuilt()}
    assert not listed.keys() & set(models.names())
    assert len(listed) == len(models.unbuilt())
    for name, row in listed.items():
        assert row.source
        assert 30 < len(row.missing) < 160
        assert all(found.source for found in models.published(name))
        assert row.parameters_m is None or row.parameters_m > 1
    said = (
        r"^spiliformer-10-768 is only a row of published figures, not a network that can be built: "
        r"the layers of its two attentions .* none of the sources that were read\.$"
    )
    for use in (models.build, models.describe, analyzer.count):
        with pytest.raises(AnalyzerError, match=said):
            use("spiliformer-10-768")


def test_published_figures_are_of_names_that_are_known():
    known = {*models.names(), *(row.name for row in models.unbuilt())}
    published = Path(models.__file__).with_name("published.csv")
    assert {row["name"] for row in rows(published)} <= known


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
