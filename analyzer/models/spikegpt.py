"""SpikeGPT (Zhu et al., TMLR 2024, arXiv:2302.13939): a language model of RWKV blocks with spikes.

A block has two branches, time mixing and channel mixing, and neurons behind each: their spikes are
added to the residual stream. Time is the sequence: a neuron integrates over the tokens. The
embedding of a token is cut to zeros and ones. Layer norm stands in front of each branch, so that
all linear layers read real values, none of them spikes.

The layers are those of the published code (github.com/ridgerchu/SpikeGPT, ``src/model.py``). The
size 216m has the 18 layers, the width 768 and the 50,277 tokens with which users of it load the
released weights: 215,399,424 parameters, which are 861.6 MB, as that file is long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from analyzer.errors import AnalyzerError
from analyzer.models.neurons import LIF, spike
from analyzer.models.official import official

__all__ = ["CONFIGS", "SpikeGPT", "SpikeGPTConfig", "build", "weighted_mean"]


@dataclass(frozen=True, kw_only=True)
class SpikeGPTConfig:
    """The sizes of one network.

    Attributes:
        embed_dim: Width D.
        depth: Number of blocks.
        vocabulary: How many different tokens there are.
        context: How many tokens one pass holds; no weight depends on it.
    """

    embed_dim: int
    depth: int
    vocabulary: int
    context: int = 1024

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.depth, self.vocabulary, self.context) < 1:
            raise AnalyzerError(
                "SpikeGPT needs a width, a depth, a vocabulary and a context from 1, got "
                f"{self.embed_dim}, {self.depth}, {self.vocabulary} and {self.context}."
            )


CONFIGS: Mapping[str, SpikeGPTConfig] = MappingProxyType(
    {"216m": SpikeGPTConfig(embed_dim=768, depth=18, vocabulary=50277)}
)


class Mixed(nn.Module):
    """A linear layer that reads each token and the one before it: [B, T, D] -> [B, T, D']."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((1, 1, before), 0.5))
        self.linear = nn.Linear(before, after, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, T, D] -> [B, T, D']; before the first token are zeros."""
        previous = nn.functional.pad(x, (0, 0, 1, -1))
        out: Tensor = self.linear(x * self.share + previous * (1 - self.share))
        return out


def weighted_mean(keys: Tensor, values: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """The mean of the values of all tokens so far, weighted by keys and by distance.

    The token i has at the token t the weight exp(k_i - (t - 1 - i) · decay), and the token t itself
    exp(k_t + bonus). The sums are kept from token to token, divided by the largest weight.

    Args:
        keys: [B, T, D].
        values: [B, T, D].
        decay: By how much the logarithm of a weight falls with each token, [D].
        bonus: What is added to the key of the present token, [D].

    Returns:
        A tensor [B, T, D].

    Example:
        >>> import torch
        >>> values = torch.tensor([[[1.0], [3.0]]])
        >>> zero = torch.zeros(1)
        >>> weighted_mean(torch.zeros(1, 2, 1), values, zero, zero)
        tensor([[[1.],
                 [2.]]])
    """
    total = torch.zeros_like(values[:, 0])
    weight = torch.zeros_like(total)
    largest = torch.full_like(total, -1e38)
    means = []
    for key, value in zip(keys.unbind(1), values.unbind(1), strict=True):
        now = key + bonus
        top = torch.maximum(largest, now)
        old, new = torch.exp(largest - top), torch.exp(now - top)
        means.append((old * total + new * value) / (old * weight + new))
        faded = largest - decay
        top = torch.maximum(faded, key)
        old, new = torch.exp(faded - top), torch.exp(key - top)
        total, weight, largest = old * total + new * value, old * weight + new, top
    return torch.stack(means, 1)


class TimeMix(nn.Module):
    """The branch that sees other tokens: [B, T, D] -> [B, T, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.zeros(dim))  # of which the exponential is the decay
        self.bonus = nn.Parameter(torch.zeros(dim))
        self.key, self.value, self.receptance = (Mixed(dim, dim) for _ in range(3))
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        means = weighted_mean(self.key(x), self.value(x), self.decay.exp(), self.bonus)
        out: Tensor = self.output(self.receptance(x).sigmoid() * means)
        return out


class ChannelMix(nn.Module):
    """The branch of four times the width: [B, T, D] -> [B, T, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.key = Mixed(dim, 4 * dim)
        self.receptance = Mixed(dim, dim)
        self.value = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        out: Tensor = self.receptance(x).sigmoid() * self.value(self.key(x).relu().square())
        return out


class Block(nn.Module):
    """Both branches, each behind a layer norm and in front of neurons: [B, T, D] -> [B, T, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.time_norm, self.channel_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.time, self.channel = TimeMix(dim), ChannelMix(dim)
        self.time_neuron, self.channel_neuron = (LIF(surrogate="arctan", slope=2.0) for _ in "tc")

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + _over_tokens(self.time_neuron, self.time(self.time_norm(x)))
        out: Tensor = x + _over_tokens(self.channel_neuron, self.channel(self.channel_norm(x)))
        return out


def _over_tokens(neuron: nn.Module, x: Tensor) -> Tensor:
    """Neurons that integrate over the tokens: [B, T, D] -> spikes [B, T, D]."""
    spikes: Tensor = neuron(x.transpose(0, 1)).transpose(0, 1)
    return spikes


class SpikeGPT(nn.Module):
    """The network: token numbers [B, T] -> logits [B, T, vocabulary].

    T is the `context` of the config, and the neurons integrate over these tokens.

    Example:
        >>> import torch
        >>> from analyzer import models
        >>> small = {"embed_dim": 8, "depth": 1, "vocabulary": 100}
        >>> model = models.build("spikegpt-216m", context=5, **small)
        >>> model(torch.zeros(3, 5, dtype=torch.int64)).shape
        torch.Size([3, 5, 100])
    """

    official_name = staticmethod(official("spikegpt"))

    def __init__(self, config: SpikeGPTConfig) -> None:
        super().__init__()
        self.config = config
        D = config.embed_dim
        self.timesteps = config.context
        self.embedding = nn.Embedding(config.vocabulary, D)
        self.entry = nn.LayerNorm(D)
        self.blocks = nn.Sequential(*(Block(D) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, config.vocabulary, bias=False)

    @property
    def layouts(self) -> dict[str, str]:
        """The axes of the input of every linear layer, and of the tokens."""
        return {"": "B T", "*": "B T D"}

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers [B, T] -> logits [B, T, vocabulary].

        Raises:
            AnalyzerError: If there are more or fewer tokens than the context holds.
        """
        if tokens.dim() != 2 or tokens.shape[1] != self.config.context:
            raise AnalyzerError(
                f"this SpikeGPT takes {self.config.context} tokens [B, {self.config.context}], not "
                f"{list(tokens.shape)}: build it with context= of another length."
            )
        x = self.entry(spike(self.embedding(tokens), slope=2.0, surrogate="arctan"))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def build(size: str, **overrides: Any) -> SpikeGPT:
    """A SpikeGPT of one size of `CONFIGS`, with fields of its config overridden."""
    return SpikeGPT(replace(CONFIGS[size], **overrides))
