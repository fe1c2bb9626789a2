"""How well profiling scales: samples per second of two workers beside those of one.

Every worker has one thread. One worker profiles all samples; two workers, started at once, each
profile their share, as `torchrun --nproc-per-node 2 -m analyzer profile` has them do. What is timed
is the measuring, not the start of Python. The figure is the samples per second per worker of two,
divided by those of one, the median of pairs in this run. It needs a machine with two free cores: on
a busy one the workers share what is left. Beside it stands the same ratio by seconds of the CPU,
which says how much work two workers do more than one, and hardly depends on who else is busy.

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
index, of, batches, size = map(int, sys.argv[2:])
torch.manual_seed(0)
model = models.build(sys.argv[1], pretrained=False).eval()
shape = models.describe(sys.argv[1]).input_shape
loader = [torch.rand(size, *shape) for _ in range(batches)]
analyzer.profile(model, loader[:2], progress=False)  # compiled loops are loaded
print("ready", flush=True)
sys.stdin.readline()
start, cpu = time.perf_counter(), time.process_time()
profile = analyzer.profile(model, loader, shard=(index, of), progress=False)
print(profile.samples, time.perf_counter() - start, time.process_time() - cpu, flush=True)
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


def speed(model: str, of: int, batches: int, size: int) -> tuple[float, float]:
    """Samples per second per worker, by the slowest one, and per second of the CPU."""
    workers = [started(model, str(i + 1), str(of), str(batches), str(size)) for i in range(of)]
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
    ratios, work = [], []
    for _ in range(given.pairs):
        one, two = (speed(given.model, n, given.batches, given.batch_size) for n in (1, 2))
        ratios.append(two[0] / one[0])
        work.append(two[1] / one[1])
        print(
            f"one worker {one[0]:.1f}, two {two[0]:.1f} samples/s each: {ratios[-1]:.3f} of "
            f"linear, {work[-1]:.3f} by CPU time"
        )
    print(
        f"median of {given.pairs}: {statistics.median(ratios):.3f} of linear (goal: {GOAL}), "
        f"{statistics.median(work):.3f} by CPU time"
    )


if __name__ == "__main__":
    main()
