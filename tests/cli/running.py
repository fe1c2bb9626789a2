"""Runs the command line for the tests of this folder: in a process of its own, or in this one."""

import os
import subprocess
import sys

import pytest

from analyzer.cli import main


def run(*arguments, cwd=None, check=True, env=None):
    """Runs ``python -m analyzer``; with ``check`` it must end with exit code 0."""
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


def runs_without_torch(arguments):
    """Runs a command in a process of its own, which must not load torch; returns what it prints."""
    code = (
        "import sys; from analyzer.cli import main\n"
        f"try: main({[str(a) for a in arguments]!r})\n"
        "finally: assert 'torch' not in sys.modules"
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
