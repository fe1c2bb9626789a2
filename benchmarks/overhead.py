"""What counting costs: forward with counting / plain forward, ours and that of peers, in one run.

Every ratio is the median of pairs, a plain forward and then a counted one, timed next to each
other in this process. Ours is first a whole profile of one batch, all set-up included, which is
what most people run; then a later batch of a longer profile. Beside the cost stands what each
counter counted, and where that is not what brute force and this package count. Lines "at least"
are no counter: they see every module and contraction, and read each operand with the fastest
reader that PyTorch has. The last table holds the ratios of all networks, and what they shall be.

Usage: python benchmarks/overhead.py [--pairs N] [--cases NAME ...] [--no-peers] [--memory]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from networks import CASES, Case
from peers import PEERS, Figures
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

import analyzer
from analyzer.measure.neurons.registry import dynamics
from analyzer.measure.rules.defaults import default_rules
from analyzer.measure.watch.tap import hooked, unhooked

Pairs = list[tuple[float, float]]

WHOLE, LATER = "ours, a whole profile of one", "ours, a later batch"
SEEING, READING = "at least: seeing", "at least: seeing and torch.sum"

GOALS = {
    ("vit-ti-16", 4): (1.4, 1.28),
    ("vit-ti-16", 16): (1.15, 1.15),
    ("spikformer-8-512", 1): (1.25, 1.12),
    ("spikformer-8-512", 4): (1.1, 1.08),
    ("spiking-cnn", 1): (3.0, 1.42),
    ("spiking-cnn", 16): (1.7, 1.27),
    ("decoder", 1): (4.0, None),
}
"""What a whole profile of one batch and a later batch may cost, by network and batch size."""


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def plain(model: nn.Module, x: Tensor, case: Case) -> float:
    """Seconds of one forward pass, neurons reset."""

    def work() -> None:
        with torch.no_grad():
            case.reset(model)
            model(x)

    return seconds(work)


def in_the_midst(model: nn.Module, x: Tensor, case: Case, pairs: int) -> Pairs:
    """Plain passes and passes of one profile by turns."""
    times: Pairs = []

    def batches() -> Iterator[Tensor]:
        yield from (x, x)
        for _ in range(pairs):
            base = plain(model, x, case)
            start = time.perf_counter()
            yield x  # comes back when the pass has been counted
            times.append((base, time.perf_counter() - start))

    analyzer.profile(model, batches(), progress=False)
    return times


def by_turns(model: nn.Module, x: Tensor, case: Case, pairs: int, counted: Callable) -> Pairs:
    """Plain passes and whole calls of a counter by turns."""

    def work() -> None:
        with torch.no_grad():
            case.reset(model)
            counted(model, x)

    work()
    return [(plain(model, x, case), seconds(work)) for _ in range(pairs)]


def line(name: str, times: Pairs, said: str = "") -> float:
    """Prints one row, the median ratio with its quartiles, and returns the median."""
    low, middle, high = statistics.quantiles([b / a for a, b in times], n=4)
    base = 1000 * statistics.median(a for a, _ in times)
    print(f"{name:32} {base:9.1f} {middle:7.3f} {low:7.3f} to {high:6.3f}  {said}", flush=True)
    return middle


def verdict(figures: Figures, ours: dict[str, Figures]) -> str:
    """What a peer counted, and which reading of ours it equals, if any."""
    words = []
    for what, figure in figures.items():
        same = [name for name, known in ours.items() if known.get(what) == figure]
        right = ours["all"][what]
        if same:
            words.append(f"{what} {figure:,} = {'ours' if 'all' in same else same[0]}")
        else:
            off = f" ({figure / right - 1:+.1%})" if right else ""
            words.append(f"{what} {figure:,} is wrong: {right:,}{off}")
    return "; ".join(words)


def readings(profile: analyzer.Profile) -> dict[str, Figures]:
    """Our figures, and what is left of them where a counter does not look everywhere."""
    rows = profile.operations()
    driven = rows["ac"] > 0
    layers = rows["op"].str.startswith(("conv", "linear"))
    fused = rows["op"].str.startswith("attention")
    some = {
        "all": rows["op"].notna(),
        "layers only (products of activations left out)": layers,
        "without fused attention": ~fused,
    }
    return {
        name: {
            "dense": int(rows["dense_macs"][chosen].sum()),
            "ac": int(rows["ac"][chosen].sum()),
            "mac": int(rows["mac"][chosen].sum()),
            "synops": int(rows["events"][chosen & driven].sum()),
        }
        for name, chosen in some.items()
    }


def firing(model: nn.Module, x: Tensor, case: Case) -> str:
    """Which share of the neurons fires in a timestep, on average; empty where there are none."""
    fired: list[tuple[int, int]] = []
    handles = [
        module.register_forward_hook(
            lambda module, args, out: fired.append((int((out != 0).sum()), out.numel()))
        )
        for module in model.modules()
        if dynamics(module) is not None
    ]
    plain(model, x, case)
    for handle in handles:
        handle.remove()
    spikes, neurons = (sum(column) for column in zip(*fired, strict=True)) if fired else (0, 0)
    return f", {spikes / neurons:.1%} of the neurons fire" if neurons else ""


def at_least(model: nn.Module, x: Tensor, *, reads: bool) -> None:
    """What no counter of events can do without: see modules and contractions, read operands.

    Args:
        model: What runs.
        x: Its input.
        reads: Whether ``torch.sum`` reads what contractions are given, parameters aside.
    """
    rules = default_rules()
    trail: list[nn.Module] = []

    def handler(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with unhooked():
            for operand in args if reads else ():
                if isinstance(operand, Tensor) and operand.ndim > 1:
                    base = operand if operand._base is None else operand._base
                    if not isinstance(base, nn.Parameter):
                        operand.sum()
            return func(*args, **kwargs)

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        trail.append(module)

    names = [n if "::" in n else f"aten::{n}" for n in (*rules.products, *rules.fused)]
    hook = register_module_forward_pre_hook(enter)
    try:
        with hooked(names, handler):
            model(x)
    finally:
        hook.remove()


def run(name: str, case: Case, pairs: int, *, peers: bool) -> dict[int, dict[str, float]]:
    """Prints all rows of one network; returns the ratios by batch size and row."""
    model = case.build()
    ratios: dict[int, dict[str, float]] = {}
    for size in case.sizes:
        torch.manual_seed(1)
        x = torch.rand(size, *case.shape)
        profile = analyzer.profile(model, x)
        activity = profile.sparsity("module")
        rate = activity["nonzeros"].sum() / activity["elements"].sum()
        fire = firing(model, x, case)
        print(f"\n{name}, batch {size}{fire}, {rate:.1%} of what layers read is not zero")
        print(f"{'counter':32} {'plain ms':>9} {'ratio':>7} {'quartiles':>17}  counts")
        totals = readings(profile)
        said = "; ".join(f"{k} {v:,}" for k, v in totals["all"].items())
        found = ratios[size] = {}
        found[WHOLE] = line(WHOLE, by_turns(model, x, case, pairs, analyzer.profile), said)
        found[LATER] = line(LATER, in_the_midst(model, x, case, pairs))
        for what, reads in ((SEEING, False), (READING, True)):
            bare = partial(at_least, reads=reads)
            found[what] = line(what, by_turns(model, x, case, pairs, bare))
        if not peers:
            continue
        few = max(3, pairs // 4)
        for peer, counted in PEERS.items():
            with torch.no_grad():
                case.reset(model)
                try:
                    figures = counted(model, x)
                    times = by_turns(model, x, case, few, counted)
                    found[peer] = line(peer, times, verdict(figures, totals))
                except Exception as error:
                    print(f"{peer:32} fails: {type(error).__name__}: {str(error)[:90]}")
    return ratios


def table(ratios: dict[tuple[str, int], dict[str, float]]) -> None:
    """Prints the ratios of all networks, a column for each, with the goals below ours."""
    print("\nforward with counting / plain forward, medians")
    print(f"{'':32}" + "".join(f"{f'{name[:12]} b{size}':>17}" for name, size in ratios))
    rows = list(dict.fromkeys(row for found in ratios.values() for row in found))
    for row in rows:
        cells = (
            f"{found[row]:17.3f}" if row in found else f"{'-':>17}" for found in ratios.values()
        )
        print(f"{row:32}" + "".join(cells))
        if row in (WHOLE, LATER):
            goals = (GOALS[case][row == LATER] for case in ratios)
            print(f"{'  at most':32}" + "".join(f"{goal or '-':>17}" for goal in goals))


def peak(name: str, size: int, *, profiled: bool) -> int:
    """Bytes of resident memory at the peak of some passes, above what stood there before."""
    case = CASES[name]
    model = case.build()
    x = torch.rand(size, *case.shape)
    analyzer.profile(nn.Linear(2, 2).eval(), torch.rand(2, 2))  # loads and compiles what is needed
    plain(model, x, case)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    if profiled:
        analyzer.profile(model, [x, x, x], progress=False)
    else:
        for _ in range(3):
            plain(model, x, case)
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def memory(names: list[str]) -> None:
    """Peak memory of processes that run plain passes and of ones that profile, medians of three."""
    print(f"\n{'peak resident memory':32} {'plain MiB':>10} {'profiled MiB':>13} {'ratio':>7}")
    for name in names:
        for size in CASES[name].sizes:
            found = []
            for kind in ("plain", "profiled"):
                command = [sys.executable, __file__, "--peak", name, str(size), kind]
                runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(3)]
                found.append(statistics.median(int(r.stdout.split()[-1]) for r in runs) / 2**20)
            print(
                f"{f'{name}, batch {size}':32} {found[0]:10.0f} {found[1]:13.0f} "
                f"{found[1] / found[0]:7.3f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    if chosen.peak:
        name, size, kind = chosen.peak
        print(peak(name, int(size), profiled=kind == "profiled"))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {chosen.pairs} pairs")
    if chosen.memory:
        memory(chosen.cases)
        return
    ratios = {}
    for name in chosen.cases:
        pairs = chosen.pairs * (10 if name == "spiking-cnn" else 1)
        found = run(name, CASES[name], pairs, peers=not chosen.no_peers)
        ratios |= {(name, size): rows for size, rows in found.items()}
    table(ratios)


if __name__ == "__main__":
    main()
