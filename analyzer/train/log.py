"""The log of a training: a row of CSV an epoch."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["log_file"]


@contextmanager
def log_file(path: str | Path | None, done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Opens the log and keeps its first rows; later ones are of an interrupted epoch.

    Args:
        path: The file, None for no log.
        done: How many epochs are finished, each with a row.

    Yields:
        A function that appends a row.
    """
    if path is None:
        yield lambda row: None
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: list[str] = []
    if done and path.exists():
        kept = path.read_text("utf-8").splitlines(keepends=True)[: done + 1]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(kept)

        def append(row: dict[str, Any]) -> None:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
            file.flush()

        yield append
