"""ViT, against the table of its sizes and PyTorch's encoder layer."""

import pytest
import torch
from torch import nn

from analyzer import models
from analyzer.errors import AnalyzerError


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_attention_and_blocks_follow_the_table(pool):
    torch.manual_seed(0)
    model = models.build("vit-tiny", pool=pool).eval()
    tokens = 64 + (pool == "token")
    D, depth = 64, 4
    expected = (16 + 1) * D + tokens * D + (pool == "token") * D
    expected += depth * (12 * D * D + 13 * D) + 2 * D + 10 * (D + 1)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_a_block_equals_the_library_encoder_layer():
    torch.manual_seed(0)
    block = models.build("vit-tiny").blocks[0].eval()
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    reference = nn.TransformerEncoderLayer(
        64, 4, 256, dropout=0, layer_norm_eps=1e-6, **options
    ).eval()
    reference.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": block.attention.projection.weight,
            "self_attn.out_proj.bias": block.attention.projection.bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[2].weight,
            "linear2.bias": block.mlp[2].bias,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    x = torch.randn(2, 9, 64)
    torch.testing.assert_close(block(x), reference(x), atol=1e-5, rtol=1e-5)


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(AnalyzerError, match="patches of 5"):
        models.build("vit-tiny", patch_size=5)
