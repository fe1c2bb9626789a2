"""Networks of other libraries in tiny sizes, each with a batch of real inputs of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from neighbours import without_broken_neighbours
from torch import Tensor, nn

with without_broken_neighbours():
    import transformers as tf
    from diffusers import UNet2DConditionModel, UNet2DModel
    from transformers.models.bert.modeling_bert import BertModel
    from transformers.models.detr.modeling_detr import DetrModel
    from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
    from transformers.models.llama.modeling_llama import LlamaForCausalLM
    from transformers.models.mamba.modeling_mamba import MambaForCausalLM
    from transformers.models.mixtral.modeling_mixtral import MixtralForCausalLM
    from transformers.models.perceiver.modeling_perceiver import PerceiverModel
    from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration
    from transformers.models.vit.modeling_vit import ViTForImageClassification

WORDS = 99
TOKENS = 12

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "vocab_size": WORDS,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True)
class Network:
    """A model and what it is given.

    Attributes:
        name: As ids of tests show it.
        make: Builds the model, on the default device.
        batch: Keyword arguments for some number of samples.
    """

    name: str
    make: Callable[[], nn.Module]
    batch: Callable[[int], dict[str, Any]]


def words(samples: int, tokens: int = TOKENS) -> Tensor:
    return torch.randint(3, WORDS, (samples, tokens), device="cpu")


def _ids(samples: int) -> dict[str, Any]:
    return {"input_ids": words(samples)}


def _pixels(*shape: int, name: str = "pixel_values") -> Callable[[int], dict[str, Any]]:
    return lambda samples: {name: torch.randn(samples, *shape, device="cpu")}


def _gpt2() -> nn.Module:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": WORDS}
    return GPT2LMHeadModel(tf.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2))


def _t5() -> nn.Module:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(
        tf.T5Config(**sizes, vocab_size=WORDS, decoder_start_token_id=0)
    )


def _vit() -> nn.Module:
    sizes = {name: _SIZES[name] for name in list(_SIZES)[:4]}
    return ViTForImageClassification(tf.ViTConfig(**sizes, image_size=32, patch_size=8))


def _mixtral() -> nn.Module:
    return MixtralForCausalLM(
        tf.MixtralConfig(
            **_SIZES, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2
        )
    )


def _mamba() -> nn.Module:
    sizes = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": WORDS}
    return MambaForCausalLM(tf.MambaConfig(**sizes))


def _detr() -> nn.Module:
    backbone = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"]
    )
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 6}
    layers = {"encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return DetrModel(
        tf.DetrConfig(
            use_timm_backbone=False,
            backbone_config=backbone,
            use_pretrained_backbone=False,
            **sizes,
            **layers,
            **heads,
        )
    )


def _perceiver() -> nn.Module:
    sizes = {"num_latents": 5, "d_latents": 16, "d_model": 12, "num_blocks": 1}
    heads = {"num_self_attention_heads": 4, "num_cross_attention_heads": 4}
    return PerceiverModel(tf.PerceiverConfig(**sizes, **heads, num_self_attends_per_block=2))


def _unet() -> nn.Module:
    return UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def _text_unet() -> nn.Module:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=12,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


NETWORKS = (
    Network("bert", lambda: BertModel(tf.BertConfig(**_SIZES)), _ids),
    Network("gpt2", _gpt2, _ids),
    Network(
        "llama",
        lambda: LlamaForCausalLM(tf.LlamaConfig(**_SIZES, num_key_value_heads=2)),
        _ids,
    ),
    Network("t5", _t5, lambda n: _ids(n) | {"decoder_input_ids": words(n, 5)}),
    Network("vit", _vit, _pixels(3, 32, 32)),
    Network("mixtral", _mixtral, _ids),
    Network("mamba", _mamba, _ids),
    Network("detr", _detr, _pixels(3, 32, 32)),
    Network("perceiver", _perceiver, _pixels(9, 12, name="inputs")),
    Network(
        "unet",
        _unet,
        lambda n: _pixels(3, 16, 16, name="sample")(n) | {"timestep": torch.arange(n)},
    ),
    Network(
        "text-unet",
        _text_unet,
        lambda n: {
            "sample": torch.randn(n, 4, 8, 8),
            "timestep": 7,
            "encoder_hidden_states": torch.randn(n, 6, 12),
        },
    ),
)


def built(network: Network, seed: int = 0) -> nn.Module:
    """A network with values, in evaluation mode."""
    torch.manual_seed(seed)
    return network.make().eval()


def on_meta(network: Network) -> nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return network.make().eval()


def network(name: str) -> Network:
    return next(n for n in NETWORKS if n.name == name)
