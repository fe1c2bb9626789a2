"""MSViT (Hua et al., IJCAI 2025, arXiv:2505.14719): QKFormer with attention on two scales.

Three stages as in :mod:`analyzer.models.qkformer`, of widths D/2, D/2 and D. In the first two, the
mask over tokens is fired by the sum of two queries: one of a token alone, one of the token and its
two neighbours in the sequence. The third stage has spiking self-attention. Blocks add spikes to
their input, so that layers behind these additions read integers.

The layers are those of the published code (github.com/Nanhu-AI-Lab/MSViT, the model for ImageNet).
It gives all neurons the threshold 1, those behind attention, too. Its parameters are the published
17.69 M and 69.80 M in two sizes; in 10-512 they are 31.23 M, where its authors list 30.23 M.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF
from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    SpikingConfig,
    SpikingSelfAttention,
    SpikingTransformer,
    SpikingUnit,
    spiking_mlp,
    token_conv,
    unbiased_token_conv,
)
from analyzer.models.qkformer import PatchStage

__all__ = ["CONFIGS", "MSViT", "MSViTConfig", "TokenScaleAttention", "build"]


@dataclass(frozen=True)
class MSViTConfig(SpikingConfig):
    """The sizes of one network; the three stages have the widths D/2, D/2 and D = `embed_dim`."""

    embed_dim: int
    heads: int
    depths: tuple[int, int, int] = (1, 2, 7)
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % (2 * self.heads) or self.embed_dim % 4 or self.timesteps < 1:
            raise AnalyzerError(
                f"MSViT needs a width that 2 times {self.heads} heads and 4 divide, and a "
                f"timestep, got {self.embed_dim} and {self.timesteps}."
            )


CONFIGS: Mapping[str, MSViTConfig] = MappingProxyType(
    {
        "10-384": MSViTConfig(384, 6),
        "10-512": MSViTConfig(512, 8),
        "10-768": MSViTConfig(768, 12),
    }
)


class TokenScaleAttention(nn.Module):
    """Token attention on two scales: integers [T, B, D, H, W] -> spikes of the same shape.

    The queries of a token, and those that a convolution over three tokens makes, are summed over
    the channels of a head; neurons make of both sums together a binary mask over tokens, which
    multiplies the keys.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = (SpikingUnit(unbiased_token_conv(dim, dim)) for _ in range(2))
        self.neighbours = SpikingUnit(nn.Conv1d(dim, dim, 3, padding=1, bias=False))
        self.neuron = LIF()
        self.projection = SpikingUnit(token_conv(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Integers [T, B, D, H, W] -> spikes [T, B, D, H, W]."""
        tokens = x.flatten(3)
        q, k, wide = (
            unit(tokens).unflatten(2, (self.heads, -1))
            for unit in (self.q, self.k, self.neighbours)
        )
        mask = self.neuron(q.sum(3, keepdim=True) + wide.sum(3, keepdim=True))
        out: Tensor = self.projection((mask * k).flatten(2, 3)).unflatten(-1, x.shape[3:])
        return out


def _blocks(config: MSViTConfig) -> list[nn.Module]:
    """All modules behind the first patch stage, in order."""
    D, heads = config.embed_dim, config.heads

    def block(attention: nn.Module, dim: int) -> Block:
        return Block(attention, spiking_mlp(dim, config.mlp_ratio * dim))

    def early() -> Block:
        return block(TokenScaleAttention(D // 2, heads), D // 2)

    def late() -> Block:
        attention = SpikingSelfAttention(D, heads, membrane=False, v_threshold=1.0)
        return block(attention, D)

    one, two, three = config.depths
    return [
        *(early() for _ in range(one)),
        PatchStage(D // 2, D // 2, "imagenet"),
        *(early() for _ in range(two)),
        PatchStage(D // 2, D, "imagenet"),
        *(late() for _ in range(three)),
    ]


class MSViT(SpikingTransformer):
    """The network: three stages, mean over tokens and time, linear head.

    Images [B, C, H, W] -> logits [B, classes]. In the published code the state of one neuron in
    each block of the last stage passes from image to image of a batch; here images are independent.

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> small = {"embed_dim": 64, "heads": 2, "depths": (1, 1, 1), "timesteps": 2}
        >>> model = models.build("msvit-10-384", image_size=64, num_classes=7, **small)
        >>> model(torch.zeros(3, 3, 64, 64)).shape
        torch.Size([3, 7])
    """

    official_name = staticmethod(official("msvit"))

    def __init__(self, config: MSViTConfig) -> None:
        D = config.embed_dim
        super().__init__(
            PatchStage(D // 4, D // 2, "imagenet", config.in_channels),
            _blocks(config),
            nn.Linear(D, config.num_classes),
            config=config,
            groups=config.heads,
            readout="mean",
        )


def build(size: str, **overrides: Any) -> MSViT:
    """An MSViT of one size of `CONFIGS`, with fields of its config overridden."""
    return MSViT(replace(CONFIGS[size], **overrides))
