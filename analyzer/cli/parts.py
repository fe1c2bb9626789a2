"""A run in parts, each of which is kept, so that a run of hours that is killed goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import analyzer
from analyzer.cli.interruption import kept
from analyzer.cli.show import tell
from analyzer.errors import AnalyzerError

if TYPE_CHECKING:
    from analyzer.profiles import Profile

__all__ = ["in_parts"]


def in_parts(
    number: int,
    target: Path,
    measured: Callable[[tuple[int, int]], Profile],
    written: Callable[[Profile], None],
) -> None:
    """Measures shares of the data one after another, and writes the profile of all of them.

    Every share is saved in a folder beside the target when it is counted. Where that folder holds
    one already, from a run that was killed, it is not counted again.

    Args:
        number: How many shares.
        target: The file of the profile.
        measured: Counts a share, such as ``(2, 8)``.
        written: Writes the profile of all.

    Raises:
        AnalyzerError: Where shares that were kept are of another run.
    """
    from analyzer.merging import merged_in_order

    folder = target.parent / f".{target.name}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index}-of-{number}.json.gz" for index in range(1, number + 1)]
    others = sorted(path.name for path in folder.iterdir() if path not in files)
    if others:
        raise AnalyzerError(
            f"{folder} holds parts of a run in other parts ({others[0]}): give that number, or "
            "remove the folder."
        )

    def so_far() -> str:
        done = sum(path.exists() for path in files)
        return f"{done} of {number} parts are kept in {folder}, and the same command goes on there"

    with kept(so_far):
        for index, path in enumerate(files, 1):
            if path.exists():
                tell(f"part {index} of {number} is kept from before")
            else:
                measured((index, number)).save(path)
        try:
            whole = merged_in_order(analyzer.load(path) for path in files)
        except AnalyzerError as error:
            raise AnalyzerError(f"{error} Remove {folder} to count all of it anew.") from None
    written(whole)
    shutil.rmtree(folder)
