"""How well profiling scales: samples per second of two workers beside those of one.

Every worker has one thread. One worker profiles all samples; two workers, started at once, each
profile their share, as `torchrun --nproc-per-node 2 -m analyzer profile` has them do. What is timed
is the measuring, not the start of Python. The figure is the samples per second per worker of two,
divided by those of one, the median of pairs in this run. It needs a machine with two free cores: on
a busy one the workers share what is left. Beside it stands the same ratio by seconds of the CPU,
which says how much work two workers do more than one, and hardly depends on who else is busy; and
the ratio of plain forwards of the same model on the same shares, which says how far from linear
two workers are on this machine without any profiling, as cores share caches and clock.

Usage: python benchmarks/workers.py [--pairs N] [--batches N] [--batch-size N] [--model NAME]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from typing import IO

WORKER = """
import sys, time
import torch
import analyzer
from analyzer import models

torch.set_num_threads(1)
index, of, batches, size = map(int, sys.argv[2].split(','))
torch.manual_seed(0)
model = models.build(sys.argv[1], pretrained=False).eval()
shape = models.describe(sys.argv[1]).input_shape
loader = [torch.rand(size, *shape) for _ in range(batches)]
analyzer.profile(model, loader[:2], progress=False)  # compiled loops are loaded
print("ready", flush=True)
sys.stdin.readline()
start, cpu = time.perf_counter(), time.process_time()
if sys.argv[3:] == ["plain"]:
    share = loader[(index - 1) * batches // of : index * batches // of]
    with torch.no_grad():
        for batch in share:
            model(batch)
    samples = len(share) * size
else:
    samples = analyzer.profile(model, loader, shard=(index, of), progress=False).samples
print(samples, time.perf_counter() - start, time.process_time() - cpu, flush=True)
"""

GOAL = 0.95


def started(*arguments: str) -> subprocess.Popen[str]:
    """A worker that waits to be told to begin."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def _pipes(worker: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    return worker.stdin, worker.stdout


def speed(model: str, of: int, batches: int, size: int, *how: str) -> tuple[float, float]:
    """Samples per second per worker, by the slowest one, and per second of the CPU."""
    workers = [started(model, f"{i + 1},{of},{batches},{size}", *how) for i in range(of)]
    pipes = [_pipes(worker) for worker in workers]
    for _, said in pipes:
        assert said.readline() == "ready\n"
    for told, _ in pipes:
        told.write("go\n")
        told.flush()
    found = [said.readline().split() for _, said in pipes]
    for worker in workers:
        assert worker.wait() == 0
    samples = sum(int(number) for number, _, _ in found)
    assert samples == batches * size
    longest = max(float(seconds) for _, seconds, _ in found)
    return samples / longest / of, samples / sum(float(cpu) for _, _, cpu in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--model", default="ge2mst-tiny")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{given.model}, {os.cpu_count()} cores, {load:.1f} of them busy before it began")
    names = ("profiled", "by CPU time", "plain")
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(given.pairs):
        one, two, plain_one, plain_two = (
            speed(given.model, of, given.batches, given.batch_size, *how)
            for how in ((), ("plain",))
            for of in (1, 2)
        )
        ratios = (two[0] / one[0], two[1] / one[1], plain_two[0] / plain_one[0])
        for name, ratio in zip(names, ratios, strict=True):
            found[name].append(ratio)
        print(
            f"one worker {one[0]:.1f}, two {two[0]:.1f} samples/s each; of linear: "
            + ", ".join(f"{n} {r:.3f}" for n, r in zip(names, ratios, strict=True))
        )
    medians = {name: statistics.median(ratios) for name, ratios in found.items()}
    print(
        f"median of {given.pairs}: {medians['profiled']:.3f} of linear (goal: {GOAL}), "
        f"{medians['by CPU time']:.3f} by CPU time; plain forwards {medians['plain']:.3f}"
    )


if __name__ == "__main__":
    main()
