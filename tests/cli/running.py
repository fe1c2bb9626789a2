"""Runs the command line for the tests of this folder: in this process, or in one of its own.

A process of its own takes seconds to begin. The first example of each command runs in one.
"""

import contextlib
import io
import os
import subprocess
import sys
import warnings

import pytest

from analyzer.cli import main


def run(*arguments, cwd=".", check=True):
    """Runs a command in this process; with ``check`` it must end with exit code 0."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    printed = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with contextlib.chdir(cwd), printed[0], printed[1], warnings.catch_warnings():
        warnings.resetwarnings()  # those of pytest make errors of warnings
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
    if check:
        assert code == 0, err.getvalue()
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_apart(*arguments, cwd=None, check=True, env=None):
    """The same as ``python -m analyzer``, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=300,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def main_in_process(arguments):
    """Runs a command that must end with exit code 0."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0


def runs_without_torch(*commands):
    """Runs commands in a process that must not load torch; returns what they print."""
    code = (
        "import sys; from analyzer.cli import main\n"
        f"for words in {[[str(word) for word in words] for words in commands]!r}:\n"
        "    try: main(words)\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(capsys, *arguments):
    """Runs a command that must end with exit code 1, one sentence and no traceback; returns it."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert message.startswith("error: ")
    return message
