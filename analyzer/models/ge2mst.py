"""Ge²mS-T: a spiking transformer grouped over time, space and network structure.

Hao et al. (arXiv:2604.08894) name the parts; the topology below is this package's reading of them.
Residuals are membrane shortcuts: blocks add potentials, so every weight layer but the stem
receives spikes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.expg_if import ExpGIF, Form, GroupedCoding, SpikeConv, set_form
from analyzer.models.gw_ssa import GroupWiseAttention

__all__ = ["CONFIGS", "Ge2mST", "Ge2mSTConfig", "build"]


@dataclass(frozen=True)
class Ge2mSTConfig:
    """One row of the architecture table; tuples hold one entry a stage, or an attention stage."""

    image_size: int
    in_channels: int
    num_classes: int
    stem_kernel: int
    stem_stride: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    strides: tuple[int, int, int]
    heads: tuple[int, int]
    windows: tuple[tuple[int | None, ...], tuple[int | None, ...]]
    mlp_ratio: int = 2
    mlp_groups: int = 2
    groups: int = 2
    steps: int = 2
    max_spikes: int | None = None

    @property
    def coding(self) -> GroupedCoding:
        """The coding of every neuron."""
        return GroupedCoding(self.groups, self.steps, self.max_spikes)


CONFIGS: Mapping[str, Ge2mSTConfig] = MappingProxyType(
    {
        "tiny": Ge2mSTConfig(
            image_size=32,
            in_channels=1,
            num_classes=10,
            stem_kernel=3,
            stem_stride=2,
            widths=(24, 48, 64, 80),
            depths=(1, 1, 2, 1),
            strides=(2, 1, 2),
            heads=(4, 4),
            windows=((4, 8), (2, 4)),
        ),
    }
)


class Stem(nn.Module):
    """Convolution and batch norm on the real-valued image, computed once for all timesteps."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> potentials [B, C', H/stride, W/stride]."""
        potential: Tensor = self.norm(self.conv(image))
        return potential


class ConvBlock(nn.Module):
    """Depthwise-separable convolution with a membrane shortcut, [B, C, H, W] -> the same."""

    def __init__(self, channels: int, coding: GroupedCoding) -> None:
        super().__init__()
        hidden = 2 * channels
        self.expand = SpikeConv(channels, hidden, 1, coding)
        self.depthwise = SpikeConv(hidden, hidden, 3, coding, groups=hidden)
        self.reduce = SpikeConv(hidden, channels, 1, coding)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        branch: Tensor = self.reduce(self.depthwise(self.expand(x)))
        return x + branch


class GroupedMLP(nn.Module):
    """Two 1×1 convolutions with channel groups and a channel shuffle between them."""

    def __init__(self, channels: int, ratio: int, groups: int, coding: GroupedCoding) -> None:
        super().__init__()
        self.expand = SpikeConv(channels, ratio * channels, 1, coding, groups=groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.reduce = SpikeConv(ratio * channels, channels, 1, coding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        mixed: Tensor = self.reduce(self.shuffle(self.expand(x)))
        return mixed


class AttentionBlock(nn.Module):
    """GW-SSA beside a depthwise convolution, then a grouped MLP; both with membrane shortcuts."""

    def __init__(
        self, channels: int, heads: int, windows: tuple[int | None, ...], config: Ge2mSTConfig
    ) -> None:
        super().__init__()
        self.attention = GroupWiseAttention(channels, heads, windows, config.coding)
        self.local = SpikeConv(channels, channels, 3, config.coding, groups=channels)
        self.mlp = GroupedMLP(channels, config.mlp_ratio, config.mlp_groups, config.coding)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = x + self.attention(x) + self.local(x)
        out: Tensor = x + self.mlp(x)
        return out


class Head(nn.Module):
    """Classifier on spikes: a 1×1 convolution, whose potentials are averaged over space."""

    def __init__(self, channels: int, num_classes: int, coding: GroupedCoding) -> None:
        super().__init__()
        self.neuron = ExpGIF(coding)
        self.conv = nn.Conv2d(channels, num_classes, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        potential = self.neuron.drive(self.conv, self.neuron(x))
        return potential.mean(dim=(-2, -1)) + self.bias


class Ge2mST(nn.Module):
    """The network: stem, two convolutional stages, two GW-SSA stages, head on spikes.

    [B, C, H, W] -> logits [B, classes]. `form` switches every neuron between the training form
    (levels, no time axis) and the inference form (binary spikes over T steps).
    """

    def __init__(self, config: Ge2mSTConfig, form: Form = "inference") -> None:
        super().__init__()
        self.config = config
        self.timesteps = config.coding.timesteps
        self.stem = Stem(
            config.in_channels, config.widths[0], config.stem_kernel, config.stem_stride
        )
        self.stages = nn.ModuleList(self._stage(index) for index in range(4))
        self.head = Head(config.widths[-1], config.num_classes, config.coding)
        self.form = form

    def _stage(self, index: int) -> nn.Sequential:
        config, coding = self.config, self.config.coding
        channels = config.widths[index]
        stage = nn.Sequential()
        if index > 0:
            previous, stride = config.widths[index - 1], config.strides[index - 1]
            stage.append(SpikeConv(previous, channels, 3, coding, stride=stride))
        for _ in range(config.depths[index]):
            if index < 2:
                stage.append(ConvBlock(channels, coding))
            else:
                heads, windows = config.heads[index - 2], config.windows[index - 2]
                stage.append(AttentionBlock(channels, heads, windows, config))
        return stage

    @property
    def form(self) -> Form:
        """The form of every neuron, "training" or "inference"."""
        return self._form

    @form.setter
    def form(self, form: Form) -> None:
        set_form(self, form)
        self._form: Form = form

    @property
    def layouts(self) -> dict[str, str]:
        """The layout of the input of every weight layer, in the present form."""
        driven = "(T B) C H W" if self.form == "inference" else "B C H W"
        return {"stem.conv": "B C H W", "stages.*.conv": driven, "head.conv": driven}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x)
        return logits


def build(
    size: str, *, form: Form = "inference", timesteps: int | None = None, **overrides: Any
) -> Ge2mST:
    """A Ge²mS-T of one size of `CONFIGS`, with fields of its `Ge2mSTConfig` overridden.

    `timesteps` sets the number of groups, T / K.
    """
    config = replace(CONFIGS[size], **overrides)
    if timesteps is not None:
        groups, rest = divmod(timesteps, config.steps)
        if rest or ("groups" in overrides and groups != config.groups):
            raise AnalyzerError(
                f"Ge²mS-T cannot have {timesteps} timesteps with {config.steps} steps a group"
                + (f" and {config.groups} groups." if "groups" in overrides else ".")
            )
        config = replace(config, groups=groups)
    return Ge2mST(config, form)
