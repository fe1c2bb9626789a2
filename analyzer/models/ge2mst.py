"""Ge²mS-T (Hao et al., arXiv:2604.08894): a spiking transformer with grouped timesteps and windows.

The paper names the parts; the architecture below is this package's reading of it. Residuals are
membrane shortcuts: blocks add potentials, so every weight layer but the first reads spikes.

The names ``ge2mst-*-ann``, ``-converted`` and ``-stbp`` are the same network with the neurons of
another paradigm, for comparisons in which only the neurons differ (see ``conversion``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.coding import Neuron, SpikeConv, per_image
from analyzer.models.conversion import Paradigm, neurons
from analyzer.models.expg_if import ExpGIF, Form, GroupedCoding, set_form
from analyzer.models.gw_ssa import GroupWiseAttention

__all__ = ["CONFIGS", "Ge2mST", "Ge2mSTConfig", "build"]


@dataclass(frozen=True)
class Ge2mSTConfig:
    """The sizes of one network.

    Tuples of four have an entry for each stage, those of three for each change of stage, and those
    of two for each of the two attention stages. `windows` are the sides of the attention windows
    in tokens (None: the whole map), `groups`, `steps` and `max_spikes` the coding of the neurons.
    """

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
    paradigm: Paradigm = "ge2mst"

    @property
    def coding(self) -> GroupedCoding:
        """The coding of every neuron; other paradigms use its number of timesteps."""
        return GroupedCoding(self.groups, self.steps, self.max_spikes)

    @property
    def neuron(self) -> Callable[[], Neuron]:
        """A function that makes a neuron of the paradigm."""
        return neurons(self.paradigm, self.coding)

    @property
    def timesteps(self) -> int:
        """T at inference; 1 for an ANN."""
        return 1 if self.paradigm == "ann" else self.coding.timesteps


_TINY = Ge2mSTConfig(
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
)
_S = Ge2mSTConfig(
    image_size=224,
    in_channels=3,
    num_classes=1000,
    stem_kernel=7,
    stem_stride=4,
    widths=(64, 128, 256, 448),
    depths=(2, 2, 9, 2),
    strides=(2, 2, 1),
    heads=(8, 8),
    windows=((7, 14), (7, 14)),
    mlp_ratio=4,
)
_SIZES: Mapping[str, Ge2mSTConfig] = MappingProxyType(
    {
        "tiny": _TINY,
        "s": _S,
        "b": replace(_S, widths=(64, 128, 320, 512), depths=(2, 2, 13, 3)),
        "l": replace(_S, widths=(96, 192, 448, 768), depths=(3, 3, 16, 4)),
    }
)

CONFIGS: Mapping[str, Ge2mSTConfig] = MappingProxyType(
    {
        name: config
        for size, base in _SIZES.items()
        for name, config in (
            (size, base),
            (f"{size}-ann", replace(base, paradigm="ann")),
            (f"{size}-converted", replace(base, paradigm="converted", groups=8, steps=1)),
            (f"{size}-stbp", replace(base, paradigm="stbp", groups=4, steps=1)),
        )
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
    """Depthwise-separable convolution with a membrane shortcut, [..., C, H, W] -> the same."""

    def __init__(self, channels: int, neuron: Callable[[], Neuron]) -> None:
        super().__init__()
        hidden = 2 * channels
        self.expand = SpikeConv(channels, hidden, 1, neuron)
        self.depthwise = SpikeConv(hidden, hidden, 3, neuron, groups=hidden)
        self.reduce = SpikeConv(hidden, channels, 1, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C, H, W]."""
        branch: Tensor = self.reduce(self.depthwise(self.expand(x)))
        return x + branch


class GroupedMLP(nn.Module):
    """The MLP: two 1×1 convolutions with channel groups, and a channel shuffle between them."""

    def __init__(
        self, channels: int, ratio: int, groups: int, neuron: Callable[[], Neuron]
    ) -> None:
        super().__init__()
        self.expand = SpikeConv(channels, ratio * channels, 1, neuron, groups=groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.reduce = SpikeConv(ratio * channels, channels, 1, neuron, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C, H, W]."""
        mixed: Tensor = self.reduce(per_image(self.shuffle, self.expand(x)))
        return mixed


class AttentionBlock(nn.Module):
    """Group-wise attention plus a depthwise convolution, then a grouped MLP; with shortcuts."""

    def __init__(
        self, channels: int, heads: int, windows: tuple[int | None, ...], config: Ge2mSTConfig
    ) -> None:
        super().__init__()
        neuron = config.neuron
        self.attention = GroupWiseAttention(channels, heads, windows, neuron)
        self.local = SpikeConv(channels, channels, 3, neuron, groups=channels)
        self.mlp = GroupedMLP(channels, config.mlp_ratio, config.mlp_groups, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] -> [..., C, H, W]."""
        x = x + self.attention(x) + self.local(x)
        out: Tensor = x + self.mlp(x)
        return out


class Head(nn.Module):
    """Classifier on spikes: a 1×1 convolution, averaged over space and, if there is one, time."""

    def __init__(self, channels: int, num_classes: int, neuron: Callable[[], Neuron]) -> None:
        super().__init__()
        self.neuron = neuron()
        self.conv = nn.Conv2d(channels, num_classes, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] -> logits [B, classes]."""
        potential = self.neuron.drive(self.conv, self.neuron(x))
        axes = (-2, -1) if potential.dim() == 4 else (0, -2, -1)
        return potential.mean(dim=axes) + self.bias


class Ge2mST(nn.Module):
    """The network: stem, two convolutional stages, two attention stages, head on spikes.

    Images [B, C, H, W] -> logits [B, classes]. The property `form` switches every ExpG-IF neuron
    between the training form (levels, no time axis) and the inference form (binary spikes over T
    steps); the neurons of other paradigms have one form.
    """

    def __init__(self, config: Ge2mSTConfig, form: Form = "inference") -> None:
        super().__init__()
        self.config = config
        self.timesteps = config.timesteps
        self.stem = Stem(
            config.in_channels, config.widths[0], config.stem_kernel, config.stem_stride
        )
        self.stages = nn.ModuleList(self._stage(index) for index in range(4))
        self.head = Head(config.widths[-1], config.num_classes, config.neuron)
        self.form = form

    def _stage(self, index: int) -> nn.Sequential:
        config, neuron = self.config, self.config.neuron
        channels = config.widths[index]
        stage = nn.Sequential()
        if index > 0:
            previous, stride = config.widths[index - 1], config.strides[index - 1]
            stage.append(SpikeConv(previous, channels, 3, neuron, stride=stride))
        for _ in range(config.depths[index]):
            if index < 2:
                stage.append(ConvBlock(channels, neuron))
            else:
                heads, windows = config.heads[index - 2], config.windows[index - 2]
                stage.append(AttentionBlock(channels, heads, windows, config))
        return stage

    @property
    def form(self) -> Form:
        """The form of every ExpG-IF neuron; "inference" if there are none."""
        return next((m.form for m in self.modules() if isinstance(m, ExpGIF)), "inference")

    @form.setter
    def form(self, form: Form) -> None:
        set_form(self, form)

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module pattern, in the present form."""
        driven = "(T B) C H W" if self.head.neuron.timed else "B C H W"
        return {"stem.conv": "B C H W", "stages.*.conv": driven, "head.conv": driven}

    @property
    def groups(self) -> dict[str, int]:
        """How many groups sparsity is reported for: of timesteps, windows a side, channels."""
        groups = {"spatial": 2, "structural": self.config.heads[0]}
        if self.head.neuron.timed:
            return {"temporal": self.config.coding.groups, **groups}
        return groups

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
    """Builds a network of one size of `CONFIGS`.

    Args:
        size: A key of `CONFIGS`.
        form: The form of its neurons.
        timesteps: T; sets the number of groups, T / K.
        overrides: Fields of `Ge2mSTConfig` that are to differ.

    Raises:
        AnalyzerError: If T is no multiple of K, or an ANN is given timesteps.
    """
    config = replace(CONFIGS[size], **overrides)
    coded = {"groups", "steps", "max_spikes"} & overrides.keys()
    if config.paradigm == "ann" and (coded or timesteps is not None):
        raise AnalyzerError(
            f"an ANN has no {', no '.join(sorted(coded) or ['timesteps'])}: leave them out."
        )
    if timesteps is not None:
        groups, rest = divmod(timesteps, config.steps)
        if rest or ("groups" in overrides and groups != config.groups):
            raise AnalyzerError(
                f"Ge²mS-T cannot have {timesteps} timesteps with {config.steps} steps a group"
                + (f" and {config.groups} groups." if "groups" in overrides else ".")
            )
        config = replace(config, groups=groups)
    return Ge2mST(config, form)
