"""Work that a forward does in other threads: counted in its module, or refused; never lost."""

import _thread
import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest
import torch
from test_concurrent_profiles import at_once
from torch import nn
from torch.utils import _python_dispatch

import analyzer
from analyzer.errors import AnalyzerError

pytestmark = pytest.mark.filterwarnings("error::analyzer.AnalyzerWarning")


class Branches(nn.Module):
    """Branches that read spikes, run in one way or another."""

    def __init__(self, how=None):
        super().__init__()
        torch.manual_seed(0)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 5 + i), nn.Sigmoid(), nn.Linear(5 + i, 3)) for i in range(3)
        )
        self.how = how or in_turn
        self.eval()

    def forward(self, x):
        return sum(self.how(list(self.branches), x))


def in_turn(branches, x):
    return [branch(x) for branch in branches]


def by_threads(branches, x):
    found = [None] * len(branches)

    def run(i):
        found[i] = branches[i](x)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(branches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Thread(threading.Thread):
    def __init__(self, branch, x):
        super().__init__()
        self.branch, self.x = branch, x

    def run(self):
        self.found = self.branch(self.x)


def by_subclass(branches, x):
    threads = [Thread(branch, x) for branch in branches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [thread.found for thread in threads]


def by_thread_in_thread(branches, x):
    found = []
    outer = threading.Thread(target=lambda: found.extend(by_subclass(branches, x)))
    outer.start()
    outer.join()
    return found


def by_executor(branches, x):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda branch: branch(x), branches))


def by_thread_pool(branches, x):
    with ThreadPool(2) as pool:
        return pool.map(func=lambda branch: branch(x), iterable=branches)


def by_results_in_any_order(branches, x):
    with ThreadPool(2) as pool:
        return list(pool.imap_unordered(lambda branch: branch(x), branches))


def by_asyncio(branches, x):
    async def gather():
        return await asyncio.gather(*(asyncio.to_thread(branch, x) for branch in branches))

    return asyncio.run(gather())


def by_fork(branches, x):
    return [torch.jit.wait(future) for future in [torch.jit.fork(b, x) for b in branches]]


class OfThePool:
    """A pool whose threads ran long before the forward, and serve others too."""

    def __init__(self, kind):
        self.pool = kind(2)
        self.pool.map(abs, range(4))
        self.__name__ = f"by_old_{kind.__name__}"

    def __call__(self, branches, x):
        return list(self.pool.map(lambda branch: branch(x), branches))


WAYS = [
    by_threads, by_subclass, by_thread_in_thread, by_executor, by_thread_pool,
    by_results_in_any_order, by_asyncio, by_fork, OfThePool(ThreadPoolExecutor),
    OfThePool(ThreadPool),
]  # fmt: skip


def spikes(n=3, samples=4):
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(samples, 6, generator=generator) < 0.4).float() for _ in range(n)]


def table(profile):
    keys = ["module", "op", "input_class"]
    return profile.operations().sort_values(keys).to_dict("records")


@pytest.mark.parametrize("how", WAYS, ids=lambda way: way.__name__)
def test_branches_in_threads_count_in_their_modules(how):
    expected = analyzer.profile(Branches(), spikes(), watch="every")
    for watch in ("first", "every"):
        found = analyzer.profile(Branches(how), spikes(), watch=watch)
        assert table(found) == table(expected)
        assert found.totals == expected.totals


def test_what_is_no_module_counts_where_the_thread_was_started():
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList(torch.rand(6, 2) for _ in range(2))

        def forward(self, x):
            with ThreadPoolExecutor(2) as pool:
                return sum(pool.map(lambda w: (x @ w).exp(), self.weights))

    model = nn.Sequential(nn.Linear(6, 6), Products()).eval()
    found = analyzer.profile(model, spikes())
    rows = found.operations().groupby("module")["dense_macs"].sum()
    assert rows.to_dict() == {"0": 3 * 4 * 36, "1": 3 * 4 * 2 * 12}
    assert found.totals["specials"] == 3 * 4 * 4


class Once(nn.Module):
    """Gives one branch to a thread, in its second call only."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        CALLS.append(1)
        y = self.a(x)
        if len(CALLS) == 2:
            y = y + by_executor([self.b], x)[0]
        return y


CALLS = []


def test_a_later_pass_that_begins_to_use_threads_is_run_again():
    """The second run of the pass is the third call, so what the thread did is no part of it."""
    CALLS.clear()
    found = analyzer.profile(Once().eval(), spikes(4))
    assert found.metadata["passes"] == {"full": 4, "replayed": 0, "missed": 1}
    assert found.totals["dense_macs"] == 4 * 4 * 24


def test_threads_that_do_not_compute_leave_later_passes_cheap():
    class Logs(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 4)

        def forward(self, x):
            thread = threading.Thread(target=time.time)
            thread.start()
            return self.a(x)

    passes = analyzer.profile(Logs().eval(), spikes()).metadata["passes"]
    assert passes == {"full": 1, "replayed": 2, "missed": 0}


def test_others_threads_do_not_count():
    """One thread runs the same layers in a pool of its own, and one another model, meanwhile."""
    model, other = Branches(by_executor), Branches(by_executor)
    expected = table(analyzer.profile(model, spikes(12)))
    pool = ThreadPoolExecutor(2)

    def use():
        for _ in range(30):
            list(pool.map(lambda x: other(x), spikes()))

    found, used = at_once(lambda: analyzer.profile(model, spikes(12)), use)
    assert used is None
    assert table(found) == expected


def test_two_profiles_of_models_with_threads_at_once():
    models = [Branches(by_executor), Branches(by_threads)]
    expected = [table(analyzer.profile(model, spikes(8))) for model in models]
    found = at_once(*(lambda m=m: analyzer.profile(m, spikes(8)) for m in models))
    assert [table(profile) for profile in found] == expected
    assert not _python_dispatch.is_in_torch_dispatch_mode()


def by_bare_threads(branches, x):
    done: queue.Queue = queue.Queue()
    for branch in branches:
        _thread.start_new_thread(lambda branch=branch: done.put(branch(x)), ())
    return [done.get() for _ in branches]


class Worker:
    """A thread that waits for work, from the start on."""

    __name__ = "by_a_worker"

    def __init__(self):
        self.todo, self.done = queue.Queue(), queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            branch, x = self.todo.get()
            self.done.put(branch(x))

    def __call__(self, branches, x):
        for branch in branches:
            self.todo.put((branch, x))
        return [self.done.get() for _ in branches]


@pytest.mark.parametrize("how", [by_bare_threads, Worker()], ids=lambda way: way.__name__)
@pytest.mark.parametrize("watch", ["first", "every"])
def test_work_in_threads_of_unknown_origin_is_refused(how, watch):
    with pytest.raises(AnalyzerError, match=r"'branches\.\d' ran in a thread that the forward did"):
        analyzer.profile(Branches(how), spikes(), watch=watch)


def test_work_that_goes_on_after_the_forward_is_refused():
    stop = threading.Event()

    class GoesOn(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 4)

        def forward(self, x):
            begun = threading.Event()

            def run():
                self.a(x)
                begun.set()
                stop.wait(20)

            threading.Thread(target=run, daemon=True).start()
            begun.wait()
            return self.a(x)

    model = nn.Sequential(GoesOn()).eval()
    with pytest.raises(AnalyzerError, match="module '0' started a thread that goes on computing"):
        analyzer.profile(model, spikes(1)[0])
    stop.set()


@pytest.mark.parametrize("how", [by_threads, by_executor])
def test_what_is_not_finite_is_named_also_where_a_thread_catches_it(how):
    class Careful(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            try:
                return self.layer(x * float("nan"))
            except Exception:
                return x[:, :3]

    model = Branches(how)
    model.branches[1] = Careful(model.branches[1]).eval()
    with pytest.raises(AnalyzerError, match=r"'branches\.1\.layer\.0'.*NaN or infinite"):
        analyzer.profile(model, spikes())


def test_threads_and_pools_are_as_they_were():
    before = [threading.Thread.start, ThreadPoolExecutor.submit, vars(ThreadPool).copy()]
    analyzer.profile(Branches(by_executor), spikes())
    with pytest.raises(AnalyzerError):
        analyzer.profile(Branches(by_bare_threads), spikes())
    assert [threading.Thread.start, ThreadPoolExecutor.submit, vars(ThreadPool).copy()] == before
    thread = Thread(nn.Identity(), 1)
    thread.start()
    thread.join()
    assert "run" not in vars(thread)


def test_data_parallel_counts_as_the_model_where_it_is_not_split():
    model = Branches()
    found = analyzer.profile(nn.DataParallel(model).eval(), spikes())
    assert found.totals == analyzer.profile(model, spikes()).totals


def test_data_parallel_over_several_devices_is_refused():
    model = nn.DataParallel(nn.Linear(6, 2)).eval()
    model.device_ids = [0, 1]
    with pytest.raises(AnalyzerError, match=r"DataParallel, runs copies .* profile its \.module\."):
        analyzer.profile(model, spikes())
