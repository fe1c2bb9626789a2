"""Translates tensor names of published state dicts into those of this package's networks.

With these rules a checkpoint from the repository of a paper's authors (or of timm or torchvision)
loads into the network of the same name here. A rule replaces the beginning of a name; all rules
are applied, one after another. In a rule ``{i}`` and ``{j}`` are numbers, and ``{i+7}`` is that
number plus 7; ``{p}`` is q, k, v or the projection; ``{w}`` is the weight layer (``conv`` or
``linear``) or its batch norm (``bn``). An empty result drops a tensor that was not learnt.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType

__all__ = ["official"]

_PLACEHOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "i": r"\d+",
        "j": r"\d+",
        "p": r"(?:[qkv]|projection|proj)",
        "w": r"(?:conv|linear|bn)",
    }
)
_WORDS: Mapping[str, str] = MappingProxyType(
    {"conv": "layer", "linear": "layer", "bn": "norm", "proj": "projection"}
)

_ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        "block.{i}.attn.{p}_{w}": "blocks.{i}.attention.{p}.{w}",
        "block.{i}.mlp.fc{j}_{w}": "blocks.{i}.mlp.{j-1}.{w}",
        "block.{i}.mlp.mlp{j}_{w}": "blocks.{i}.mlp.{j-1}.{w}",
        "block.{i}": "blocks.{i}",
    }
)

_STAGES: Mapping[str, str] = MappingProxyType(
    {
        "ConvBlock1_1.0": "blocks.0",
        "downsample1_2": "blocks.1",
        "ConvBlock1_2.0": "blocks.2",
        "downsample2": "blocks.3",
        "ConvBlock2_1.0": "blocks.4",
        "ConvBlock2_2.0": "blocks.5",
        "downsample3": "blocks.6",
        "block3.{i}": "blocks.{i+7}",
        "downsample4": "blocks.13",
        "block4.{i}": "blocks.{i+14}",
    }
)
"""The stages of Spike-driven Transformer V2 (Meta-SpikeFormer) and V3."""

_HIERARCHY: Mapping[str, str] = MappingProxyType(
    {
        "patch_embed1": "stem",
        "patch_embed2": "blocks.1",
        "patch_embed3": "blocks.4",
        "stage1.{i}": "blocks.{i}",
        "stage2.{i}": "blocks.{i+2}",
        "stage3.{i}": "blocks.{i+5}",
        "stem.proj_res_{w}": "stem.shortcut.{w}",
        "stem.proj1_{w}": "stem.first.{w}",
        "stem.proj2_{w}": "stem.second.{w}",
        "stem.proj_{w}": "stem.image.{w}",
        "blocks.{i}.proj_res_{w}": "blocks.{i}.shortcut.{w}",
        "blocks.{i}.proj3_{w}": "blocks.{i}.first.{w}",
        "blocks.{i}.proj4_{w}": "blocks.{i}.second.{w}",
        "blocks.{i}.tssa": "blocks.{i}.attn",
        "blocks.{i}.attn.{p}_{w}": "blocks.{i}.attention.{p}.{w}",
        "blocks.{i}.mlp.fc{j}_{w}": "blocks.{i}.mlp.{j-1}.{w}",
    }
)
"""The three stages of QKFormer and MSViT."""

_OFFICIAL: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "spikformer": {
            "patch_embed.proj_{w}{i}": "stem.units.{i}.{w}",
            "patch_embed.proj_{w}": "stem.units.0.{w}",
            "patch_embed.rpe_{w}": "stem.position.{w}",
            **_ATTENTION,
        },
        "spikingformer": {
            "patch_embed.proj{i}_{w}": "stem.{i}.{w}",
            "patch_embed.block{i}_{w}": "stem.{i}.{w}",
            "patch_embed.proj_{w}{i}": "stem.{i}.{w}",
            "patch_embed.proj_{w}": "stem.0.{w}",
            "patch_embed.rpe_{w}": "stem.4.{w}",
            **_ATTENTION,
        },
        "sdt": {
            "patch_embed.proj_{w}3": "stem.last.{w}",
            "patch_embed.proj_{w}{i}": "stem.units.{i}.{w}",
            "patch_embed.proj_{w}": "stem.units.0.{w}",
            "patch_embed.rpe_{w}": "stem.position.{w}",
            "block.{i}.attn.talking_heads": "blocks.{i}.attention.head_mixing",
            **_ATTENTION,
        },
        "meta_spikeformer": {
            "downsample1_1.encode_{w}": "stem.{w}",
            **_STAGES,
            "blocks.{i}.encode_{w}": "blocks.{i}.{w}",
            "blocks.{i}.Conv.pwconv1": "blocks.{i}.separable.0.layer",
            "blocks.{i}.Conv.bn{j}": "blocks.{i}.separable.{j-1}.norm",
            "blocks.{i}.Conv.dwconv": "blocks.{i}.separable.1.layer.0",
            "blocks.{i}.Conv.pwconv2": "blocks.{i}.separable.1.layer.1",
            "blocks.{i}.{w}{j}": "blocks.{i}.dense.{j-1}.{w}",
            "blocks.{i}.attn.{p}_conv": "blocks.{i}.attention.{p}",
            "blocks.{i}.attention.{p}.1": "blocks.{i}.attention.{p}.norm",
            "blocks.{i}.attention.{p}.0.body": "blocks.{i}.attention.{p}.layer",
            "blocks.{i}.attention.{p}.layer.1.bn": "blocks.{i}.attention.{p}.layer.1",
            "blocks.{i}.attention.{p}.layer.2.{j}": "blocks.{i}.attention.{p}.layer.{j+2}",
            "blocks.{i}.mlp.fc{j}_{w}": "blocks.{i}.mlp.units.{j-1}.{w}",
            "head_kd": "head.teacher",
        },
        "sdt_v3": {
            "downsample1_1.encode_conv": "stem.0",
            "downsample1_1.encode_bn": "stem.1",
            **_STAGES,
            "blocks.{i}.encode_conv.bias": "blocks.{i}.bias",
            "blocks.{i}.encode_conv": "blocks.{i}.conv",
            "blocks.{i}.encode_bn": "blocks.{i}.norm",
            "blocks.{i}.Conv": "blocks.{i}.separable",
            "blocks.{i}.conv.pwconv1": "blocks.{i}.separable.pwconv1",
            "blocks.{i}.conv.dwconv": "blocks.{i}.separable.dwconv",
            "blocks.{i}.conv.pwconv2": "blocks.{i}.separable.pwconv2",
            "blocks.{i}.separable.pwconv1.0": "blocks.{i}.separable.expand.conv",
            "blocks.{i}.separable.pwconv1.1": "blocks.{i}.separable.expand.norm",
            "blocks.{i}.separable.dwconv.0": "blocks.{i}.separable.depthwise.conv",
            "blocks.{i}.separable.dwconv.1": "blocks.{i}.separable.depthwise.norm",
            "blocks.{i}.separable.pwconv2.0": "blocks.{i}.separable.reduce.conv",
            "blocks.{i}.separable.pwconv2.1": "blocks.{i}.separable.reduce.norm",
            "blocks.{i}.conv{j}": "blocks.{i}.dense.{j-1}.conv",
            "blocks.{i}.bn{j}": "blocks.{i}.dense.{j-1}.norm",
            "blocks.{i}.attn.{p}_conv.0": "blocks.{i}.attention.{p}.conv",
            "blocks.{i}.attn.{p}_conv.1": "blocks.{i}.attention.{p}.norm",
            "blocks.{i}.mlp.fc{j}_conv.bias": "blocks.{i}.mlp.{j-1}.bias",
            "blocks.{i}.mlp.fc{j}_conv": "blocks.{i}.mlp.{j-1}.conv",
            "blocks.{i}.mlp.fc{j}_bn": "blocks.{i}.mlp.{j-1}.norm",
            "head.bias": "bias",
        },
        "qkformer": _HIERARCHY,
        "msvit": {**_HIERARCHY, "blocks.{i}.attn.p_{w}": "blocks.{i}.attention.neighbours.{w}"},
        "max_former": {
            "patch_embed1.embed1.embed_{w}": "stem.0.{w}",
            "patch_embed1.embed2.embed_{w}": "stem.1.first.{w}",
            "patch_embed1.embed3.embed_{w}": "stem.1.second.{w}",
            "patch_embed1.embed4.embed_{w}": "stem.1.shortcut.{w}",
            "stage1.{i}": "blocks.{i}",
            "patch_embed2": "blocks.1",
            "stage2.{i}": "blocks.{i+2}",
            "patch_embed3": "blocks.4",
            "stage3.{i}": "blocks.{i+5}",
            "blocks.{i}.max_embed1.embed_{w}": "blocks.{i}.first.{w}",
            "blocks.{i}.embed1.embed_{w}": "blocks.{i}.second.{w}",
            "blocks.{i}.max_embed2.embed_{w}": "blocks.{i}.shortcut.{w}",
            "blocks.{i}.mixer.conv5_bn": "blocks.{i}.attention.norm",
            "blocks.{i}.mixer.conv5": "blocks.{i}.attention.layer",
            "blocks.{i}.mixer.conv_bn": "blocks.{i}.attention.norm",
            "blocks.{i}.mixer.conv": "blocks.{i}.attention.layer",
            "blocks.{i}.attn.{p}_{w}": "blocks.{i}.attention.{p}.{w}",
            "blocks.{i}.mlp.fc{j}_{w}": "blocks.{i}.mlp.{j-1}.{w}",
        },
        "sdt_v3_large": {
            "downsample1_1.encode_conv": "stem.0",
            "downsample1_1.encode_bn": "stem.1",
            **_STAGES,
            "blocks.{i}.encode_conv.bias": "blocks.{i}.bias",
            "blocks.{i}.encode_conv": "blocks.{i}.conv",
            "blocks.{i}.encode_bn": "blocks.{i}.norm",
            "blocks.{i}.conv{j}.0.module": "blocks.{i}.conv{j}.0",
            "blocks.{i}.conv{j}.0.0.bias": "blocks.{i}.dense.{j-1}.bias",
            "blocks.{i}.conv{j}.0.0": "blocks.{i}.dense.{j-1}.conv",
            "blocks.{i}.conv{j}.0.1": "blocks.{i}.dense.{j-1}.norm",
            "blocks.{i}.attn.{p}_conv.0.conv1.0": "blocks.{i}.attention.{p}.widen",
            "blocks.{i}.attn.{p}_conv.0.conv1.1": "blocks.{i}.attention.{p}.norms.0",
            "blocks.{i}.attn.{p}_conv.0.conv2.0": "blocks.{i}.attention.{p}.narrow",
            "blocks.{i}.attn.{p}_conv.0.conv2.1": "blocks.{i}.attention.{p}.norms.1",
            "blocks.{i}.attn.{p}_conv.1": "blocks.{i}.attention.{p}.norms.2",
            "blocks.{i}.mlp.fc{j}_conv.bias": "blocks.{i}.mlp.{j-1}.bias",
            "blocks.{i}.mlp.fc{j}_conv": "blocks.{i}.mlp.{j-1}.conv",
            "blocks.{i}.mlp.fc{j}_bn": "blocks.{i}.mlp.{j-1}.norm",
            "blocks.{i}.layer_scale1": "blocks.{i}.attention_scale",
            "blocks.{i}.layer_scale2": "blocks.{i}.mlp_scale",
            "head_kd.bias": "bias",
            "head_kd": "teacher",
        },
        "spikingresformer": {
            "prologue.0": "stem.0.layer",
            "prologue.1.bn": "stem.0.norm",
            "layers.0.{i}": "blocks.{i}",
            "layers.1.{i}": "blocks.{i+2}",
            "layers.2.{i}": "blocks.{i+7}",
            "blocks.2.conv": "blocks.2.layer",
            "blocks.7.conv": "blocks.7.layer",
            "blocks.2.norm.bn": "blocks.2.norm",
            "blocks.7.norm.bn": "blocks.7.norm",
            "blocks.{i}.firing_rate_x": "blocks.{i}.branch.input_scale.rate",
            "blocks.{i}.firing_rate_attn": "blocks.{i}.branch.score_scale.rate",
            "blocks.{i}.W": "blocks.{i}.branch.patches.layer",
            "blocks.{i}.norm.bn": "blocks.{i}.branch.patches.norm",
            "blocks.{i}.Wproj": "blocks.{i}.branch.projection.layer",
            "blocks.{i}.norm_proj.bn": "blocks.{i}.branch.projection.norm",
            "blocks.{i}.up.1": "blocks.{i}.branch.expand.layer",
            "blocks.{i}.up.2.bn": "blocks.{i}.branch.expand.norm",
            "blocks.{i}.conv.0.1": "blocks.{i}.branch.mix.layer",
            "blocks.{i}.conv.0.2.bn": "blocks.{i}.branch.mix.norm",
            "blocks.{i}.down.1": "blocks.{i}.branch.reduce.layer",
            "blocks.{i}.down.2.bn": "blocks.{i}.branch.reduce.norm",
            "classifier": "head",
        },
        "spikegpt": {
            "emb": "embedding",
            "ln_out": "norm",
            "blocks.0.ln0": "entry",
            "blocks.{i}.ln1": "blocks.{i}.time_norm",
            "blocks.{i}.ln2": "blocks.{i}.channel_norm",
            "blocks.{i}.att.time_decay": "blocks.{i}.time.decay",
            "blocks.{i}.att.time_first": "blocks.{i}.time.bonus",
            "blocks.{i}.att.time_mix_k": "blocks.{i}.time.key.share",
            "blocks.{i}.att.time_mix_v": "blocks.{i}.time.value.share",
            "blocks.{i}.att.time_mix_r": "blocks.{i}.time.receptance.share",
            "blocks.{i}.att.output": "blocks.{i}.time.output",
            "blocks.{i}.att.key": "blocks.{i}.time.key.linear",
            "blocks.{i}.att.value": "blocks.{i}.time.value.linear",
            "blocks.{i}.att.receptance": "blocks.{i}.time.receptance.linear",
            "blocks.{i}.ffn.time_mix_k": "blocks.{i}.channel.key.share",
            "blocks.{i}.ffn.time_mix_r": "blocks.{i}.channel.receptance.share",
            "blocks.{i}.ffn.value": "blocks.{i}.channel.value",
            "blocks.{i}.ffn.key": "blocks.{i}.channel.key.linear",
            "blocks.{i}.ffn.receptance": "blocks.{i}.channel.receptance.linear",
        },
        "vit": {
            "patch_embed.proj": "patches",
            "cls_token": "class_token",
            "pos_embed": "positions",
            "blocks.{i}.attn.proj": "blocks.{i}.attention.projection",
            "blocks.{i}.attn": "blocks.{i}.attention",
            "blocks.{i}.mlp.fc1": "blocks.{i}.mlp.0",
            "blocks.{i}.mlp.fc2": "blocks.{i}.mlp.2",
        },
        "resnet": {
            "conv1": "stem.0.0",
            "bn1": "stem.0.1",
            "layer{i}.{j}": "stages.{i-1}.{j}",
            "stages.{i}.{j}.downsample": "stages.{i}.{j}.shortcut",
            "stages.{i}.{j}.conv1": "stages.{i}.{j}.branch.0.0",
            "stages.{i}.{j}.conv2": "stages.{i}.{j}.branch.1.0",
            "stages.{i}.{j}.conv3": "stages.{i}.{j}.branch.2.0",
            "stages.{i}.{j}.bn1": "stages.{i}.{j}.branch.0.1",
            "stages.{i}.{j}.bn2": "stages.{i}.{j}.branch.1.1",
            "stages.{i}.{j}.bn3": "stages.{i}.{j}.branch.2.1",
            "fc": "head",
        },
        "swin": {
            "norm": "last",
            "patch_embed.proj": "patches",
            "patch_embed.norm": "norm",
            "layers.0.downsample": "blocks.2",
            "layers.1.downsample": "blocks.5",
            "layers.2.downsample": "blocks.12",
            "layers.0.blocks.{i}": "blocks.{i}",
            "layers.1.blocks.{i}": "blocks.{i+3}",
            "layers.2.blocks.{i}": "blocks.{i+6}",
            "layers.3.blocks.{i}": "blocks.{i+13}",
            "blocks.{i}.reduction": "blocks.{i}.reduce",
            "blocks.{i}.attn_mask": "",
            "blocks.{i}.attn.relative_position_index": "",
            "blocks.{i}.attn.relative_position_bias_table": "blocks.{i}.attention.bias",
            "blocks.{i}.attn.proj": "blocks.{i}.attention.projection",
            "blocks.{i}.attn": "blocks.{i}.attention",
            "blocks.{i}.mlp.fc1": "blocks.{i}.mlp.0",
            "blocks.{i}.mlp.fc2": "blocks.{i}.mlp.2",
        },
    }
)
"""The rules for each module of this package that holds a network."""


def official(module: str) -> Callable[[str], str]:
    """A function that translates a name of a published state dict.

    Args:
        module: Name of the module of this package that holds the network, such as ``sdt``.

    Returns:
        A function of the published name; it returns this package's name, or an empty string if
        the tensor is to be dropped.
    """
    return partial(_renamed, rules=_OFFICIAL[module])


def _renamed(name: str, rules: Mapping[str, str]) -> str:
    """Applies the rules to one name."""
    for pattern, target in rules.items():
        found = _compiled(pattern).match(name)
        if found:
            if not target:
                return ""
            name = _filled(target, found.groupdict()) + name[found.end() :]
    return name


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", pattern)
    literal = [re.escape(text) for text in parts[::2]]
    named = [f"(?P<{key}>{_PLACEHOLDERS[key]})" for key in parts[1::2]]
    return re.compile(
        "".join(a + b for a, b in zip(literal, [*named, ""], strict=True)) + r"(?=\.|$)"
    )


def _filled(target: str, found: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        text = found[match["key"]]
        return str(int(text) + int(match["by"])) if match["by"] else _WORDS.get(text, text)

    return re.sub(r"\{(?P<key>\w)(?P<by>[+-]\d+)?\}", value, target)
