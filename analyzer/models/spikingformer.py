"""Spikingformer (Zhou et al., arXiv:2304.11954): Spikformer with membrane shortcuts.

Every branch begins with neurons and ends with batch norm. So blocks add potentials, and each
weight layer but the first reads binary spikes.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    ConvNorm,
    MembraneUnit,
    Pool,
    SpikingSelfAttention,
    conv3,
    membrane_mlp,
)
from analyzer.models.spikformer import CONFIGS, POOLING, Spikformer, SpikformerConfig

__all__ = ["CONFIGS", "Spikingformer", "build"]


def _stem(config: SpikformerConfig) -> nn.Sequential:
    """Convolution and norm of the image, then four units; [T, B, C, H, W] -> [T, B, D, H', W']."""
    D = config.embed_dim
    widths = ((D // 8, D // 4), (D // 4, D // 2), (D // 2, D), (D, D))
    return nn.Sequential(
        ConvNorm(conv3(config.in_channels, D // 8)),
        *(
            MembraneUnit(conv3(*pair), Pool() if pooled else None)
            for pair, pooled in zip(widths, POOLING[config.flavour], strict=True)
        ),
    )


def _block(config: SpikformerConfig) -> Block:
    D = config.embed_dim
    attention = SpikingSelfAttention(
        D,
        config.heads,
        membrane=True,
        order="Q(KV)s" if config.flavour == "imagenet" else "(QK)Vs",
    )
    mlp = membrane_mlp(D, config.mlp_ratio * D)
    return Block(attention, mlp, unused_norms=D)


class Spikingformer(Spikformer):
    """The network: that of Spikformer with another stem and other blocks.

    Images [B, C, H, W] -> logits [B, classes].
    """

    official_name = staticmethod(official("spikingformer"))
    make_stem = staticmethod(_stem)
    make_block = staticmethod(_block)


def build(size: str, **overrides: Any) -> Spikingformer:
    """A Spikingformer of one size of `CONFIGS`, with fields of its config overridden."""
    return Spikingformer(replace(CONFIGS[size], **overrides))
