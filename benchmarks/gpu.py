"""What a GPU changes: nothing of the counts, and how much of the time.

For each network it says whether the profile on the GPU holds the integers of the one on the CPU;
how often the GPU is waited for during a counted pass of a later batch; the time of such a pass as a
ratio to a plain one, by pairs in one run; and the energy that the driver measures beside what the
convention says. It takes about five minutes on one GPU.

Usage: python benchmarks/gpu.py [--models NAME ...] [--batch-size N] [--pairs N] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import analyzer
from analyzer.measure.hardware import measure_energy
from analyzer.measure.neurons.state import reset_state
from analyzer.models import build, describe


def batch_of(name: str, size: int) -> Tensor:
    """Random images of the shape that a network takes; the same on every device."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.rand(size, *describe(name).input_shape, generator=generator)


def waited(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Any, device: torch.device) -> float:
    """One run, from an idle device to an idle device."""
    waited(device)
    start = time.perf_counter()
    run()
    waited(device)
    return time.perf_counter() - start


def equal_to_cpu(model: nn.Module, x: Tensor, device: torch.device) -> bool:
    """Whether a profile on the device equals the one on the CPU, on the first two samples."""
    few = x[:2]
    on_cpu = analyzer.profile(model.cpu(), few)
    on_device = analyzer.profile(model.to(device), few.to(device))
    return on_cpu == on_device


def synchronisations(model: nn.Module, x: Tensor, device: torch.device) -> int | None:
    """How often a counted pass of a later batch waits for the GPU; None on another device."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as said, analyzer.watch(model), torch.no_grad():
        warnings.simplefilter("always")
        reset_state(model)
        model(x)  # the first batch settles how the others are read
        reset_state(model)
        waited(device)
        before = len(said)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(each.message) for each in said[before:])


def overhead(model: nn.Module, x: Tensor, device: torch.device, pairs: int) -> float:
    """Median of pairs: a later batch counted, and a plain forward."""

    def run() -> None:
        model(x)

    ratios = []
    with torch.no_grad():
        for _ in range(pairs):
            reset_state(model)
            plain = seconds(run, device)
            with analyzer.watch(model):
                reset_state(model)
                run()  # the first batch settles how the others are read
                reset_state(model)
                counted = seconds(run, device)
            ratios.append(counted / plain)
    reset_state(model)
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["spikformer-8-512", "vit-b-16"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.exit(message="there is no GPU here: nothing was measured.\n")
    for name in given.models:
        torch.manual_seed(0)
        model = build(name).eval()
        x = batch_of(name, given.batch_size)
        equal = equal_to_cpu(model, x, device)
        model, x = model.to(device), x.to(device)
        waits = synchronisations(model, x, device)
        ratio = overhead(model, x, device, given.pairs)
        measured = measure_energy(model, [x])
        profile = analyzer.profile(model, x)
        print(
            f"{name}, {given.batch_size} samples on {device}: "
            f"{'the integers of the CPU' if equal else 'OTHER INTEGERS THAN ON THE CPU'}; "
            f"{'no GPU to wait for' if waits is None else f'{waits} waits in a counted pass'}; "
            f"a counted pass takes {ratio:.2f} of a plain one"
        )
        print(f"  measured: {measured}; by the convention exact {profile.energy().total_text}")


if __name__ == "__main__":
    main()
