"""Compiles a loop to machine code with Numba and keeps the code in a file that is checked.

Numba's own cache raises where no directory can be written, and loads machine code from its files
without a check, so that a damaged file ends the process. Here every file begins with a digest of
the rest: a file that is missing, damaged or unreadable is ignored and the loop compiled again, and
a loop whose code can't be saved is compiled in every process.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import llvmlite  # type: ignore[import-untyped]
import numba
from numba import cfunc, types

__all__ = ["CodeCache", "compile_loop", "directories"]

_SIGNATURE = types.void(types.int64)
_DIGEST_BYTES = hashlib.sha256().digest_size


def compile_loop(function: Callable[[int], None], name: str) -> int:
    """Compiles a function of one address, or loads what an earlier process compiled.

    Args:
        function: In the subset of Python that Numba compiles; takes an int64.
        name: Tells it apart from all other loops, and from the same one for another dtype.

    Returns:
        The address of the machine code, a C function of one int64. It is valid as long as the
        process.
    """
    try:
        from numba.core.ccallback import CFunc

        loop: Any = CFunc(function, (_SIGNATURE.args, _SIGNATURE.return_type), {}, {})
        loop._cache = CodeCache(name, directories())
        loop.compile()
    except (ImportError, AttributeError, TypeError, OSError):
        # This part of Numba is not documented and may change: then nothing is kept on disk.
        loop = cfunc(_SIGNATURE)(function)
    return int(loop.address)


def directories() -> tuple[Path, ...]:
    """Where compiled code may be kept, best first; none of them need exist or be writable."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    found = [Path(named) / "analyzer"] if named else []
    found.append(Path(__file__).parent / "__pycache__")
    home = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        found.append((Path(home) if home else Path.home() / ".cache") / "snn-analyzer")
    return tuple(found)


class CodeCache:
    """The compiled code of one loop on disk, with the methods that Numba's compiler calls.

    Args:
        name: Of the loop.
        places: Directories to read from, and to write to the first that takes a file.
    """

    def __init__(self, name: str, places: Sequence[Path]) -> None:
        self._name = name
        self._places = tuple(places)

    def path(self, place: Path, target: Any) -> Path:
        """The file for code that runs on this machine with these versions."""
        versions = (numba.__version__, llvmlite.__version__, platform.python_version())
        key = repr((self._name, versions, target.magic_tuple(), _source()))
        return place / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.code"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """What an earlier process compiled, or None."""
        target_context.refresh()
        for place in self._places:
            try:
                content = self.path(place, target_context.codegen()).read_bytes()
            except OSError:
                continue
            digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if hashlib.sha256(code).digest() == digest:
                with suppress(Exception):  # whatever it is, compiling again mends it
                    from numba.core.compiler import CompileResult

                    return CompileResult._rebuild(target_context, *pickle.loads(code))
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keeps compiled code, where a directory takes it."""
        if compiled.lifted or compiled.library.has_dynamic_globals:
            return  # it holds addresses of this process
        from numba.core.serialize import dumps

        code = dumps(compiled._reduce())
        content = hashlib.sha256(code).digest() + code
        for place in self._places:
            if _write(self.path(place, compiled.library.codegen), content):
                return


def _write(path: Path, content: bytes) -> bool:
    """Replaces a file as a whole, so that no other process reads half of it."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:  # not writable, or full
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


@cache
def _source() -> str:
    """Digest of the sources that compiled code is made from."""
    digest = hashlib.sha256()
    for name in ("kernels.py", "loop_parts.py", "jobs.py", "compiling.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()
