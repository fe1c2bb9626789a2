"""A profile that is interrupted anywhere leaves the model, the thread and the process as before."""

import gc
import os
import signal
import sys
import threading
import traceback

import pytest
import torch
from fault_models import built, data, models, two_layers
from interrupts import Trace, moments
from snapshots import everything
from torch import nn
from torch.nn.modules import module as nn_module

import analyzer
from analyzer.callbacks import Meter
from analyzer.errors import AnalyzerError, undo_all
from analyzer.measure.hardware import measure_energy
from analyzer.measure.undoing import ModuleHooks, Surroundings, Undo
from analyzer.verification.comparison import verify

pytestmark = [
    pytest.mark.filterwarnings("ignore::analyzer.AnalyzerWarning"),
    # Python has no place to raise what interrupts a callback of its collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def check_interrupts(model, run, number, seed):
    run()
    first, before, raised = run(), everything(model), 0
    lines = moments(run, number, seed)
    for line, time in lines:
        stop = None
        try:
            with Trace(line, time) as trace:
                run()
        except KeyboardInterrupt as error:
            stop = error  # held, as notebooks do, so that nothing ends because it is forgotten
        raised += trace.raised
        assert everything(model) == before, (line, time)
        assert run() == first, (line, time)
        del stop
        gc.collect()
        assert everything(model) == before, (line, time)
    assert raised > len(lines) // 2


def profiled(model, batches):
    return analyzer.profile(model, [b.clone() for b in batches])


def metered(model, batches):
    with torch.autocast("cpu"):
        return Meter(model, batches[0]).measure(0)


def stepped(model, batches):
    found = analyzer.training_memory(model, batches[0])
    return found.saved_bytes, found.gradient_bytes, found.by_module.to_dict()


def verified(model, batches):
    return verify(model, batches[0]).rows


def by_shapes(model, batches):
    return analyzer.count(model, batches[0])


def timed(model, batches):
    return measure_energy(model, batches[:1], seconds=0).samples


MEASURED = [profiled, metered, stepped, verified, by_shapes, timed]


@pytest.mark.parametrize("name", models())
def test_nothing_is_left_of_an_interrupt_at_any_line(name):
    model, batches = built(name, 1), data(1)
    check_interrupts(model, lambda: profiled(model, batches), number=16, seed=1)


@pytest.mark.parametrize("measured", MEASURED[1:])
def test_nothing_is_left_of_an_interrupt_of_other_measurements(measured):
    model, batches = built("spikingjelly", 1), data(1)
    check_interrupts(model, lambda: measured(model, batches), number=8, seed=1)


@pytest.mark.parametrize("measured", MEASURED)
def test_weights_that_a_forward_writes_are_put_back(measured):
    model, batches = built("functional", 1), data(1)
    measured(model, batches)
    before = everything(model)
    measured(model, batches)
    assert everything(model) == before


@pytest.mark.slow
@pytest.mark.parametrize("measured", MEASURED)
@pytest.mark.parametrize("name", models())
def test_nothing_is_left_of_an_interrupt_at_many_lines(measured, name):
    usual = "60" if measured is profiled else "20"
    model, batches, number = built(name, 2), data(2), os.environ.get("ANALYZER_INTERRUPTS", usual)
    check_interrupts(model, lambda: measured(model, batches), int(number), seed=2)


def test_nothing_is_left_of_an_interrupt_of_synops():
    model, (batch, *_) = two_layers(), data(1)
    ops = analyzer.SynOps(model)

    def run():
        try:
            with ops:
                model(batch)
                return float(ops.total())
        except KeyboardInterrupt:
            if interrupts_the_leaving():
                ops.__exit__()  # as the caller would
            raise

    number = int(os.environ.get("ANALYZER_INTERRUPTS", "16"))
    check_interrupts(model, run, number, seed=1)


def interrupts_the_leaving():
    """Whether a block was left by nothing but the interrupt, which nobody can put right."""
    *_, last, _tracer = traceback.extract_tb(sys.exc_info()[2])
    return (last.name, last.line) == ("__exit__", "try:")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_nothing_is_left_of_a_signal_at_any_time():
    model, batches = built("spikingjelly", 3), data(3)
    first, before = analyzer.profile(model, batches), everything(model)

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    stops = 0
    try:
        for i in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-4 + i * 3e-4)
                analyzer.profile(model, [b.clone() for b in batches])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stops += 1
            assert everything(model) == before, i
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert stops > 10
    assert analyzer.profile(model, batches) == first


def test_each_step_runs_whatever_the_others_raise():
    done = []

    def fail(error):
        done.append(error)
        raise error

    with pytest.raises(KeyboardInterrupt):
        undo_all(
            [
                lambda: fail(ValueError("first")),
                lambda: fail(KeyboardInterrupt()),
                lambda: fail(RuntimeError("second")),
                lambda: done.append("last"),
            ]
        )
    assert [type(x).__name__ for x in done] == [
        "ValueError", "KeyboardInterrupt", "KeyboardInterrupt", "RuntimeError", "str",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="first"):
        undo_all([lambda: fail(ValueError("first")), lambda: fail(RuntimeError("second"))])


class Unequal(set):
    locked = False

    def __ne__(self, other):
        if Unequal.locked:
            raise RuntimeError("not comparable")
        return super().__ne__(other)

    __hash__ = None


class Locks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.aaa = Unequal({1})
        self.register_buffer("seen", torch.zeros(3))
        self.numbers = [1]

    def forward(self, x):
        Unequal.locked = True
        self.seen.add_(1)
        self.numbers.append(2)
        self.train()
        torch.rand(1)
        return self.layer(x)


def test_what_can_not_be_put_back_does_not_keep_the_rest():
    model, batch = Locks().eval(), torch.rand(2, 8)
    random = torch.get_rng_state()
    try:
        with pytest.raises(AnalyzerError, match="could not be left as it was: not comparable"):
            analyzer.profile(model, batch)
    finally:
        Unequal.locked = False
    assert model.seen.tolist() == [0, 0, 0]
    assert model.numbers == [1]
    assert not model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert analyzer.profile(nn.Linear(8, 4).eval(), batch).samples == 2


class Plain(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_surroundings_undo_what_was_entered_and_not_left():
    before, done = Surroundings(), []
    hooks = ModuleHooks(lambda *_: None, lambda *_: None, always=True)
    hooks.__enter__()
    Undo(lambda: done.append(1)).__enter__()
    Plain().__enter__()
    torch.set_default_device("cpu")  # a setting of whoever made it, though kept as a function mode
    device, _ = torch.overrides._get_current_function_mode_stack()
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    before.put_back()
    before.put_back()
    assert torch.overrides._get_current_function_mode_stack() == [device]
    torch.set_default_device(None)
    assert not torch.overrides._get_current_function_mode_stack()
    assert done == [1]
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    for table in ("forward_pre_hooks", "forward_hooks", "forward_hooks_always_called"):
        assert not getattr(nn_module, f"_global_{table}")
    hooks.leave()


def test_another_threads_hooks_stay():
    entered, leave = threading.Event(), threading.Event()
    seen = []

    def other():
        with ModuleHooks(lambda module, args: seen.append(module)):
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(20)
    analyzer.profile(nn.Linear(8, 4).eval(), torch.rand(2, 8))
    seen.clear()
    nn.Linear(8, 4)(torch.rand(2, 8))
    leave.set()
    thread.join()
    assert len(seen) == 1
