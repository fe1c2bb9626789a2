"""Runs code of the user's: what it does to the process ends with it, and it can not end a command.

A factory or a forward may end the program, change the folder, take over signals or silence
warnings. The command that runs it goes on as if it had not, or ends with a sentence.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import typer

from analyzer.cli.interruption import EndedBySignal
from analyzer.errors import AnalyzerError, AnalyzerWarning, undo_all

__all__ = ["hosted", "said"]


@contextmanager
def hosted(what: str) -> Iterator[None]:
    """A block that runs code of the user's.

    What it prints goes to standard error, as commands print results that others read. The folder,
    arguments, standard streams, signal handlers, how warnings are shown and whether gradients are
    on are afterwards as before; number formats, devices and threads stay as the code chose them,
    since a model may need them when it runs.

    Args:
        what: What is run, for errors, such as ``nets.py:Net``.

    Raises:
        AnalyzerError: Where the code ends the program, or raises what is no ``Exception``.

    Example:
        >>> with hosted("nets.py:Net"):
        ...     sys.exit("no data")
        Traceback (most recent call last):
        ...
        analyzer.errors.AnalyzerError: nets.py:Net ended the program (sys.exit: no data)...
    """
    back = _as_now()
    sys.stdout = sys.stderr
    try:
        yield
    except EndedBySignal:
        raise
    except (SystemExit, typer.Exit, typer.Abort) as stop:
        raise AnalyzerError(
            f"{what} ended the program ({_of_exit(stop)}) and left no model or result: let it "
            'return instead, such as by putting what runs a script under if __name__ == "__main__".'
        ) from stop
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AnalyzerError(f"{what} raised {said(error)}.") from error
    finally:
        try:
            _put_back(back)
        finally:  # an interrupt may have ended the first
            _put_back(back)


def said(error: BaseException) -> str:
    """An error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _of_exit(stop: BaseException) -> str:
    code = getattr(stop, "code", None)
    if not isinstance(stop, SystemExit):
        return said(stop)
    return "sys.exit" if code is None else f"sys.exit: {' '.join(str(code).split())}"


def _as_now() -> list[Callable[[], object]]:
    """What puts the process back as it is now."""
    back: list[Callable[[], object]] = [
        partial(setattr, sys, "stdout", sys.stdout),
        partial(setattr, sys, "stderr", sys.stderr),
        partial(setattr, sys, "stdin", sys.stdin),
        partial(setattr, sys, "argv", sys.argv),
        partial(sys.argv.__setitem__, slice(None), list(sys.argv)),
        partial(setattr, warnings, "showwarning", warnings.showwarning),
        partial(_hear_warnings, list(warnings.filters)),
    ]
    with suppress(OSError):  # a folder that is gone
        back.append(partial(os.chdir, os.getcwd()))
    if threading.current_thread() is threading.main_thread():
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if handler is not None and number not in _FIXED:
                back.append(partial(_handle, number, handler))
    torch = sys.modules.get("torch")
    if torch is not None:
        back.append(partial(torch.set_grad_enabled, torch.is_grad_enabled()))
    return back


def _put_back(steps: list[Callable[[], object]]) -> None:
    with suppress(Exception):  # what can not be put back is left
        undo_all(steps)


def _hear_warnings(before: list[object]) -> None:
    """What the user's code says of warnings holds, but for those of this package."""
    if warnings.filters != before:
        warnings.filterwarnings("default", category=AnalyzerWarning)


def _handle(number: int, handler: object) -> None:
    if signal.getsignal(number) is not handler:
        signal.signal(number, handler)  # type: ignore[arg-type]


_FIXED = frozenset(
    getattr(signal, name) for name in ("SIGKILL", "SIGSTOP") if hasattr(signal, name)
)
"""Signals that nobody handles."""
