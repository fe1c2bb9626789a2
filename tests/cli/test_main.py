"""What holds for every command of the command line: exit codes and ``--debug``."""

import pytest

from analyzer.cli import main

from .running import run


def test_debug_shows_the_traceback(own_model, data):
    done = run("profile", f"{own_model}:Raises", "--data", data[0], "--debug", check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["compare"],
        ["verify"],
        ["profile", "vit-tiny", "--input", "3,x"],
        ["verify", "vit-tiny", "--mean", "0.5;0.5"],
        ["verify", "vit-tiny", "--batch-size", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
