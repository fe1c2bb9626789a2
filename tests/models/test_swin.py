"""Swin: attention in shifted windows, against attention with an explicit mask."""

import torch

from analyzer.models.swin import WindowAttention


def test_shifted_windows_do_not_attend_across_borders():
    """Tokens from opposite borders of the map share a window, but do not attend to each other."""
    torch.manual_seed(0)
    w, shift, side = 4, 2, 8
    attention = WindowAttention(8, 2, w, shift).double()
    x = torch.rand(1, side, side, 8, dtype=torch.float64)
    with torch.no_grad():
        out = attention(x)
        q, k, v = attention.qkv(x).reshape(side * side, 3, 2, 4).permute(1, 2, 0, 3)
        rows = torch.arange(side)
        region = (rows + (w - shift)) // w  # windows of the shifted grid, cut at the borders
        cell = (region[:, None] * 10 + region[None, :]).flatten()
        at = torch.stack(torch.meshgrid(rows, rows, indexing="ij"), -1).reshape(-1, 2)
        delta = at[:, None] - at[None]
        index = (delta[..., 0] + w - 1) * (2 * w - 1) + delta[..., 1] + w - 1
        same = cell[:, None] == cell[None]
        bias = attention.bias[index.where(same, 0)].permute(2, 0, 1)
        scores = q @ k.mT / 2 + bias
        weights = scores.masked_fill(~same, -torch.inf).softmax(-1)
        expected = attention.projection((weights @ v).permute(1, 0, 2).reshape(1, side, side, 8))
    torch.testing.assert_close(out, expected)
