"""A profile inside of a profile, and profiles in several threads: right or refused, never wrong."""

import json
import subprocess
import sys
import threading

import pytest
import torch
from fault_models import built, data, two_layers
from snapshots import everything
from torch import nn

import analyzer
from analyzer.errors import AnalyzerError

pytestmark = pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning")


def at_once(*jobs):
    """Runs functions in threads that start together; returns what they returned or raised."""
    results = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def run(i):
        barrier.wait()
        try:
            results[i] = jobs[i]()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def test_a_profile_inside_the_forward_of_a_profiled_model():
    """Either both profiles are right, or the inner one is refused in a clear sentence."""
    found = []

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = two_layers()

        def forward(self, x):
            found.append(analyzer.profile(self.inner, x))
            return self.inner(x)

    model, (x, *_) = Outer().eval(), data(1)
    alone = analyzer.profile(model.inner, x)
    before = everything(model)
    try:
        outer = analyzer.profile(model, x)
    except AnalyzerError as error:
        refusal = str(error)
    else:
        refusal = "profil"
        assert found[0] == alone
        assert set(outer.operations()["module"]) == {"inner.0", "inner.2"}
        for key in ("dense_macs", "events", "unary_events"):
            assert outer.totals[key] in (alone.totals[key], 2 * alone.totals[key])
    assert "profil" in refusal
    assert everything(model) == before
    assert analyzer.profile(model.inner, x) == alone


def test_two_threads_profile_two_models():
    one, other = two_layers(), built("attention", 3).eval()
    batches = data(2, 20)
    alone = analyzer.profile(one, batches), analyzer.profile(other, batches)
    before = everything(one), everything(other)
    both = at_once(lambda: analyzer.profile(one, batches), lambda: analyzer.profile(other, batches))
    assert both == [*alone]
    assert (everything(one), everything(other)) == before


def test_two_threads_profile_one_model():
    """Right, or refused; never wrong."""
    model, batches = two_layers(), data(3, 20)
    alone = analyzer.profile(model, batches)
    before = everything(model)
    for result in at_once(*[lambda: analyzer.profile(model, batches)] * 3):
        assert result == alone or isinstance(result, AnalyzerError), result
    assert everything(model) == before
    assert analyzer.profile(model, batches) == alone


def test_another_thread_uses_the_model_meanwhile():
    """Global hooks see the modules of all threads; only those of the profile's own may count."""
    model, batches = two_layers(), data(4, 20)
    alone = analyzer.profile(model, batches)
    before = everything(model)

    def use():
        for _ in range(200):
            with torch.no_grad():
                model(batches[0])

    result, failed = at_once(lambda: analyzer.profile(model, batches), use)
    assert failed is None
    assert result == alone
    assert everything(model) == before


FIRST_USE = """
import json, sys, threading, torch, analyzer
from torch import nn

sys.setswitchinterval(1e-5)
barrier, found = threading.Barrier(16), [None] * 16
data = [(torch.arange(128).reshape(2, 1, 8, 8) % 3 == 0).float()] * 3

def work(i):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8)).eval()
    for p in model.parameters():
        nn.init.constant_(p, 0.5)
    barrier.wait()
    try:
        profile = analyzer.profile(model, data)
        found[i] = [profile.totals, profile.metadata["passes"]]
    except BaseException as error:
        found[i] = repr(error)

threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
[t.start() for t in threads], [t.join() for t in threads]
print(json.dumps(found))
"""


@pytest.mark.parametrize("try_", range(2))
def test_sixteen_threads_are_the_first_to_profile(try_):
    run = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True)
    found = json.loads(run.stdout)
    assert found[0][1] == {"full": 1, "replayed": 2, "missed": 0}, found[0]
    assert found == found[:1] * 16
    assert "multiple backend" not in run.stderr
