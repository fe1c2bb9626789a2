"""Registered models at sizes that keep every structure and run in a moment."""

import torch

from analyzer import models

STAGES = {"widths": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "image_size": 64}
HIERARCHY = {
    "timesteps": 5,
    "depths": (1, 1, 2),
    "image_size": 64,
    "heads": 2,
    "embed_dim": 64,
}
WINDOWS = {"image_size": 64, "embed_dim": 24, "depths": (2, 2, 1, 1)}
# By how a name begins; the first that fits.
SMALL = {
    "spikformer-8": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "spikformer-4": {"timesteps": 5, "depth": 2, "embed_dim": 96},
    "spikformer-tiny": {"timesteps": 5},
    "spikingformer-8": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "spikingformer-4": {"timesteps": 5, "depth": 2, "embed_dim": 96},
    "sdt-v3-173m": {"widths": (16, 32, 64), "depth": 2, "image_size": 64},
    "sdt-v3": STAGES,
    "sdt-tiny": {"timesteps": 5},
    "sdt": {"timesteps": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "statten-2": {"timesteps": 5, "chunk": 5, "embed_dim": 64},
    "statten": {"timesteps": 5, "chunk": 5, "depth": 2, "image_size": 64, "embed_dim": 64},
    "meta-spikeformer": {"timesteps": 5} | STAGES,
    "qkformer-tiny": {"timesteps": 5},
    "qkformer": HIERARCHY,
    "max-former": HIERARCHY,
    "msvit": HIERARCHY,
    "spikingresformer": {
        "timesteps": 5,
        "widths": (16, 32, 32),
        "heads": (1, 2, 4),
        "group_size": 16,
        "image_size": 64,
    },
    "spikegpt": {"embed_dim": 16, "depth": 2, "vocabulary": 50, "context": 5},
    "spikezip": {"depth": 2, "image_size": 32, "embed_dim": 48},
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
    """A batch that the model takes: images, or tokens for a language model."""
    config = model.config
    if hasattr(config, "vocabulary"):
        return torch.randint(config.vocabulary, (batch, config.context))
    return torch.rand(batch, config.in_channels, config.image_size, config.image_size)


ONE_OF_EACH = (
    "ge2mst-tiny", "ge2mst-tiny-ann", "ge2mst-tiny-converted", "ge2mst-tiny-stbp",
    "spikformer-8-384", "spikformer-tiny", "spikingformer-8-384", "spikingformer-4-384",
    "sdt-8-384", "sdt-tiny", "meta-spikeformer-15m", "sdt-v3-5m", "qkformer-10-384",
    "qkformer-tiny", "max-former-10-384", "msvit-10-384", "statten-8-768", "sdt-v3-173m",
    "spikingresformer-ti", "spikegpt-216m", "spikezip-tiny", "vit-tiny", "resnet-50", "swin-t",
)  # fmt: skip
"""One size of each network."""
