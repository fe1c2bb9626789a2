"""Writes energy cards into a folder, with the profiles and an archive of it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analyzer.cards.archive import packed
from analyzer.cards.content import card_of
from analyzer.cards.html import html
from analyzer.cards.latex import latex
from analyzer.cards.markdown import escaped, markdown
from analyzer.entries import Entry, collect
from analyzer.errors import AnalyzerError
from analyzer.profiles import Profile
from analyzer.report.folder import (
    arguments,
    constants,
    manifest,
    options_of,
    profiles_of,
    stem_in,
)
from analyzer.report.manifest import MANIFEST, earlier, read_manifest
from analyzer.report.output import place
from analyzer.specs import split
from analyzer.version import __version__

__all__ = ["ARCHIVE", "KIND", "card", "contents"]

ARCHIVE = "energy-cards.zip"
KIND = "analyzer.cards"

_OWNED = frozenset({"README.md", MANIFEST, ARCHIVE})


def card(
    profiles: Profile | Iterable[Profile],
    path: str | Path,
    technology: str = "45nm",
    convention: str = "exact",
    precision: str = "fp32",
    memory: str | None = None,
) -> Path:
    """Writes an energy card of each model, and one archive that others can check.

    A card is one page, as Markdown, LaTeX and HTML: the energy, what is charged and what is not,
    the convention, where prices come from, the data, what was not covered, intervals, hashes of
    the weights and of the profile, versions, and the commands that make it again. The archive
    ``energy-cards.zip`` holds the cards with their profiles and the files of constants of your own;
    ``analyzer card --check`` computes all of it again from the profiles and says what differs.

    Args:
        profiles: One, or several.
        path: Folder to write; made if it is missing. It gets ``cards/``, ``profiles/``, a README, a
            manifest with the SHA-256 of each file, and the archive. Files of yours in it are kept.
        technology: Name or file of the constants; see :func:`analyzer.technologies`.
        convention: Name or file of the reading of the facts; see :func:`analyzer.conventions`.
        precision: Number format that is priced, such as ``fp32`` or ``int8``.
        memory: Name or file of a memory model; see :func:`analyzer.memory_models`. None prices
            arithmetic alone.

    Returns:
        The path of the archive. The same profiles give the same bytes.

    Raises:
        AnalyzerError: Where there is no profile, one can not be priced so, or the folder can not be
            written or holds a README or a manifest of something else.

    Example:
        >>> import analyzer
        >>> from tempfile import TemporaryDirectory
        >>> table = {"module": ["conv", "head"], "op": ["conv2d", "linear"]}
        >>> table |= {"dense_macs": [1000, 100], "firing_rate": [0.2, 1]}
        >>> snn = analyzer.from_rates(table, name="snn")
        >>> with TemporaryDirectory() as folder:
        ...     archive = analyzer.card(snn, folder, convention="rate")
        ...     text = (archive.parent / "cards" / "snn.md").read_text("utf-8")
        >>> print(text[:41].strip())
        # Energy card: snn
        <BLANKLINE>
        One inference of snn
    """
    asked = {
        "technology": technology,
        "convention": convention,
        "precision": precision,
        "memory": memory,
    }
    given = [profiles] if isinstance(profiles, Profile) else list(profiles)
    output = Path(path)
    files = contents(given, asked)
    _refuse_foreign(output)
    files[ARCHIVE] = packed(files)
    place(files, output, _OWNED | earlier(output, KIND))
    return output / ARCHIVE


def contents(
    profiles: Sequence[Profile],
    asked: Mapping[str, Any],
    *,
    stems: Sequence[str] | None = None,
    own: Mapping[str, bytes] | None = None,
    shown: Mapping[str, Any] | None = None,
    version: str = __version__,
) -> dict[str, bytes]:
    """All files of a folder of cards but the archive, by path.

    Args:
        profiles: One or more.
        asked: What they are priced with: ``technology``, ``convention``, ``precision``, ``memory``.
        stems: What the files of the profiles are called, without an ending.
        own: Files of the user's by path in the folder; by default those that ``asked`` names.
        shown: What cards say of ``asked``, where files have moved since.
        version: Version that is said to have made them.

    Raises:
        AnalyzerError: Where there is no profile, or one can not be priced so.
    """
    entries = collect(profiles, **asked)
    files = dict(constants(asked) if own is None else own)
    said = dict(asked if shown is None else shown)
    saved = profiles_of([entry.profile for entry in entries], stems)
    paths = list(saved)
    cards: dict[str, bytes] = {}
    for entry, path in zip(entries, paths, strict=True):
        made = card_of(entry, path, said, files, version)
        for ending, write in (("md", markdown), ("tex", latex), ("html", html)):
            cards[f"cards/{made.stem}.{ending}"] = write(made).encode()
    files = files | saved | cards
    files["README.md"] = _readme(entries, paths, said, version).encode()
    files[MANIFEST] = manifest(files, paths, said, {}, KIND)
    return files


def _refuse_foreign(output: Path) -> None:
    """Keeps a README or a manifest that no card wrote, such as that of a report."""
    there = [name for name in sorted(_OWNED) if (output / name).exists()]
    if not there:
        return
    try:
        read_manifest(output, KIND)
    except AnalyzerError:
        raise AnalyzerError(
            f"{output} holds {there[0]} and no manifest of energy cards: choose another folder, so "
            "that it is kept."
        ) from None


def _readme(
    entries: Sequence[Entry], paths: Sequence[str], asked: Mapping[str, Any], version: str
) -> str:
    """The README of the archive: what is in it, and the commands that make it again."""
    options = options_of(asked)
    every = arguments(paths)
    models = "\n".join(
        f"- {escaped(entry.name)}: `cards/{stem_in(path)}.html`, `.md` and `.tex`, from `{path}`"
        for entry, path in zip(entries, paths, strict=True)
    )
    own = any(split(str(value))[0].endswith(".toml") for value in asked.values())
    held = "| `constants/` | the files of constants and rules that they are priced with |\n" * own
    return f"""# Energy cards

Each card says on one page what the energy of a model is a figure of: what was counted on which
data, what is charged and what is not, where prices come from, and how to compute it again.

| Path | Holds |
| --- | --- |
| `cards/` | a card a model, as HTML, Markdown and LaTeX |
| `profiles/` | the counts that all figures come from, a file a model, compressed JSON |
{held}| `manifest.json` | what the cards were priced with, and the SHA-256 of every file |

## Models

{models}

## Check it

Install version {escaped(version)} of the package snn-analyzer, which needs neither the models nor
their data for this, and run in this folder

```sh
analyzer card --check .
```

It compares every file with the manifest, computes the cards again from `profiles/`, says what
differs, and ends with exit code 1 if anything does. Given `{ARCHIVE}` instead of the folder it
does the same. What it can't tell is whether the profiles were measured as they say: for that, run
the models again and compare counts and the digest of the weights.

## Make it again

```sh
analyzer card {every}{options} -o again
analyzer compare {every}{options}
```

The first makes this folder anew in `again/`, the second prints all models in one table. Other
prices, rules and memory models are options; `analyzer technologies`, `analyzer conventions` and
`analyzer memory-models` list them with their sources.
"""
