"""ResNet (He et al., CVPR 2016): the convolutional ANN that spiking networks are compared with.

As in torchvision, the strides of bottleneck blocks are on their 3×3 convolutions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from analyzer.models.official import official
from analyzer.models.parts import ImageConfig, layouts_of

__all__ = ["CONFIGS", "ResNet", "ResNetConfig", "build"]


@dataclass(frozen=True)
class ResNetConfig(ImageConfig):
    """The sizes of one network: blocks in each stage, their kind, and the first width."""

    depths: tuple[int, int, int, int]
    block: Literal["basic", "bottleneck"]
    width: int = 64


CONFIGS: Mapping[str, ResNetConfig] = MappingProxyType(
    {
        "18": ResNetConfig((2, 2, 2, 2), "basic"),
        "34": ResNetConfig((3, 4, 6, 3), "basic"),
        "50": ResNetConfig((3, 4, 6, 3), "bottleneck"),
    }
)


class ConvNormReLU(nn.Sequential):
    """Convolution and batch norm, with a ReLU unless the result is added to a shortcut first."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, *, relu: bool = True
    ) -> None:
        conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(after), *([nn.ReLU()] if relu else []))


class Residual(nn.Module):
    """A residual block: two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        self.branch = (
            nn.Sequential(
                ConvNormReLU(before, width, 1),
                ConvNormReLU(width, width, 3, stride),
                ConvNormReLU(width, after, 1, relu=False),
            )
            if bottleneck
            else nn.Sequential(
                ConvNormReLU(before, width, 3, stride),
                ConvNormReLU(width, after, 3, relu=False),
            )
        )
        changes = stride > 1 or before != after
        self.shortcut = (
            ConvNormReLU(before, after, 1, stride, relu=False) if changes else nn.Identity()
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """The network: images [B, C, H, W] -> logits [B, classes]."""

    official_name = staticmethod(official("resnet"))

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.width
        self.stem = nn.Sequential(
            ConvNormReLU(config.in_channels, channels, 7, 2),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages = []
        for stage, depth in enumerate(config.depths):
            blocks = []
            width = config.width * 2**stage
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Residual(channels, width, stride, config.block == "bottleneck"))
                channels = 4 * width if config.block == "bottleneck" else width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, config.num_classes)

    groups = MappingProxyType({"spatial": 2, "structural": 8})

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path or pattern."""
        return layouts_of(self, time=False) | {"head": "B D"}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        logits: Tensor = self.head(self.stages(self.stem(image)).mean((2, 3)))
        return logits


def build(size: str, **overrides: Any) -> ResNet:
    """A ResNet of one size of `CONFIGS`, with fields of its config overridden."""
    return ResNet(replace(CONFIGS[size], **overrides))
