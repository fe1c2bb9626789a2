"""Building blocks that the published spiking transformers share.

Units of a convolution, batch norm and LIF neurons in the two usual orders, spiking self-attention,
residual blocks, and a network of stem, blocks and linear head. Tensors are [T, B, C, *space],
where *space is H, W or the tokens N, and time is the first axis.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from einops import rearrange, repeat
from torch import Tensor, nn

from analyzer.models.neurons import LIF

__all__ = [
    "Block",
    "ConvNorm",
    "ImageConfig",
    "MembraneUnit",
    "Pool",
    "SpikingConfig",
    "SpikingSelfAttention",
    "SpikingTransformer",
    "SpikingUnit",
    "conv1",
    "conv3",
    "layouts_of",
    "membrane_mlp",
    "per_step",
    "spike_products",
    "spiking_mlp",
    "token_conv",
    "unbiased_token_conv",
]

Layer = Callable[[int, int], nn.Module]
"""A function that makes a layer, linear over channels, from the channels before and after it."""

Order = Literal["Q(KV)s", "(QKs)V", "(QK)Vs"]
"""The order of the two products of attention; s marks where the scale is applied."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The fields that the config of every published image network has."""

    image_size: int = 224
    in_channels: int = 3
    num_classes: int = 1000


@dataclass(frozen=True, kw_only=True)
class SpikingConfig(ImageConfig):
    """The fields that the config of every network over time has; `timesteps` is T."""

    timesteps: int = 4


def per_step(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a function of [B, ...] to every timestep of a tensor [T, B, ...]."""
    out: Tensor = function(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return out


conv1 = partial(nn.Conv2d, kernel_size=1)
"""A layer over the channels of maps."""

token_conv = partial(nn.Conv1d, kernel_size=1)
"""A layer over the channels of tokens [.., C, N]."""

unbiased_token_conv = partial(token_conv, bias=False)


def conv3(before: int, after: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A 3×3 convolution with padding 1."""
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=bias)


class Pool(nn.MaxPool2d):
    """Max-pooling of each timestep over 3×3 with stride 2, which halves H and W."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] -> [T, B, C, H/2, W/2]."""
        return per_step(super().forward, x)


class ConvNorm(nn.Module):
    """A layer, linear over channels, and batch norm over all timesteps together.

    [T, B, C, *space] -> [T, B, C', *space']. An `nn.Linear` reads channels last, so for it the
    axes after C are flattened to tokens, moved before C, and restored afterwards.

    Args:
        layer: A convolution or an `nn.Linear`, or several in an `nn.Sequential`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        flat = isinstance(layer, nn.Linear | nn.Conv1d)
        self.norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(_channels(layer))

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, *space] -> [T, B, C', *space']."""
        if not isinstance(self.layer, nn.Linear):
            return per_step(lambda images: self.norm(self.layer(images)), x)
        tokens = self.layer(rearrange(x, "T B C ... -> T B (...) C"))
        y = self.norm(rearrange(tokens, "T B N C -> (T B) C N"))
        out: Tensor = y.unflatten(0, x.shape[:2]).unflatten(-1, x.shape[3:])
        return out


class SpikingUnit(ConvNorm):
    """Layer, batch norm, optional pooling, then LIF neurons: the output is spikes.

    Args:
        layer: As for :class:`ConvNorm`.
        pool: Pooling before the neurons, None for no pooling.
    """

    def __init__(self, layer: nn.Module, pool: Pool | None = None) -> None:
        super().__init__(layer)
        self.pool = pool
        self.neuron = LIF()

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, C, *space] -> spikes [T, B, C', *space']."""
        y = super().forward(x)
        spikes: Tensor = self.neuron(y if self.pool is None else self.pool(y))
        return spikes


class MembraneUnit(ConvNorm):
    """LIF neurons, optional pooling, then layer and batch norm: potentials to potentials.

    Args:
        layer: As for :class:`ConvNorm`; it reads spikes.
        pool: Pooling of the spikes, None for no pooling.
        neuron: The neurons, by default LIF with its default constants.
    """

    def __init__(
        self, layer: nn.Module, pool: Pool | None = None, neuron: nn.Module | None = None
    ) -> None:
        super().__init__(layer)
        self.neuron = LIF() if neuron is None else neuron
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Potentials [T, B, C, *space] -> potentials [T, B, C', *space']."""
        spikes = self.neuron(x)
        return super().forward(spikes if self.pool is None else self.pool(spikes))


def spiking_mlp(dim: int, hidden: int, layer: Layer = conv1) -> nn.Sequential:
    """The MLP of blocks that add spikes to their input: two units whose output is spikes."""
    return nn.Sequential(SpikingUnit(layer(dim, hidden)), SpikingUnit(layer(hidden, dim)))


def membrane_mlp(dim: int, hidden: int, layer: Layer = conv1) -> nn.Sequential:
    """The MLP of blocks that add potentials to their input: two units that begin with neurons."""
    return nn.Sequential(MembraneUnit(layer(dim, hidden)), MembraneUnit(layer(hidden, dim)))


def spike_products(
    q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, order: Order
) -> Tensor:
    """Attention without softmax: the product of queries, keys and values, scaled.

    Args:
        q: Queries [T, B, D, N], spikes.
        k: Keys of the same shape.
        v: Values of the same shape.
        heads: Number of heads that D is split into.
        scale: Factor.
        order: Which product comes first, and where the factor is applied.

    Returns:
        A tensor [T, B, D, N].
    """
    q, k, v = (rearrange(x, "T B (h d) N -> T B h N d", h=heads) for x in (q, k, v))
    if order == "Q(KV)s":
        out = q @ (k.mT @ v) * scale
    else:
        out = q @ k.mT * scale @ v if order == "(QKs)V" else q @ k.mT @ v * scale
    return rearrange(out, "T B h N d -> T B (h d) N")


class SpikingSelfAttention(nn.Module):
    """Spiking self-attention: products of binary q, k and v, neurons, then a projection.

    Introduced by Spikformer (Zhou et al., ICLR 2023).

    Args:
        dim: Width D.
        heads: Number of heads.
        qkv: Makes the layers that compute q, k and v.
        projection: Makes the last layer.
        membrane: Whether the residual stream holds potentials, so that the module begins with
            neurons and ends without, instead of summed spikes.
        order: Order of the products, and where they are scaled.
        tokens: Whether the layers read [T, B, D, N] instead of [T, B, D, H, W].
        v_threshold: Threshold of the neurons behind the products.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        qkv: Layer = unbiased_token_conv,
        projection: Layer = token_conv,
        *,
        membrane: bool,
        order: Order = "Q(KV)s",
        tokens: bool = True,
        v_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.order = order
        self.tokens = tokens
        # The published code has this constant at every width, not 1/√d.
        self.scale = 0.125
        self.entry = LIF() if membrane else nn.Identity()
        self.q, self.k, self.v = (SpikingUnit(qkv(dim, dim)) for _ in range(3))
        self.neuron = LIF(v_threshold)
        last = projection(dim, dim)
        self.projection = ConvNorm(last) if membrane else SpikingUnit(last)

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        space = x.shape[3:]
        x = self.entry(x.flatten(3) if self.tokens else x)
        q, k, v = (unit(x).flatten(3) for unit in (self.q, self.k, self.v))
        out = spike_products(q, k, v, self.heads, self.scale, self.order)
        spikes = self.neuron(out)
        projected: Tensor = self.projection(spikes if self.tokens else spikes.unflatten(-1, space))
        return projected.unflatten(-1, space) if self.tokens else projected


class Block(nn.Module):
    """A residual block of attention and MLP: [T, B, D, H, W] -> [T, B, D, H, W].

    Args:
        attention: The first branch.
        mlp: The second branch.
        unused_norms: Width of two layer norms that the published block owns and never calls; 0
            for none.
    """

    def __init__(self, attention: nn.Module, mlp: nn.Module, *, unused_norms: int = 0) -> None:
        super().__init__()
        if unused_norms:
            # They are in the published state dicts, so that their parameters count.
            self.norm1, self.norm2 = (nn.LayerNorm(unused_norms) for _ in range(2))
        self.attention = attention
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        """[T, B, D, H, W] -> [T, B, D, H, W]."""
        x = x + self.attention(x)
        out: Tensor = x + self.mlp(x)
        return out


class SpikingTransformer(nn.Module):
    """Base class of the networks: the image is repeated T times and goes through stem and blocks.

    Images [B, C, H, W] -> logits [B, classes].

    Args:
        stem: Maps [T, B, C, H, W] to [T, B, D, H', W'].
        blocks: Modules that map [T, B, D, H, W] to the same shape, or to the next stage.
        head: Maps [..., D] to [..., classes].
        config: The config, which has T.
        groups: Number of channel groups that sparsity is reported for.
        readout: What the head reads: "mean", the mean over tokens and time; "steps", the mean
            over tokens at each timestep; "spikes", the spikes that neurons fire from that mean. In
            the last two cases the logits are averaged over time.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Iterable[nn.Module],
        head: nn.Module,
        *,
        config: SpikingConfig,
        groups: int,
        readout: Literal["mean", "steps", "spikes"],
    ) -> None:
        super().__init__()
        self.config = config
        self.timesteps = config.timesteps
        self.groups = {"temporal": self.timesteps, "spatial": 2, "structural": groups}
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        self.neuron = LIF() if readout == "spikes" else nn.Identity()
        self.head = head

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every weight layer, by module path."""
        head = {"head*": "B D" if self.readout == "mean" else "T B D"}
        return head | {k: v for k, v in layouts_of(self).items() if not k.startswith("head")}

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes]."""
        x = self.stem(repeat(image, "B C H W -> T B C H W", T=self.timesteps))
        for block in self.blocks:
            x = block(x)
        x = self.neuron(x.flatten(3).mean(3))
        logits: Tensor = self.head(x.mean(0)) if self.readout == "mean" else self.head(x).mean(0)
        return logits


def layouts_of(model: nn.Module, time: bool = True) -> dict[str, str]:
    """The axes of the input of every weight layer, by module path, as these parts call them.

    Args:
        model: The network.
        time: Whether its tensors have a time axis, which is flattened with the batch axis for
            convolutions.
    """
    axes = ("(T B) C H W", "(T B) C N", "T B N D") if time else ("B C H W", "B C N", "B N D")
    kinds = zip((nn.Conv2d, nn.Conv1d, nn.Linear), axes, strict=True)
    return {
        name: layout
        for kind, layout in kinds
        for name, module in model.named_modules()
        if isinstance(module, kind)
    }


def _channels(layer: nn.Module) -> int:
    """The number of output channels of a layer, read off its last weight."""
    weights = [p for name, p in layer.named_parameters() if name.endswith("weight")]
    return int(weights[-1].shape[0])
