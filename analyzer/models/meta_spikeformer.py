"""Meta-SpikeFormer, the Spike-driven Transformer V2 (Yao et al., ICLR 2024).

Two convolutional and two transformer stages with membrane shortcuts. Two kinds of layers of the
published network read real values instead of spikes: the pointwise convolution behind each
depthwise one, and those inside each `RepConv`, which is linear and could be folded into one 3×3
convolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.official import official
from analyzer.models.parts import (
    Block,
    ConvNorm,
    MembraneUnit,
    SpikingConfig,
    SpikingSelfAttention,
    SpikingTransformer,
    conv3,
    membrane_mlp,
    token_conv,
)

__all__ = ["CONFIGS", "MetaSpikeFormer", "MetaSpikeFormerConfig", "build"]


@dataclass(frozen=True)
class MetaSpikeFormerConfig(SpikingConfig):
    """The sizes of one network.

    `widths` are the channels of the four stages; the first stage begins with a block of half its
    width. `distilled` adds the second classifier of the published fine-tuning at T = 4, whose
    logits are averaged with those of the first.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int] = (1, 2, 6, 2)
    heads: int = 8
    timesteps: int = field(default=1, kw_only=True)
    distilled: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or any(w % self.heads or w % 2 for w in self.widths[2:]):
            raise AnalyzerError(
                f"Meta-SpikeFormer needs four widths, the last two divisible by {self.heads} heads "
                f"and 2, got {self.widths}."
            )
        if self.timesteps < 1:
            raise AnalyzerError(f"Meta-SpikeFormer needs a timestep, got {self.timesteps}.")


CONFIGS: Mapping[str, MetaSpikeFormerConfig] = MappingProxyType(
    {
        "15m": MetaSpikeFormerConfig((64, 128, 256, 360)),
        "31m": MetaSpikeFormerConfig((96, 192, 384, 480)),
        "55m": MetaSpikeFormerConfig((128, 256, 512, 640)),
    }
)


class SeparableConv(nn.Sequential):
    """A pointwise convolution to twice the width, then a depthwise 7×7 and a pointwise one back.

    Neurons come before the first and before the depthwise convolution.
    """

    def __init__(self, dim: int) -> None:
        wide = 2 * dim
        depthwise = nn.Conv2d(wide, wide, 7, padding=3, groups=wide, bias=False)
        super().__init__(
            MembraneUnit(nn.Conv2d(dim, wide, 1, bias=False)),
            MembraneUnit(nn.Sequential(depthwise, nn.Conv2d(wide, dim, 1, bias=False))),
        )


class ConvBlock(nn.Module):
    """A separable convolution, then two dense 3×3 ones, both with shortcuts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.separable = SeparableConv(dim)
        self.dense = membrane_mlp(dim, 4 * dim, conv3)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H, W]."""
        x = x + self.separable(x)
        out: Tensor = x + self.dense(x)
        return out


class BorderedNorm(nn.BatchNorm2d):
    """Batch norm, then a border of one pixel with the value that batch norm gives for zeros.

    [B, C, H, W] -> [B, C, H + 2, W + 2]. With this border, the convolutions of a `RepConv` can be
    folded into one 3×3 convolution with zero padding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H + 2, W + 2]."""
        y = super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        border = self.bias - self.running_mean * self.weight / (self.running_var + self.eps).sqrt()
        B, C, H, W = y.shape
        framed = border.detach().view(1, C, 1, 1).expand(B, C, H + 2, W + 2).clone()
        framed[:, :, 1:-1, 1:-1] = y
        return framed


class RepConv(nn.Sequential):
    """Pointwise, bordered norm, depthwise 3×3, pointwise, norm: [B, C, H, W] -> [B, C', H, W]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, before, 1, bias=False),
            BorderedNorm(before),
            nn.Conv2d(before, before, 3, groups=before, bias=False),
            nn.Conv2d(before, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )


def _transformer(dim: int, heads: int) -> Block:
    attention = SpikingSelfAttention(dim, heads, RepConv, RepConv, membrane=True, tokens=False)
    return Block(attention, TokenMLP(dim))


class TokenMLP(nn.Module):
    """The MLP, which reads the map as a sequence of tokens: [T, B, C, H, W] -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.units = membrane_mlp(dim, 4 * dim, token_conv)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H, W]."""
        out: Tensor = self.units(x.flatten(3)).unflatten(-1, x.shape[3:])
        return out


def _down(before: int, after: int, stride: int = 2) -> MembraneUnit:
    return MembraneUnit(conv3(before, after, stride=stride, bias=True))


class TwoHeads(nn.Linear):
    """The mean of a classifier and a second one for distillation: [..., D] -> [..., classes]."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.teacher = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., classes]."""
        out: Tensor = (super().forward(x) + self.teacher(x)) / 2
        return out


class MetaSpikeFormer(SpikingTransformer):
    """The network: four stages, mean over tokens, neurons, linear head, mean over time.

    Images [B, C, H, W] -> logits [B, classes].
    """

    official_name = staticmethod(official("meta_spikeformer"))

    def __init__(self, config: MetaSpikeFormerConfig) -> None:
        c1, c2, c3, c4 = config.widths
        d1, d2, d3, d4 = config.depths
        c0 = c1 // 2
        super().__init__(
            ConvNorm(nn.Conv2d(config.in_channels, c0, 7, stride=2, padding=3)),
            [
                ConvBlock(c0),
                _down(c0, c1),
                *(ConvBlock(c1) for _ in range(d1)),
                _down(c1, c2),
                *(ConvBlock(c2) for _ in range(d2)),
                _down(c2, c3),
                *(_transformer(c3, config.heads) for _ in range(d3)),
                _down(c3, c4, stride=1),
                *(_transformer(c4, config.heads) for _ in range(d4)),
            ],
            TwoHeads(c4, config.num_classes)
            if config.distilled
            else nn.Linear(c4, config.num_classes),
            config=config,
            groups=config.heads,
            readout="spikes",
        )


def build(size: str, **overrides: Any) -> MetaSpikeFormer:
    """A Meta-SpikeFormer of one size of `CONFIGS`, with fields of its config overridden."""
    return MetaSpikeFormer(replace(CONFIGS[size], **overrides))
