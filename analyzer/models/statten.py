"""STAtten (Lee et al., CVPR 2025, arXiv:2409.19764): attention over blocks of space and time.

The network is the Spike-driven Transformer of :mod:`analyzer.models.sdt` with another attention.
The timesteps are split into chunks, and attention sees all tokens of all timesteps of a chunk at
once. The product of keys and values comes first, so that the work does not grow with the chunk.

The layers are those of the published code (github.com/Intelligent-Computing-Lab-Panda/STAtten),
read in three copies of it, and the sizes are those of its configuration files, 8-768 for ImageNet
and 2-512 for CIFAR-10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.parts import ConvNorm, SpikingUnit, conv1
from analyzer.models.sdt import SDT, SDTConfig

__all__ = ["CONFIGS", "BlockAttention", "STAtten", "STAttenConfig", "build"]


@dataclass(frozen=True)
class STAttenConfig(SDTConfig):
    """The sizes of one network; `chunk` is how many timesteps attention sees at once."""

    chunk: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk < 1 or self.timesteps % self.chunk:
            raise AnalyzerError(
                f"STAtten needs a chunk that divides its timesteps, got {self.chunk} and "
                f"{self.timesteps}."
            )


CONFIGS: Mapping[str, STAttenConfig] = MappingProxyType(
    {
        "8-768": STAttenConfig(768, 8),
        "2-512": STAttenConfig(512, 2, pooling="0011", image_size=32, num_classes=10),
    }
)


class BlockAttention(nn.Module):
    """Q·(Kᵀ·V) over the tokens of several timesteps: [T, B, D, H, W] -> the same shape.

    The products of a chunk are scaled by 1/H, the side of the map, before that with the queries.

    Args:
        dim: Width D.
        heads: Number of heads.
        chunk: How many timesteps attention sees at once; it divides T.
    """

    def __init__(self, dim: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads = heads
        self.chunk = chunk
        self.entry = LIF()
        self.q, self.k, self.v = (SpikingUnit(conv1(dim, dim, bias=False)) for _ in range(3))
        self.neuron = LIF(v_threshold=0.5)
        # The published state dict has these weights, which this attention never uses.
        self.head_mixing = nn.Conv1d(heads, heads, 1, bias=False)
        self.projection = ConvNorm(conv1(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        spikes = self.entry(x)
        H = x.shape[-2]
        q, k, v = (
            rearrange(
                unit(spikes), "(c t) B (h d) H W -> c B h (t H W) d", t=self.chunk, h=self.heads
            )
            for unit in (self.q, self.k, self.v)
        )
        out = q @ (k.mT @ v * (1 / H))
        back = rearrange(out, "c B h (t H W) d -> (c t) B (h d) H W", t=self.chunk, H=H)
        projected: Tensor = self.projection(self.neuron(back))
        return projected


class STAtten(SDT):
    """The network: a Spike-driven Transformer whose attention spans space and time.

    Images [B, C, H, W] -> logits [B, classes]. Its parameters have the names and shapes of those of
    a Spike-driven Transformer of the same size.

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> model = models.build("statten-2-512", embed_dim=64, depth=1, timesteps=2)
        >>> model(torch.zeros(3, 3, 32, 32)).shape
        torch.Size([3, 10])
    """

    def __init__(self, config: STAttenConfig) -> None:
        super().__init__(config, partial(BlockAttention, chunk=config.chunk))


def build(size: str, **overrides: Any) -> STAtten:
    """An STAtten of one size of `CONFIGS`, with fields of its config overridden."""
    return STAtten(replace(CONFIGS[size], **overrides))
