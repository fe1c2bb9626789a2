"""Meta-SpikeFormer: its RepConv is one convolution."""

from itertools import product

import torch
from torch import nn

from analyzer.models.meta_spikeformer import RepConv
from analyzer.models.warm import warm


def test_the_border_of_a_rep_conv_folds():
    """Pointwise, bordered norm, depthwise, pointwise are one 3×3 convolution with zero padding."""
    torch.manual_seed(0)
    rep = RepConv(6, 6)
    warm(rep, torch.rand(8, 6, 9, 9))
    rep.double().eval()
    zero = torch.zeros(1, 6, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        kernels = []
        for channel, y, x in product(range(6), range(3), range(3)):
            probe = zero.clone()
            probe[0, channel, 3 + y, 3 + x] = 1
            kernels.append((rep(probe) - rep(zero))[0, :, 4, 4])
        weight = torch.stack(kernels, 1).reshape(6, 6, 3, 3)
        image = torch.rand(2, 6, 9, 9, dtype=torch.float64)
        bias = rep(zero)[0, :, 4, 4]
        folded = nn.functional.conv2d(image, weight, bias, padding=1)
        torch.testing.assert_close(rep(image), folded)
