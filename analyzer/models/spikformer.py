"""Spikformer (Zhou et al., ICLR 2023): the first transformer with spiking self-attention.

The image is repeated T times before the first convolution, and tensors are [T, B, ...]. Residuals
add spikes (spike-element-wise shortcuts), so that the blocks read integers that grow with depth.
The neurons are LIF, trained through time by surrogate gradients (STBP).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    Pool,
    SpikingConfig,
    SpikingSelfAttention,
    SpikingTransformer,
    SpikingUnit,
    conv3,
    spiking_mlp,
)

__all__ = ["CONFIGS", "POOLING", "Spikformer", "SpikformerConfig", "build"]

Flavour = Literal["imagenet", "cifar"]

POOLING: Mapping[Flavour, tuple[bool, bool, bool, bool]] = MappingProxyType(
    {"imagenet": (True, True, True, True), "cifar": (False, False, True, True)}
)
"""Which of the four units of the stem have pooling behind them, which halves the map."""


@dataclass(frozen=True)
class SpikformerConfig(SpikingConfig):
    """The sizes of one network.

    The code was published in two flavours. "imagenet" pools four times, has 1×1 convolutions
    (those of q, k and v without bias) and computes Q·(Kᵀ·V); "cifar" pools twice, has linear
    layers with bias and computes (Q·Kᵀ)·V.
    """

    embed_dim: int
    depth: int
    heads: int
    flavour: Flavour = "imagenet"
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads or self.embed_dim % 8:
            raise AnalyzerError(
                f"Spikformer needs a width that {self.heads} heads and 8 divide, "
                f"got {self.embed_dim}."
            )
        if self.timesteps < 1:
            raise AnalyzerError(f"Spikformer needs at least 1 timestep, got {self.timesteps}.")


CONFIGS: Mapping[str, SpikformerConfig] = MappingProxyType(
    {
        "8-384": SpikformerConfig(384, 8, 8),
        "8-512": SpikformerConfig(512, 8, 8),
        "8-768": SpikformerConfig(768, 8, 8),
        "4-384": SpikformerConfig(384, 4, 12, "cifar", image_size=32, num_classes=10),
        "tiny": SpikformerConfig(64, 2, 4, "cifar", image_size=32, in_channels=1, num_classes=10),
    }
)


class Stem(nn.Module):
    """Spiking patch splitting: four 3×3 units, and a residual unit that encodes the position."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        D = config.embed_dim
        widths = (config.in_channels, D // 8, D // 4, D // 2, D)
        self.units = nn.ModuleList(SpikingUnit(conv3(*pair)) for pair in pairwise(widths))
        self.pooling = POOLING[config.flavour]
        self.pool = Pool()
        self.position = SpikingUnit(conv3(D, D))

    def forward(self, x: Tensor) -> Tensor:
        """Images [T, B, C, H, W] -> integers [T, B, D, H', W'] in 0..2."""
        for unit, pooled in zip(self.units, self.pooling, strict=True):
            x = unit(x)
            if pooled:
                x = self.pool(x)
        positions: Tensor = self.position(x)
        return x + positions


def _block(config: SpikformerConfig) -> Block:
    D, heads, hidden = config.embed_dim, config.heads, config.mlp_ratio * config.embed_dim
    if config.flavour == "imagenet":
        attention = SpikingSelfAttention(D, heads, membrane=False)
        mlp = spiking_mlp(D, hidden)
    else:
        linear = nn.Linear
        attention = SpikingSelfAttention(D, heads, linear, linear, membrane=False, order="(QKs)V")
        mlp = spiking_mlp(D, hidden, linear)
    return Block(attention, mlp, unused_norms=D)


class Spikformer(SpikingTransformer):
    """The network: stem, blocks, mean over tokens and time, linear head.

    Images [B, C, H, W] -> logits [B, classes].
    """

    official_name = staticmethod(official("spikformer"))
    make_stem: Callable[[SpikformerConfig], nn.Module] = Stem
    make_block = staticmethod(_block)

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__(
            self.make_stem(config),
            (self.make_block(config) for _ in range(config.depth)),
            nn.Linear(config.embed_dim, config.num_classes),
            config=config,
            groups=config.heads,
            readout="mean",
        )


def build(size: str, **overrides: Any) -> Spikformer:
    """A Spikformer of one size of `CONFIGS`, with fields of its config overridden."""
    return Spikformer(replace(CONFIGS[size], **overrides))
