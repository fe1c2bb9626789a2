"""Code of the user's that a command runs neither ends it, nor moves it, nor silences it."""

import json
import os
import signal
import sys
import textwrap
import warnings

import pytest
import torch

from analyzer.cli.hosting import hosted
from analyzer.errors import AnalyzerError, AnalyzerWarning

from .running import run_apart

FILE = """
import os, signal, sys, warnings
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {in_init}
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        {in_forward}
        return self.layer(x)
{at_import}
"""


class AttackError(BaseException):
    pass


def attacked(tmp_path, *words, where="in_init", code="pass", **more):
    places = dict.fromkeys(("in_init", "in_forward", "at_import"), "pass") | {where: code}
    (tmp_path / "nets.py").write_text(textwrap.dedent(FILE).format(**places))
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    return run_apart(*words, cwd=tmp_path, check=False, **more)


PROFILE = ("profile", "nets.py:Net", "--input", "4", "--samples", "3", "-o", "out.json")
PLACES = ("in_init", "in_forward", "at_import")


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.exit()", "ended the program (sys.exit) and left no model"),
        ("sys.exit('no data here')", "ended the program (sys.exit: no data here)"),
        ("raise EOFError('Ran out of input')", "EOFError: Ran out of input"),
        ("raise BaseException('odd')", "raised BaseException: odd"),
        ("raise GeneratorExit", "raised GeneratorExit"),
    ],
)
def test_what_ends_the_program_is_said(tmp_path, where, code, says):
    done = attacked(tmp_path, *PROFILE, where=where, code=code)
    assert done.returncode == 1, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("where", PLACES)
def test_what_is_changed_in_the_process_changes_no_result(tmp_path, where):
    changes = (
        "os.chdir('elsewhere') if os.path.isdir('elsewhere') else None; sys.argv[:] = ['x']; "
        "sys.stdout = open(os.devnull, 'w'); sys.stderr = open(os.devnull, 'w'); "
        "warnings.simplefilter('ignore'); signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "torch.set_grad_enabled(False); "
        "print('a word of mine')"
    )
    done = attacked(tmp_path, *PROFILE, where=where, code=changes)
    assert done.returncode == 0, done.stderr
    assert "saved out.json" in done.stderr
    assert not done.stdout
    assert json.loads((tmp_path / "out.json").read_text())


@pytest.mark.parametrize("where", PLACES)
def test_what_is_printed_is_apart_from_the_result(tmp_path, where):
    done = attacked(
        tmp_path, "count", "nets.py:Net", "--input", "4", where=where, code="print('my word')"
    )
    assert done.returncode == 0, done.stderr
    assert "my word" in done.stderr
    assert "my word" not in done.stdout
    assert "parameters" in done.stdout


@pytest.mark.parametrize("default", ["set_default_device('meta')", "set_default_dtype(torch.half)"])
def test_data_are_on_the_cpu_whatever_the_file_sets(tmp_path, default):
    """A number format of the model's own does not fit data of float32, which is said."""
    done = attacked(tmp_path, *PROFILE, where="at_import", code=f"torch.{default}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_process_is_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = (os.getcwd(), list(sys.argv), sys.stdout, sys.stderr, warnings.showwarning)
    handlers = [signal.getsignal(s) for s in signal.valid_signals()]
    with warnings.catch_warnings(record=True) as heard:
        with pytest.raises(ValueError, match="mine"), hosted("nets.py:Net"):  # noqa: PT012
            os.chdir("/")
            sys.argv.append("more")
            sys.stdout = sys.stderr = None
            warnings.showwarning = None
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            torch.set_grad_enabled(False)
            raise ValueError("mine")
        warnings.warn("heard", AnalyzerWarning, stacklevel=1)
        warnings.warn("silenced by the user", UserWarning, stacklevel=1)
    assert [str(w.message) for w in heard] == ["heard"]
    assert (os.getcwd(), list(sys.argv), sys.stdout, sys.stderr, warnings.showwarning) == before
    assert [signal.getsignal(s) for s in signal.valid_signals()] == handlers
    assert torch.is_grad_enabled()


def test_an_interrupt_stays_one():
    with pytest.raises(KeyboardInterrupt), hosted("nets.py:Net"):
        raise KeyboardInterrupt
    with (
        pytest.raises(AnalyzerError, match="raised AttackError: x"),
        hosted("nets.py:Net"),
    ):
        raise AttackError("x")


class Filter(tuple):
    """A filter of warnings; Ctrl-C is pressed when it is first compared, as happens on leaving."""

    __hash__ = None

    def __ne__(self, other):
        return not self == other

    def __eq__(self, other):
        if not PRESSED:
            PRESSED.append(True)
            signal.raise_signal(signal.SIGINT)
        return False


PRESSED = []


def test_an_interrupt_while_things_are_put_back_does_not_keep_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.getcwd(), signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt), hosted("nets.py:Net"):  # noqa: PT012
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        torch.set_grad_enabled(False)
        warnings.filters[0] = Filter(warnings.filters[0])
    assert PRESSED
    assert (os.getcwd(), signal.getsignal(signal.SIGTERM)) == before
    assert torch.is_grad_enabled()
