"""Spikformer (Zhou et al., ICLR 2023): spiking self-attention on LIF neurons, trained by STBP.

The image is repeated T times before the first convolution; tensors run [T, B, ...] with time
outermost. Residuals are spike-element-wise: the stream between blocks holds growing integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from einops import rearrange, repeat
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF

__all__ = ["CONFIGS", "Spikformer", "SpikformerConfig", "build"]


@dataclass(frozen=True)
class SpikformerConfig:
    """One row of the architecture table.

    `pooling` says which of the four stem units end in a max-pool. The two published flavours
    differ: "imagenet" has 1×1 convolutions, q, k and v without bias, and Q·(Kᵀ·V); "cifar" has
    linear layers, all with bias, and (Q·Kᵀ)·V.
    """

    image_size: int
    in_channels: int
    num_classes: int
    embed_dim: int
    depth: int
    heads: int
    pooling: tuple[bool, bool, bool, bool]
    flavour: Literal["imagenet", "cifar"]
    timesteps: int = 4
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads or self.embed_dim % 8:
            raise AnalyzerError(
                f"Spikformer needs a width that {self.heads} heads and 8 divide, "
                f"got {self.embed_dim}."
            )
        if self.timesteps < 1:
            raise AnalyzerError(f"Spikformer needs at least 1 timestep, got {self.timesteps}.")


_CIFAR_POOLING = (False, False, True, True)

CONFIGS: Mapping[str, SpikformerConfig] = MappingProxyType(
    {
        "tiny": SpikformerConfig(32, 1, 10, 64, 2, 4, _CIFAR_POOLING, "cifar"),
        "8-512": SpikformerConfig(224, 3, 1000, 512, 8, 8, (True,) * 4, "imagenet"),
    }
)


class SpikingUnit(nn.Module):
    """A linear map over channels, batch norm shared by all timesteps, and LIF neurons.

    Convolutions take [T, B, C, *space] to spikes [T, B, C', *space']; a `Linear` takes tokens, so
    the axes after C are merged for it and laid out again afterwards.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Linear, v_threshold: float = 1.0) -> None:
        super().__init__()
        self.layer = layer
        channels = layer.weight.shape[0]
        self.norm = (
            nn.BatchNorm2d(channels) if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d(channels)
        )
        self.neuron = LIF(v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, *space] -> spikes [T, B, C', *space']."""
        T, B = x.shape[:2]
        if isinstance(self.layer, nn.Linear):
            tokens = self.layer(rearrange(x, "T B C ... -> T B (...) C"))
            y = rearrange(tokens, "T B N C -> (T B) C N")
        else:
            y = self.layer(x.flatten(0, 1))
        y = self.norm(y).unflatten(0, (T, B))
        if isinstance(self.layer, nn.Linear):
            y = y.unflatten(-1, x.shape[3:])
        spikes: Tensor = self.neuron(y)
        return spikes


class Stem(nn.Module):
    """Spiking patch splitting: four 3×3 units and a position unit added to their output."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        D = config.embed_dim
        widths = (config.in_channels, D // 8, D // 4, D // 2, D)
        self.units = nn.ModuleList(
            SpikingUnit(nn.Conv2d(before, after, 3, padding=1, bias=False))
            for before, after in pairwise(widths)
        )
        self.pooling = config.pooling
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.position = SpikingUnit(nn.Conv2d(D, D, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Images [T, B, C, H, W] -> integers [T, B, D, H', W'] in 0..2."""
        for unit, pooled in zip(self.units, self.pooling, strict=True):
            x = unit(x)
            if pooled:
                x = self.pool(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        positions: Tensor = self.position(x)
        return x + positions


class Attention(nn.Module):
    """Spiking self-attention: softmax-free products of binary q, k and v, scaled by 1/8."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        D = config.embed_dim
        self.heads = config.heads
        self.keys_first = config.flavour == "imagenet"
        # The constant of the published code at every width, not 1/√d.
        self.scale = 0.125
        self.q, self.k, self.v = (
            SpikingUnit(nn.Conv1d(D, D, 1, bias=False) if self.keys_first else nn.Linear(D, D))
            for _ in range(3)
        )
        self.neuron = LIF(v_threshold=0.5)
        self.projection = SpikingUnit(nn.Conv1d(D, D, 1) if self.keys_first else nn.Linear(D, D))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> spikes [T, B, D, H, W]."""
        tokens = x.flatten(3)
        q, k, v = (
            rearrange(unit(tokens), "T B (h d) N -> T B h N d", h=self.heads)
            for unit in (self.q, self.k, self.v)
        )
        # The two flavours differ in the order of the products and in where the scale goes.
        out = q @ (k.mT @ v) * self.scale if self.keys_first else q @ k.mT * self.scale @ v
        spikes = self.neuron(rearrange(out, "T B h N d -> T B (h d) N"))
        projected: Tensor = self.projection(spikes).unflatten(-1, x.shape[3:])
        return projected


class Block(nn.Module):
    """Attention and MLP, each ending in spikes that are added to the stream."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        D, hidden = config.embed_dim, config.mlp_ratio * config.embed_dim
        # The published models own these two and never use them; parameter counts include them.
        self.norm1 = nn.LayerNorm(D)
        self.norm2 = nn.LayerNorm(D)
        self.attention = Attention(config)
        self.mlp = nn.Sequential(
            *(
                SpikingUnit(
                    nn.Conv2d(before, after, 1)
                    if config.flavour == "imagenet"
                    else nn.Linear(before, after)
                )
                for before, after in ((D, hidden), (hidden, D))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Integers [T, B, D, H, W] -> integers [T, B, D, H, W]."""
        x = x + self.attention(x)
        out: Tensor = x + self.mlp(x)
        return out


class Spikformer(nn.Module):
    """The network: stem, blocks, mean over tokens and time, linear head.

    [B, C, H, W] -> logits [B, classes].
    """

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.config = config
        self.timesteps = config.timesteps
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    @property
    def layouts(self) -> dict[str, str]:
        """The layout of the input of every weight layer."""
        convolutional = self.config.flavour == "imagenet"
        return {
            "stem.*.layer": "(T B) C H W",
            "blocks.*.attention.*.layer": "(T B) D N" if convolutional else "T B N D",
            "blocks.*.mlp.*.layer": "(T B) D H W" if convolutional else "T B N D",
            "head": "B D",
        }

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.stem(repeat(image, "B C H W -> T B C H W", T=self.timesteps))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.flatten(3).mean(3).mean(0))
        return logits


def build(size: str, **overrides: Any) -> Spikformer:
    """A Spikformer of one size of `CONFIGS`, with fields of its config overridden."""
    return Spikformer(replace(CONFIGS[size], **overrides))
