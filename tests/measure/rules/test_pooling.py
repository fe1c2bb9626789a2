"""Work of pooling, resizing and folding, by hand."""

import pytest
from rule_checks import IMAGE, VOLUME, X, model_of, real, work
from torch import nn
from torch.nn import functional as F

import analyzer

N = X.numel()

COSTS = {
    # Pooling: what exists in the windows, less one a window.
    "max-pool-1d": (nn.MaxPool1d(2), X, (0, 0, N // 2, 0)),
    "max-pool": (nn.MaxPool2d(2), IMAGE, (0, 0, 96 * 3, 0)),
    "max-pool-int": (lambda x: F.max_pool2d(x, 2, 1), IMAGE, (0, 0, 6 * 49 * 3, 0)),
    # 4 windows an axis of which the first loses one of 3: 11 × 11 elements in 16 windows.
    "max-pool-padded": (nn.MaxPool2d(3, 2, 1), IMAGE, (0, 0, 6 * (121 - 16), 0)),
    "max-pool-dilated": (nn.MaxPool2d(2, 1, dilation=3), IMAGE, (0, 0, 6 * 25 * 3, 0)),
    # 3 windows an axis, of 3, 3 and 2 elements.
    "max-pool-ceil": (nn.MaxPool2d(3, ceil_mode=True), IMAGE, (0, 0, 6 * (64 - 9), 0)),
    "max-pool-3d": (nn.MaxPool3d(2), VOLUME, (0, 0, 16 * 7, 0)),
    "avg-pool-1d": (nn.AvgPool1d(3, 1, 1), X, (8 * (16 - 6), N, 0, 0)),
    "avg-pool": (nn.AvgPool2d(3, 2, 1), IMAGE, (6 * (121 - 16), 96, 0, 0)),
    "avg-pool-3d": (nn.AvgPool3d(2), VOLUME, (16 * 7, 16, 0, 0)),
    "adaptive-avg": (nn.AdaptiveAvgPool2d(1), IMAGE, (6 * 63, 6, 0, 0)),
    # 8 into 3: windows 0-3, 2-6, 5-8, ten elements an axis.
    "adaptive-avg-uneven": (nn.AdaptiveAvgPool2d(3), IMAGE, (6 * (100 - 9), 54, 0, 0)),
    "adaptive-avg-1d": (nn.AdaptiveAvgPool1d(4), X, (8 * (8 - 4), 32, 0, 0)),
    "adaptive-avg-3d": (nn.AdaptiveAvgPool3d(2), VOLUME, (16 * 7, 16, 0, 0)),
    "adaptive-max-1d": (nn.AdaptiveMaxPool1d(4), X, (0, 0, 8 * (8 - 4), 0)),
    "adaptive-max": (nn.AdaptiveMaxPool2d(3), IMAGE, (0, 0, 6 * (100 - 9), 0)),
    "adaptive-max-3d": (nn.AdaptiveMaxPool3d(2), VOLUME, (0, 0, 16 * 7, 0)),
    "fractional": (nn.FractionalMaxPool2d(2, output_size=3), IMAGE, (0, 0, 54 * 3, 0)),
    "fractional-3d": (nn.FractionalMaxPool3d(2, output_size=2), VOLUME, (0, 0, 16 * 7, 0)),
    # Squares, means of 2 (times 2 again), the sign, clipping at 0, and a root.
    "lp-pool": (nn.LPPool1d(2, 2), X, (24, N + 24 * 3, 24 * 2, 24)),
    # Resizing: the weighted sum of 2, 4, 8 or 16 neighbours.
    "linear": (nn.Upsample(scale_factor=2, mode="linear"), X, (2 * N, 4 * N, 0, 0)),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE, (1536 * 3, 1536 * 4, 0, 0)),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE, (1536 * 15, 1536 * 16, 0, 0)),
    "trilinear": (
        nn.Upsample(scale_factor=2, mode="trilinear"),
        VOLUME,
        (1024 * 7, 1024 * 8, 0, 0),
    ),
    # Half the size: a triangle 4 wide, cut at the border: 3 + 4 + 4 + 3 of each line, 8 lines, then
    # 4 columns.
    "antialiased": (
        lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        IMAGE,
        (6 * 12 * (14 - 4), 6 * 12 * 14, 0, 0),
    ),
    "area": (lambda x: F.interpolate(x, scale_factor=0.5, mode="area"), IMAGE, (96 * 3, 96, 0, 0)),
    # 7 × 7 patches of 2 × 2 lie on 8 × 8 places.
    "fold": (nn.Fold((8, 8), 2), real(2, 12, 49), (6 * (196 - 64), 0, 0, 0)),
    "fold-apart": (nn.Fold((8, 8), 2, stride=2), real(2, 12, 16), (0, 0, 0, 0)),
    # 3 × 3 patches of 2 × 2, stride 3, on a padded 7 × 7: five entries an axis inside, no overlap.
    "fold-padded": (nn.Fold((6, 6), 2, padding=1, stride=3), real(2, 4, 9), (0, 0, 0, 0)),
}


@pytest.mark.parametrize(("what", "args", "expected"), COSTS.values(), ids=COSTS)
def test_work_by_hand(what, args, expected):
    assert work(analyzer.profile(model_of(what), args)) == expected
