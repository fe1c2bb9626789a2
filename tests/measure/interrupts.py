"""Raises KeyboardInterrupt at a chosen line of this package, or of what it enters and leaves."""

import linecache
import random
import re
import sys
from functools import cache
from pathlib import Path

_HOMES = (
    "/analyzer/", "contextlib.py", "/torch/utils/_python_dispatch.py", "/torch/autograd/grad_mode",
    "/torch/nn/modules/module.py", "/torch/utils/hooks.py", "/torch/library.py",
    "/torch/autograd/graph.py",
)  # fmt: skip


@cache
def _takes_lock(file, number):
    """Whether a line takes a lock, and gives it back where its block ends.

    Python looks for signals after it called what gives it back, never before, so there is no such
    interrupt as one here, which would leave the lock taken and the threads of other tests waiting.
    """
    return re.search(r"\bwith \S*_?lock\b", linecache.getline(file, number)) is not None


class Trace:
    """Counts how often each line runs in the block, and raises at one of them.

    Args:
        line: File and number of the line; None raises nowhere.
        time: The how many-th time that it runs.
    """

    def __init__(self, line=None, time=1):
        self.seen = {}
        self.raised = False
        self._line = line
        self._left = time

    def __enter__(self):
        sys.settrace(self._calls)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _calls(self, frame, event, arg):
        return self._lines if any(h in frame.f_code.co_filename for h in _HOMES) else None

    def _lines(self, frame, event, arg):
        if event != "line" or _takes_lock(frame.f_code.co_filename, frame.f_lineno):
            return self._lines
        line = frame.f_code.co_filename, frame.f_lineno
        self.seen[line] = self.seen.get(line, 0) + 1
        if line == self._line:
            self._left -= 1
            if not self._left:
                self.raised = True
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._lines


def moments(run, number, seed):
    """Lines that a run passes, and at which time of each to interrupt: seeded, all lines alike."""
    with Trace() as trace:
        run()
    chance = random.Random(seed)
    # Whatever folder this package and PyTorch lie in, a seed draws the same lines.
    known = sorted(trace.seen, key=lambda line: (Path(line[0]).parts[::-1], line[1]))
    lines = chance.sample(known, min(number, len(known)))
    return [(line, chance.randint(1, trace.seen[line])) for line in lines]
