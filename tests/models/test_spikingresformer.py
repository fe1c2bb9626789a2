"""SpikingResformer: the scales of its attention."""

import torch

from analyzer.models.spikingresformer import RateScale


def test_scales_of_spiking_resformer_follow_the_rates():
    """The first batch in training sets them, later ones move them by a thousandth."""
    scale = RateScale(2).train()
    spikes = torch.zeros(1, 1, 2, 4, 4)
    spikes[:, :, 0, :2] = 1
    out = scale(torch.ones(1, 1, 2, 3, 3), spikes, 8)
    assert scale.rate.flatten().tolist() == [0.5, 0.0]
    torch.testing.assert_close(out[0, 0, 0], torch.full((3, 3), (0.5 * 8) ** -0.5))
    assert not out[0, 0, 1].any()
    scale(torch.ones(1, 1, 2, 3, 3), torch.ones_like(spikes), 8)
    torch.testing.assert_close(scale.rate.flatten()[0].item(), 0.5 * 0.999 + 0.001)
    torch.testing.assert_close(scale.rate.flatten()[1].item(), 1.0)
