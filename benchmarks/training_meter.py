"""What a meter costs a training: time of its probes over time of the training, in one run.

A small spiking network is trained on the embedded digits with ``analyzer.callbacks.Meter`` at
its default. Beside the meter's own account of its time stands one from outside: the time of the
whole loop over that of its steps, each timed alone. Last stands what a probe takes beside a step.

Usage: python benchmarks/training_meter.py [--seconds N]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyzer.callbacks import Meter
from analyzer.data.splits import open_splits
from analyzer.models.neurons import LIF

T = 4
"""Timesteps."""

BATCH = 64
"""Images in a step."""


class Net(nn.Module):
    """Images [B, 1, 8, 8], presented T times, to logits [B, 10]."""

    timesteps = T

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1, self.lif1 = nn.Linear(64, 128), nn.BatchNorm1d(128), LIF()
        self.second, self.norm2, self.lif2 = nn.Linear(128, 128), nn.BatchNorm1d(128), LIF()
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        current = self.norm1(self.first(x.flatten(1)))
        spikes = self.lif1(current.expand(T, *current.shape))
        current = self.norm2(self.second(spikes).flatten(0, 1)).view(spikes.shape)
        return self.head(self.lif2(current)).mean(0)


def digits() -> tuple[Tensor, Tensor]:
    """Images [N, 1, 8, 8] and labels [N] of the embedded digits."""
    images, labels = zip(*open_splits("digits", (1, 8, 8)).train, strict=True)
    return torch.stack([torch.as_tensor(image) for image in images]), torch.tensor(labels)


def trained(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """What trains a model by one step."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def step() -> None:
        chosen = torch.randint(0, len(x), (BATCH,))
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x, y = digits()
    model = Net()
    step = trained(model, x, y)
    for _ in range(3):
        step()
    meter = Meter(model, x[:16])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"training for {chosen.seconds:g} s, batch {BATCH}, probe of 16 images", flush=True)
    number, probes, steps_s = 0, [], []
    begin = time.perf_counter()
    while time.perf_counter() - begin < chosen.seconds:
        start = time.perf_counter()
        step()
        middle = time.perf_counter()
        figures = meter.step(number)
        steps_s.append(middle - start)
        if figures is not None:
            probes.append(time.perf_counter() - middle)
        number += 1
    whole_s = time.perf_counter() - begin
    first, *later = probes
    beside = whole_s / sum(steps_s) - 1
    beside_later = (whole_s - first) / sum(steps_s) - 1
    print(f"the meter's account: {meter.cost}")
    print(f"from outside: {number} steps take {sum(steps_s):.1f} s of {whole_s:.1f} s, all else")
    print(f"  {beside_later:.2%} of their time, with the first probe {beside:.2%}")
    if later:
        ratio = statistics.median(later) / statistics.median(steps_s)
        print(f"one probe: {1000 * statistics.median(later):.0f} ms, {ratio:.2f} of a step")
    ac = [row["analyzer/ac"] for row in meter.history]
    print(f"AC of an image, first and last probe: {ac[0]:,.0f} and {ac[-1]:,.0f}")


if __name__ == "__main__":
    main()
