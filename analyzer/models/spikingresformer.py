"""SpikingResformer (Shi et al., CVPR 2024): three stages with dual spike self-attention.

A ResNet-like hierarchy in which each block has an attention that multiplies spikes by real values
from a convolution of spikes, so that no product has two real operands. Membrane shortcuts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.official import official
from analyzer.models.parts import (
    ConvNorm,
    MembraneUnit,
    Pool,
    SpikingConfig,
    SpikingTransformer,
    conv3,
)

__all__ = ["CONFIGS", "SpikingResformer", "SpikingResformerConfig", "build"]


@dataclass(frozen=True)
class SpikingResformerConfig(SpikingConfig):
    """The sizes of one network, by stage.

    `depths` is the number of pairs of attention and MLP, `patches` the side of the patches that
    attention reads, `group_size` the channels in a group of the grouped convolution.
    """

    widths: tuple[int, int, int]
    heads: tuple[int, int, int]
    depths: tuple[int, int, int] = (1, 2, 3)
    patches: tuple[int, int, int] = (4, 2, 1)
    mlp_ratio: int = 4
    group_size: int = 64

    def __post_init__(self) -> None:
        if any(w % h for w, h in zip(self.widths, self.heads, strict=True)) or self.timesteps < 1:
            raise AnalyzerError(
                f"SpikingResformer needs widths that its heads {self.heads} divide, and a "
                f"timestep, got {self.widths} and {self.timesteps}."
            )
        if any((self.mlp_ratio * w) % self.group_size for w in self.widths):
            raise AnalyzerError(
                f"SpikingResformer needs hidden widths that groups of {self.group_size} channels "
                f"divide, got {self.mlp_ratio} times {self.widths}."
            )


CONFIGS: Mapping[str, SpikingResformerConfig] = MappingProxyType(
    {
        "ti": SpikingResformerConfig((64, 192, 384), (1, 3, 6)),
        "s": SpikingResformerConfig((64, 256, 512), (1, 4, 8)),
        "m": SpikingResformerConfig((64, 384, 768), (1, 6, 12)),
        "l": SpikingResformerConfig((128, 512, 1024), (2, 8, 16)),
    }
)


def _neuron() -> LIF:
    return LIF(slope=2.0, surrogate="arctan")


def _unit(layer: nn.Module) -> MembraneUnit:
    return MembraneUnit(layer, neuron=_neuron())


class RateScale(nn.Module):
    """Scales products of spikes by 1/√(rate · size), with a running firing rate for each head.

    Rates are updated in training with momentum 0.999; the first batch sets them. Before that the
    scale is zero.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.rate: Tensor
        self.register_buffer("rate", torch.zeros(1, 1, heads, 1, 1))

    def forward(self, products: Tensor, spikes: Tensor, size: int) -> Tensor:
        """Scales products of spikes.

        Args:
            products: [T, B, h, ...].
            spikes: The spikes [T, B, h, d, N] whose firing rate counts.
            size: Number of terms that each product sums.
        """
        if self.training:
            with torch.no_grad():
                now = spikes.mean((0, 1, 3, 4), keepdim=True)
                old = torch.where(self.rate > 0, self.rate, now)
                self.rate.copy_(old * 0.999 + now * 0.001)
        known = torch.where(self.rate > 0, self.rate * size, torch.inf)
        return products * known.rsqrt()


class DualSpikeAttention(nn.Module):
    """Dual spike self-attention: [T, B, C, H, W] -> the same shape.

    X are the input spikes; a convolution over patches makes of them Y1 and Y2, both real-valued.
    Neurons turn Y1ᵀ·X into binary scores, and Y2·scores into the spikes that are projected.
    """

    def __init__(self, dim: int, heads: int, patch: int) -> None:
        super().__init__()
        self.heads = heads
        self.entry = _neuron()
        self.patches = ConvNorm(nn.Conv2d(dim, 2 * dim, patch, stride=patch, bias=False))
        self.input_scale = RateScale(heads)
        self.score_neuron = _neuron()
        self.score_scale = RateScale(heads)
        self.neuron = _neuron()
        self.projection = ConvNorm(nn.Conv2d(dim, dim, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H, W]."""
        spikes = self.entry(x)
        X = rearrange(spikes, "T B (h d) H W -> T B h d (H W)", h=self.heads)
        first, second = rearrange(
            self.patches(spikes), "T B (h s d) H W -> s T B h d (H W)", s=2, h=self.heads
        )
        d, L = first.shape[-2:]
        scores = self.score_neuron(self.input_scale(first.mT @ X, X, d))
        out = self.neuron(self.score_scale(second @ scores, scores, L))
        H = x.shape[-2]
        spikes = rearrange(out, "T B h d (H W) -> T B (h d) H W", H=H)
        projected: Tensor = self.projection(spikes)
        return projected


class GroupwiseMLP(nn.Module):
    """Pointwise, a grouped 3×3 with its own shortcut, pointwise: [T, B, C, H, W] -> the same."""

    def __init__(self, dim: int, ratio: int, group_size: int) -> None:
        super().__init__()
        hidden = ratio * dim
        groups = hidden // group_size
        self.expand = _unit(nn.Conv2d(dim, hidden, 1, bias=False))
        self.mix = _unit(nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups, bias=False))
        self.reduce = _unit(nn.Conv2d(hidden, dim, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H, W]."""
        u = self.expand(x)
        out: Tensor = self.reduce(u + self.mix(u))
        return out


class Shortcut(nn.Module):
    """Adds the output of a branch to its input."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H, W]."""
        out: Tensor = x + self.branch(x)
        return out


def _blocks(config: SpikingResformerConfig) -> list[nn.Module]:
    changes = [None, *(conv3(*pair, stride=2) for pair in pairwise(config.widths))]
    rows = zip(changes, config.widths, config.heads, config.patches, config.depths, strict=True)
    blocks: list[nn.Module] = []
    for change, dim, heads, patch, depth in rows:
        if change is not None:
            blocks.append(_unit(change))
        for _ in range(depth):
            blocks.append(Shortcut(DualSpikeAttention(dim, heads, patch)))
            blocks.append(Shortcut(GroupwiseMLP(dim, config.mlp_ratio, config.group_size)))
    return blocks


class SpikingResformer(SpikingTransformer):
    """The network: stem, three stages, mean over the map and time, linear head without bias.

    Images [B, C, H, W] -> logits [B, classes].
    """

    official_name = staticmethod(official("spikingresformer"))

    def __init__(self, config: SpikingResformerConfig) -> None:
        first = nn.Conv2d(config.in_channels, config.widths[0], 7, stride=2, padding=3, bias=False)
        super().__init__(
            nn.Sequential(ConvNorm(first), Pool()),
            _blocks(config),
            nn.Linear(config.widths[-1], config.num_classes, bias=False),
            config=config,
            groups=config.heads[0],
            readout="steps",
        )


def build(size: str, **overrides: Any) -> SpikingResformer:
    """A SpikingResformer of one size of `CONFIGS`, with fields of its config overridden."""
    return SpikingResformer(replace(CONFIGS[size], **overrides))
