"""Spike-driven Transformer (Yao et al., NeurIPS 2023): attention without matrix products.

Keys and values are multiplied element by element and summed over tokens; neurons make of the sums
a binary mask over channels, which multiplies the queries. All residuals are membrane shortcuts:
blocks add potentials.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    ConvNorm,
    MembraneUnit,
    Pool,
    SpikingConfig,
    SpikingTransformer,
    SpikingUnit,
    conv1,
    conv3,
    membrane_mlp,
)

__all__ = ["CONFIGS", "SDT", "SDTConfig", "build"]


@dataclass(frozen=True)
class SDTConfig(SpikingConfig):
    """The sizes of one network; in `pooling`, a 1 pools behind that one of the four stem units."""

    embed_dim: int
    depth: int
    heads: int = 8
    pooling: str = "1111"
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads or self.embed_dim % 8 or self.timesteps < 1:
            raise AnalyzerError(
                f"A Spike-driven Transformer needs a width that {self.heads} heads and 8 divide, "
                f"and a timestep, got {self.embed_dim} and {self.timesteps}."
            )
        if len(self.pooling) != 4 or set(self.pooling) - {"0", "1"}:
            raise AnalyzerError(f"pooling must be four digits 0 or 1, got {self.pooling!r}.")


CONFIGS: Mapping[str, SDTConfig] = MappingProxyType(
    {
        "8-384": SDTConfig(384, 8),
        "8-512": SDTConfig(512, 8),
        "8-768": SDTConfig(768, 8),
        "6-512": SDTConfig(512, 6),
        "10-512": SDTConfig(512, 10),
        "2-512": SDTConfig(512, 2, pooling="0011", image_size=32, num_classes=10),
        "tiny": SDTConfig(64, 2, 4, pooling="0011", image_size=32, in_channels=1, num_classes=10),
    }
)


class Stem(nn.Module):
    """Four 3×3 convolutions with batch norm, and a residual unit that encodes the position."""

    def __init__(self, config: SDTConfig) -> None:
        super().__init__()
        D = config.embed_dim
        widths = (config.in_channels, D // 8, D // 4, D // 2)
        self.pooling = [digit == "1" for digit in config.pooling]
        self.units = nn.ModuleList(SpikingUnit(conv3(*pair)) for pair in pairwise(widths))
        self.last = ConvNorm(conv3(D // 2, D))
        self.pool = Pool()
        self.position = MembraneUnit(conv3(D, D))

    def forward(self, x: Tensor) -> Tensor:
        """Images [T, B, C, H, W] -> potentials [T, B, D, H', W']."""
        for unit, pooled in zip([*self.units, self.last], self.pooling, strict=True):
            x = unit(x)
            if pooled:
                x = self.pool(x)
        positions: Tensor = self.position(x)
        return x + positions


class MaskAttention(nn.Module):
    """Spike-driven self-attention by a mask over channels: [T, B, D, H, W] -> the same shape."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.entry = LIF()
        self.q, self.k, self.v = (SpikingUnit(conv1(dim, dim, bias=False)) for _ in range(3))
        self.neuron = LIF(v_threshold=0.5)
        # The published state dict has these weights, which its forward never uses.
        self.head_mixing = nn.Conv1d(heads, heads, 1, bias=False)
        self.projection = ConvNorm(conv1(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        spikes = self.entry(x)
        q, k, v = self.q(spikes), self.k(spikes), self.v(spikes)
        mask = self.neuron((k * v).sum((3, 4), keepdim=True))
        out: Tensor = self.projection(mask * q)
        return out


class SDT(SpikingTransformer):
    """The network: stem, blocks, mean over tokens, neurons, linear head, mean over time.

    Images [B, C, H, W] -> logits [B, classes].

    Args:
        config: The sizes.
        attention: Makes the attention of each block from the width and the number of heads.
    """

    official_name = staticmethod(official("sdt"))

    def __init__(
        self, config: SDTConfig, attention: Callable[[int, int], nn.Module] = MaskAttention
    ) -> None:
        D = config.embed_dim
        super().__init__(
            Stem(config),
            (
                Block(attention(D, config.heads), membrane_mlp(D, config.mlp_ratio * D))
                for _ in range(config.depth)
            ),
            nn.Linear(D, config.num_classes),
            config=config,
            groups=config.heads,
            readout="spikes",
        )


def build(size: str, **overrides: Any) -> SDT:
    """A Spike-driven Transformer of one size of `CONFIGS`, with fields of its config overridden."""
    return SDT(replace(CONFIGS[size], **overrides))
