"""Layers in one kernel: same counts as the layer in its slow path, same outputs as unobserved."""

import pytest
import torch
from torch import nn

import analyzer

WORK = ("dense_macs", "events", "ac", "mac", "mac_events", "specials", "compares")


@pytest.fixture
def slow():
    """Switches the fused kernels off for as long as the test asks for it."""
    yield lambda: torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mha.set_fastpath_enabled(True)


class SelfAttention(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **kwargs)

    def forward(self, x, mask=None):
        return self.attention(x, x, x, attn_mask=mask)[0]


MODELS = {
    "attention": lambda: SelfAttention(),
    "attention-no-bias": lambda: SelfAttention(bias=False),
    "encoder": lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
    "encoder-gelu-first": lambda: nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, norm_first=True, activation="gelu"
    ),
    "stack": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2
    ),
}


@pytest.mark.parametrize("spiking", [False, True], ids=["real", "spikes"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_fused_layers_count_what_the_slow_path_does(make, spiking, slow):
    """The whole layer was missing from the totals, and its energy was 0 pJ."""
    torch.manual_seed(0)
    model = make().eval()
    x = (torch.rand(3, 5, 16) < 0.3).float() if spiking else torch.randn(3, 5, 16)
    fused = analyzer.profile(model, x)
    assert fused.uncovered.empty
    slow()
    written = analyzer.profile(model, x)
    totals = [p.totals for p in (fused, written)]
    assert {k: totals[0][k] for k in WORK} == {k: totals[1][k] for k in WORK}
    assert totals[0]["dense_macs"] > 3 * 5 * 16 * 16 * 4


def test_fused_layers_give_what_they_give_unobserved():
    class Keep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

        def forward(self, x):
            seen.append(self.layer(x))
            return seen[-1]

    seen = []
    torch.manual_seed(0)
    model = Keep().eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        model(x)
    analyzer.profile(model, x)
    assert torch.equal(*seen)
