"""What profiling costs: profiled forward / plain forward, medians of pairs taken in one run.

Usage: python benchmarks/overhead.py [--pairs N] [--models NAME ...]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

import analyzer
from analyzer import models

CASES = {
    # name: (image shape, batch sizes)
    "spikformer-tiny": ((1, 32, 32), (1, 32)),
    "vit-tiny": ((1, 32, 32), (1, 32)),
    "ge2mst-tiny": ((1, 32, 32), (1, 32)),
    "spikformer-8-512": ((3, 224, 224), (1,)),
}


def warmed(name: str, shape: tuple[int, ...]) -> nn.Module:
    """A model whose neurons fire: trained weights, or batch-norm statistics from random images."""
    shipped = models.weights_path(name).exists()
    torch.manual_seed(0)
    model = models.build(name, pretrained=shipped)
    if not shipped:
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None  # a plain average of what is seen
        model.train()
        with torch.no_grad():
            for _ in range(2):
                model(torch.rand(2, *shape))
    return model.eval()


def seconds(work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--models", nargs="*", default=list(CASES))
    chosen = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {chosen.pairs} pairs")
    print(f"{'model':18} {'batch':>5} {'plain ms':>9} {'ratio':>7} {'quartiles':>15} {'rate':>7}")
    for name in chosen.models:
        shape, sizes = CASES[name]
        model = warmed(name, shape)
        for size in sizes:
            x = torch.rand(size, *shape)

            def plain(model: nn.Module = model, x: torch.Tensor = x) -> None:
                with torch.no_grad():
                    model(x)

            def profiled(model: nn.Module = model, x: torch.Tensor = x) -> None:
                analyzer.profile(model, x)

            plain(), profiled()
            pairs = [(seconds(plain), seconds(profiled)) for _ in range(chosen.pairs)]
            ratios = [b / a for a, b in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            base = statistics.median(a for a, _ in pairs) * 1000
            activity = analyzer.profile(model, x).sparsity("module")
            rate = activity["nonzeros"].sum() / activity["elements"].sum()
            quartiles = f"{low:.3f} to {high:.3f}"
            print(f"{name:18} {size:5} {base:9.1f} {middle:7.3f} {quartiles:>15} {rate:7.1%}")


if __name__ == "__main__":
    main()
