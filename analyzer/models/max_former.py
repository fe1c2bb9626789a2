"""Max-Former (Fang et al., NeurIPS 2025, arXiv:2505.18608): a spiking transformer in three stages.

Its authors find that spiking neurons suppress high frequencies. To bring them back, the first two
stages mix tokens by a depthwise convolution instead of attention, and the map is halved between
stages by max-pooling behind the batch norm. The third stage has spiking self-attention. All
residuals are membrane shortcuts: blocks add potentials.

The layers are those of the code that its authors published (github.com/bic-L/MaxFormer); the
parameters of all three sizes are those of the paper's table 3.
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
    ConvNorm,
    MembraneUnit,
    Pool,
    SpikingConfig,
    SpikingSelfAttention,
    SpikingTransformer,
    conv3,
    membrane_mlp,
)

__all__ = ["CONFIGS", "MaxFormer", "MaxFormerConfig", "build"]


@dataclass(frozen=True)
class MaxFormerConfig(SpikingConfig):
    """The sizes of one network; the three stages have the widths D/4, D/2 and D = `embed_dim`.

    `kernels` are the sides of the depthwise convolutions of the first two stages.
    """

    embed_dim: int
    heads: int
    depths: tuple[int, int, int] = (1, 2, 7)
    kernels: tuple[int, int] = (7, 5)
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.embed_dim % self.heads or self.embed_dim % 8 or self.timesteps < 1:
            raise AnalyzerError(
                f"Max-Former needs a width that {self.heads} heads and 8 divide, and a timestep, "
                f"got {self.embed_dim} and {self.timesteps}."
            )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise AnalyzerError(f"Max-Former needs kernels of odd sides, got {self.kernels}.")


CONFIGS: Mapping[str, MaxFormerConfig] = MappingProxyType(
    {
        "10-384": MaxFormerConfig(384, 6),
        "10-512": MaxFormerConfig(512, 8),
        "10-768": MaxFormerConfig(768, 12),
    }
)


class PatchStage(nn.Module):
    """Halves the map: two 3×3 convolutions and a pointwise shortcut, both of the same spikes.

    Potentials [T, B, C, H, W] -> potentials [T, B, D, H/2, W/2].

    Args:
        before: C.
        after: D.
        pooled: Whether max-pooling behind the first convolution and behind the shortcut halves
            the map, as between the stages; otherwise these two have stride 2, as in the stem.
    """

    def __init__(self, before: int, after: int, *, pooled: bool) -> None:
        super().__init__()
        stride = 1 if pooled else 2
        self.neuron = LIF()
        self.first = ConvNorm(conv3(before, after, stride=stride))
        self.pool = Pool() if pooled else nn.Identity()
        self.second = MembraneUnit(conv3(after, after))
        self.shortcut = ConvNorm(nn.Conv2d(before, after, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Potentials [T, B, C, H, W] -> potentials [T, B, D, H/2, W/2]."""
        spikes = self.neuron(x)
        main: Tensor = self.second(self.pool(self.first(spikes)))
        shortcut: Tensor = self.pool(self.shortcut(spikes))
        return main + shortcut


def _stem(config: MaxFormerConfig) -> nn.Sequential:
    """Images [T, B, C, H, W] -> potentials [T, B, D/4, H/4, W/4], by two strides of 2."""
    D = config.embed_dim
    return nn.Sequential(
        ConvNorm(conv3(config.in_channels, D // 8, stride=2)),
        PatchStage(D // 8, D // 4, pooled=False),
    )


def _mixer(dim: int, kernel: int) -> MembraneUnit:
    """Neurons, a depthwise convolution and batch norm: [T, B, D, H, W] -> the same shape."""
    return MembraneUnit(nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim))


def _blocks(config: MaxFormerConfig) -> list[nn.Module]:
    """All modules behind the stem, in order."""
    D = config.embed_dim

    def block(dim: int, mixer: nn.Module) -> Block:
        return Block(mixer, membrane_mlp(dim, config.mlp_ratio * dim))

    def attention() -> SpikingSelfAttention:
        return SpikingSelfAttention(D, config.heads, membrane=True)

    one, two, three = config.depths
    early, later = config.kernels
    return [
        *(block(D // 4, _mixer(D // 4, early)) for _ in range(one)),
        PatchStage(D // 4, D // 2, pooled=True),
        *(block(D // 2, _mixer(D // 2, later)) for _ in range(two)),
        PatchStage(D // 2, D, pooled=True),
        *(block(D, attention()) for _ in range(three)),
    ]


class MaxFormer(SpikingTransformer):
    """The network: three stages, mean over tokens, neurons, linear head, mean over time.

    Images [B, C, H, W] -> logits [B, classes].

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> small = {"embed_dim": 64, "heads": 2, "depths": (1, 1, 1), "timesteps": 2}
        >>> model = models.build("max-former-10-384", image_size=64, num_classes=7, **small)
        >>> model(torch.zeros(3, 3, 64, 64)).shape
        torch.Size([3, 7])
    """

    official_name = staticmethod(official("max_former"))

    def __init__(self, config: MaxFormerConfig) -> None:
        super().__init__(
            _stem(config),
            _blocks(config),
            nn.Linear(config.embed_dim, config.num_classes),
            config=config,
            groups=config.heads,
            readout="spikes",
        )


def build(size: str, **overrides: Any) -> MaxFormer:
    """A Max-Former of one size of `CONFIGS`, with fields of its config overridden."""
    return MaxFormer(replace(CONFIGS[size], **overrides))
