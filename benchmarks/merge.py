"""How long `analyzer merge` takes for many shards of one run, and how much memory.

The shards are copies of one profile, each of them one shard of a run of as many batches. They are
merged as the command does, in a process that loads no torch, twice: a tenth of them and all of
them, so that memory that grows with their number would show.

Usage: python benchmarks/merge.py [--shards N] [--profile FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import analyzer
from analyzer.facts.correct import Correct
from analyzer.facts.shards import Shard

PROFILE = Path(__file__).parents[1] / "profiles" / "ge2mst-tiny.json.gz"
GOAL_S = 10.0

MEASURED = """
import json, resource, sys, time
from pathlib import Path
import analyzer
from analyzer.merging import merge
paths = sorted(Path(sys.argv[1]).glob("*.json.gz"))
start, cpu = time.perf_counter(), time.process_time()
whole = merge(paths)
taken, cpu = time.perf_counter() - start, time.process_time() - cpu
assert "torch" not in sys.modules
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": taken, "cpu": cpu, "peak_bytes": peak, "samples": whole.samples}))
"""


def write_shards(profile: analyzer.Profile, number: int, folder: Path) -> None:
    """Writes a run of so many shards."""
    for index in range(1, number + 1):
        shard = Shard(
            index, number, index - 1, index, number, "0" * 16, Correct(profile.correct), (0, 0, 1)
        )
        metadata = {**profile.metadata, "shard": shard.as_metadata()}
        replace(profile, metadata=metadata).save(folder / f"{index:05}.json.gz")


def measured(profile: analyzer.Profile, number: int) -> dict[str, float]:
    """Seconds, peak bytes and samples of the merge of so many shards."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(profile, number, Path(folder))
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, folder], capture_output=True, text=True, check=True
        )
    found: dict[str, float] = json.loads(done.stdout)
    assert found["samples"] == number * profile.samples
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--profile", type=Path, default=PROFILE)
    given = parser.parse_args()
    profile = analyzer.load(given.profile)
    sites = len(profile.contractions) + len(profile.tallies)
    print(f"{given.profile.name}: {sites} records, {given.profile.stat().st_size:,} bytes a file")
    few, many = (measured(profile, n) for n in (max(given.shards // 10, 1), given.shards))
    print(
        f"{given.shards} shards: {many['seconds']:.2f} s, of which {many['cpu']:.2f} s on a core "
        f"(goal: under {GOAL_S:g} s on a machine with a free core)"
    )
    grown = many["peak_bytes"] - few["peak_bytes"]
    print(
        f"peak memory: {many['peak_bytes'] / 2**20:.0f} MiB, {grown / 2**20:+.1f} MiB beside a "
        "tenth of the shards"
    )


if __name__ == "__main__":
    main()
