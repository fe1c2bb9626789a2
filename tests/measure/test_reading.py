"""Tensors are read with the same integers whatever the machine offers, or refused in a sentence."""

import os
import shutil
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_tensors import tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import analyzer
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.measure.read import compiling, kernels, loop_parts, readable
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.groups import grouping
from analyzer.measure.read.readable import reading
from analyzer.measure.read.statistics import prepared_reader, read_statistics
from analyzer.measure.read.strides import loop_nest

PACKAGE = Path(analyzer.__file__).parent

SCRIPT = """
import os, signal, sys, threading
import torch
from analyzer.measure.read.activity import Activity
from analyzer.measure.read.groups import grouping

generator = torch.Generator().manual_seed(0)
graded = torch.randint(-2, 4, (6, 50, 40, 30), generator=generator).float()
spikes = torch.rand(4, 300, 400, generator=generator) < 0.2

graded = graded, graded.transpose(1, 3), graded.half() / 4, graded + 0.123, graded.to(torch.int8)

def facts(place):
    for at, x in enumerate((spikes, *graded, graded[0][0][..., ::2])):
        if "few" in sys.argv and at > 1:
            continue
        read = Activity.read(x, (1,), 2)
        levels = 0 if read.values.real else int((read.levels(x, (1,), 2) ** 2).sum())
        squares = int((read.counts(x, (1,), 2) ** 2).sum())
        print(place, at, read.nonzeros, read.values.kind, squares, levels, flush=True)
    plan = grouping("T B C", (4, 300, 400), spikes.stride(), {"T": 4}, {"structural": 7})
    print(place, plan.fold(plan.count(spikes))["structural"].tolist(), flush=True)

facts("main")
if "all" in sys.argv:
    thread = threading.Thread(target=facts, args=("thread",))
    thread.start()
    thread.join()
    child = os.fork()
    if not child:
        signal.alarm(120)
        facts("fork")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def facts(*arguments, **environment):
    """The lines that the script prints in a new process, without the names of places."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "ANALYZER_READING")}
    run = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *arguments],
        env=kept | {"PYTHONPATH": str(PACKAGE.parent)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return [line.split(" ", 1)[1] for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def expected():
    """The facts by plain reading in a process of one thread."""
    return facts(OMP_NUM_THREADS="1", ANALYZER_READING="plain")


def few(lines):
    """Those that need few compiled loops."""
    return [*lines[:2], lines[-1]]


@pytest.mark.parametrize("threads", ["1", "2", "8"])
def test_any_number_of_threads_a_python_thread_and_a_fork(threads, expected):
    """GNU's OpenMP waits for ever for the threads of its pool in a fork of the process."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    assert facts("all", OMP_NUM_THREADS=threads) == expected * 3


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a copy of the package where nothing can be written.

    A file in the place of a directory keeps even root from writing there.
    """
    home = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, home / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "analyzer" / "measure" / "read" / "__pycache__").touch()
    (home / "file").touch()
    nowhere = str(home / "file" / "nowhere")
    return {"PYTHONPATH": str(home), "HOME": nowhere, "XDG_CACHE_HOME": nowhere}


@pytest.mark.slow
def test_an_install_where_nothing_can_be_written(installed, expected):
    assert facts("few", **installed) == few(expected)


def damaged(content):
    """A file as a full disk, a crash or a bad disk leave it."""
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return [b"", content[:20], content[: len(content) // 2], content[:-1], bytes(flipped), b"x"]


@pytest.mark.slow
def test_damaged_files_of_compiled_code(tmp_path, installed, expected):
    """Each file in another way: loading such code would end the process."""
    cache = installed | {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert facts("few", **cache) == few(expected)
    files = sorted(tmp_path.rglob("*.code"))
    good = [file.read_bytes() for file in files]
    assert len(files) > 3
    for at, (file, content) in enumerate(zip(files, good, strict=True)):
        ways = damaged(content)
        file.write_bytes(ways[at % len(ways)])
    assert facts("few", **cache) == few(expected)
    assert sorted(tmp_path.rglob("*.code")) == files
    assert all(len(file.read_bytes()) > 1000 for file in files)


def compiled_in(place, monkeypatch):
    """Files in a directory after a loop was compiled that may be kept there."""
    monkeypatch.setattr(compiling, "directories", lambda: (place,))
    kernels.count_by_chunk.__wrapped__(4, False)
    return list(place.rglob("*chunk-4*"))


def test_compiled_code_is_kept_and_loaded(tmp_path, monkeypatch):
    (file,) = compiled_in(tmp_path, monkeypatch)
    before = file.stat().st_mtime_ns
    saved = []
    monkeypatch.setattr(compiling.CodeCache, "save_overload", lambda *given: saved.append(given))
    assert compiled_in(tmp_path, monkeypatch) == [file]
    assert (file.stat().st_mtime_ns, saved) == (before, [])


@pytest.mark.parametrize("way", range(6))
def test_a_damaged_file_is_replaced(tmp_path, monkeypatch, way):
    (file,) = compiled_in(tmp_path, monkeypatch)
    size = file.stat().st_size
    file.write_bytes(damaged(file.read_bytes())[way])
    assert compiled_in(tmp_path, monkeypatch) == [file]
    assert abs(file.stat().st_size - size) < size / 10


def test_a_folder_in_the_place_of_a_file_or_one_that_takes_no_file(tmp_path, monkeypatch):
    (file,) = compiled_in(tmp_path / "first", monkeypatch)
    blocked = tmp_path / "second" / file.name
    blocked.mkdir(parents=True)
    assert compiled_in(tmp_path / "second", monkeypatch) == [blocked]
    assert not list(blocked.iterdir())
    (tmp_path / "third").write_text("a file where the folder should be")
    assert compiled_in(tmp_path / "third", monkeypatch) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert compiled_in(tmp_path, monkeypatch) == []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tensors(), st.data())
def test_plain_and_compiled_reading_agree(tensor, data):
    axes = range(tensor.ndim)
    keep = tuple(sorted(data.draw(st.sets(st.sampled_from(axes), max_size=tensor.ndim))))
    steps = data.draw(st.sampled_from([s for s in (1, 2, 3) if tensor.shape[0] % s == 0]))
    tensor = tensor.to(data.draw(st.sampled_from([tensor.dtype, torch.int64, torch.int8])))
    found = []
    for way in ("compiled", "plain"):
        with reading(way):
            activity = Activity.read(tensor, keep, steps)
            counts = activity.counts(tensor, keep, steps)
            levels = None if activity.values.real else activity.levels(tensor, keep, steps)
        assert counts.dtype == np.int64
        assert levels is None or levels.dtype == np.int64
        levels = None if levels is None else levels.tolist()
        found.append((activity.nonzeros, activity.values, counts.tolist(), levels))
    assert found[0] == found[1]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tensors(), st.data())
def test_plain_and_compiled_statistics_agree(tensor, data):
    keep = tuple(data.draw(st.sets(st.sampled_from(range(tensor.ndim)))))
    nest = loop_nest(tensor.shape, tensor.stride(), keep)
    if nest is None:
        return
    found = []
    for way in ("compiled", "plain"):
        with reading(way):
            statistics = read_statistics(tensor, nest)
        found.append((statistics.counts().tolist(), statistics[:4]))
    assert found[0] == found[1]


def test_a_profile_by_plain_reading_is_the_same():
    model = analyzer.models.build("spikformer-tiny", timesteps=2).eval()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    compiled = analyzer.profile(model, images)
    with reading("plain"):
        plain = analyzer.profile(model, images)
    assert (plain.contractions, plain.groups) == (compiled.contractions, compiled.groups)


def test_the_way_of_reading_is_plain_or_compiled(monkeypatch):
    with (
        pytest.raises(AnalyzerError, match="must be 'compiled' or 'plain', not 'fast'"),
        reading("fast"),
    ):
        pass
    monkeypatch.setenv("ANALYZER_READING", "quick")
    readable._of_environment.cache_clear()
    try:
        with pytest.raises(AnalyzerError, match=r"environment's ANALYZER_READING.*'quick'"):
            Activity.read(torch.ones(3))
    finally:
        readable._of_environment.cache_clear()


def test_a_loop_that_can_not_be_compiled(monkeypatch):
    def fails(loop, name):
        raise RuntimeError("no such target")

    monkeypatch.setattr(loop_parts, "compile_loop", fails)
    with pytest.warns(AnalyzerWarning, match=r"RuntimeError: no such target.*counts the same"):
        assert kernels.count_by_chunk.__wrapped__(4, False) is None


def test_without_a_compiler(monkeypatch):
    """Numba refuses to be imported beside a NumPy that is newer than it knows."""
    x = (torch.rand(6, 40, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = Activity.read(x, (1,)).counts(x, (1,)).tolist()

    def missing(name):
        raise ImportError("Numba needs another NumPy")

    readable.compiled.cache_clear()
    monkeypatch.setattr(readable, "import_module", missing)
    try:
        assert Activity.read(x, (1,)).counts(x, (1,)).tolist() == expected
        plan = grouping("B C", x.shape, x.stride(), {}, {"structural": 2})
        assert plan.fold(plan.count(x))["structural"].sum() == int(x.sum())
    finally:
        monkeypatch.undo()
        readable.compiled.cache_clear()


class Packed(torch.Tensor):
    """A float32 tensor of which only int8 numbers are in memory."""

    @staticmethod
    def __new__(cls, q):
        return torch.Tensor._make_wrapper_subclass(cls, q.shape, q.stride(), dtype=torch.float32)

    def __init__(self, q):
        self.q = q

    allowed = None

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if cls.allowed is not None and function.overloadpacket not in cls.allowed:
            raise NotImplementedError(str(function))
        args = [a.q.float() / 4 if isinstance(a, Packed) else a for a in args]
        return function(*args, **(kwargs or {}))


class OnlyAdds(Packed):
    allowed = (torch.ops.aten.add,)


class OnlyDequantizes(Packed):
    allowed = (torch.ops.aten.dequantize,)


class Opaque(Packed):
    allowed = ()


@pytest.mark.parametrize("kind", [Packed, OnlyAdds, OnlyDequantizes])
@pytest.mark.parametrize("expanded", [False, True])
def test_a_wrapper_whose_values_can_be_had_is_counted(kind, expanded):
    q = torch.randint(-3, 4, (5, 8), generator=torch.Generator().manual_seed(0), dtype=torch.int8).T
    q = q[:1].expand(3, 5) if expanded else q
    found = Activity.read(kind(q), (1,))
    assert found.counts(kind(q), (1,)).tolist() == [(q != 0).sum(0).tolist()]
    assert found.levels(kind(q), (1,)).tolist() == [q.abs().sum(0, dtype=torch.int64).tolist()]
    assert (found.values.step, found.nonzeros) == (0.25, int((q != 0).sum()))


def test_a_prepared_reader_reads_a_wrapper_of_the_same_layout():
    x = torch.randint(-3, 4, (5, 8), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    wrapper = Packed(x)
    for keep in ((), (1,)):
        reader = prepared_reader(wrapper.shape, wrapper.stride(), wrapper.dtype, keep, 1, False, 1)
        of_values, of_wrapper = reader(x.float() / 4), reader(wrapper)
        assert of_wrapper.counts().tolist() == of_values.counts().tolist()
        assert of_wrapper[:4] == of_values[:4]


def freed():
    tensor = torch.ones(4, 5)
    tensor.untyped_storage().resize_(0)
    return tensor


def shortened():
    tensor = torch.ones(4, 5)
    tensor.untyped_storage().resize_(40)
    return tensor


def fake():
    with FakeTensorMode():
        return torch.ones(4, 5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Opaque(torch.ones(4, 5)), r"test_reading\.Opaque"),
        (fake, r"fake_tensor\.FakeTensor"),
        (lambda: torch.ones(4, 5, device="meta"), r"Tensor of shape \(4, 5\) on device meta"),
        (freed, r"torch\.Tensor"),
        (shortened, r"torch\.Tensor"),
    ],
    ids=["opaque", "fake", "meta", "freed", "shortened"],
)
@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_what_has_no_values_is_refused(make, name, way):
    with reading(way), pytest.raises(AnalyzerError, match=name + ".*analyzer.count"):
        Activity.read(make())


def test_a_weight_without_values_is_refused_by_module_and_type():
    model = nn.Sequential(nn.Linear(5, 4, bias=False)).eval()

    class Weightless(Packed):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            if function.overloadpacket in (torch.ops.aten.detach, torch.ops.aten.t):
                return Weightless(function(args[0].q))
            if function.overloadpacket is not torch.ops.aten.mm:
                raise NotImplementedError(str(function))
            return super().__torch_dispatch__(function, types, args, kwargs)

    model[0].weight = nn.Parameter(Weightless(torch.ones(4, 5)), requires_grad=False)
    with pytest.raises(AnalyzerError, match=r"module '0'.*the weights.*Weightless"):
        analyzer.profile(model, torch.rand(2, 5))


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_zeros_without_memory_and_negated_views_are_counted(way):
    with reading(way):
        assert Activity.read(torch._efficientzerotensor((4, 5))).nonzeros == 0
        negated = torch.conj(torch.tensor([1 + 2j, 0j, 3 - 1j])).imag
        assert negated.is_neg()
        found = Activity.read(negated)
    assert (found.nonzeros, found.values.low, found.values.high) == (2, -2, 1)


def test_a_subclass_over_ordinary_memory_is_read_where_it_is():
    class Named(torch.Tensor):
        pass

    x = torch.eye(4).as_subclass(Named)
    assert readable.ordinary(x) is x
    assert Activity.read(x).nonzeros == 4


def test_a_distributed_tensor_is_counted():
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("PyTorch without distributed")
    from torch.distributed.tensor import DTensor, Replicate, Shard, init_device_mesh

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        x = (torch.rand(6, 10, generator=torch.Generator().manual_seed(0)) < 0.5).float()
        for placement in (Shard(0), Replicate()):
            wrapped = DTensor.from_local(x, mesh, [placement])
            assert Activity.read(wrapped, (1,)).counts(wrapped, (1,)).tolist() == [
                x.sum(0).tolist()
            ]
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_an_unsigned_integer_beyond_int64_is_refused(way):
    x = torch.tensor([2**62, 0]).view(torch.uint64)
    with reading(way):
        assert Activity.read(x).nonzeros == 1
        with pytest.raises(AnalyzerError, match="2\\^63"):
            Activity.read(torch.tensor([-1, 0]).view(torch.uint64))


def test_levels_beyond_int32():
    """The sum over the rows of one position is more than an int32 holds."""
    rows = 8_421_505
    x = torch.full((rows, 2), 255.0)
    x[0] = 1.0
    found = Activity.read(x, (1,))
    assert found.levels(x, (1,)).tolist() == [[255 * (rows - 1) + 1] * 2]
    assert found.levels(x).tolist() == [[2 * (255 * (rows - 1) + 1)]]


def test_products_of_counts_beyond_int32():
    """Heads are read row by row, as they are interleaved in memory: their counts were int32."""
    stored = torch.ones(1, 60_000, 2, 4)
    stored[0, 0] = 0
    heads = stored.transpose(1, 2)
    (counts,) = Activity.read(heads, (0, 1, 3)).counts(heads, (0, 1, 3))
    assert int(counts @ counts) == 8 * 59_999**2
