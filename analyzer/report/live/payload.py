"""Packs what the page needs: models, prices, sentences, and how the report itself was priced."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from analyzer.energy.declared.convention import SPECIAL_MULTIPLIES, conventions
from analyzer.energy.declared.memory import OFTEN
from analyzer.energy.pricing.coefficients import coefficients
from analyzer.energy.pricing.report import NOTES
from analyzer.energy.pricing.traffic import COMPONENTS
from analyzer.entries import Entry, clean
from analyzer.plot.bars import LABELS, STYLES
from analyzer.plot.style import GUIDE, LESS, MORE, NEUTRAL, colors_of
from analyzer.report.compared import unpacked
from analyzer.report.findings import SENTENCES
from analyzer.report.live.models import classes_of, model_facts
from analyzer.report.live.prices import (
    called,
    convention_facts,
    memory_facts,
    memory_models_of,
    technology_facts,
)
from analyzer.tabular import LATEX

__all__ = ["pack", "payload", "unpack"]


def payload(
    entries: Sequence[Entry],
    *,
    title: str,
    technology: str,
    convention: str,
    precision: str,
    memory: str | None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """All that the page computes with, as plain lists and tables."""
    readings = convention_facts(convention)
    models = memory_models_of(memory)
    memories = [memory_facts(*each) for each in models.items()]
    names = list(dict.fromkeys([convention, *conventions()]))
    found = coefficients([e.profile for e in entries], names)
    classes = classes_of(found)
    dtypes = sorted({entry.priced.measured for entry in entries})
    return {
        "version": 1,
        "title": title,
        "report": {
            "technology": called(technology),
            "precision": entries[0].priced.precision if precision != "auto" else "auto",
            "convention": called(convention),
            "memory": called(memory or ""),
        },
        "conventions": readings,
        "technologies": technology_facts(technology, precision, classes, dtypes),
        "memories": memories,
        "models": [
            model_facts(entry, each, classes, models, memories)
            for entry, each in zip(entries, found, strict=True)
        ],
        "components": {"ac_pj": "AC", "mac_pj": "MAC", **COMPONENTS},
        "styles": {key: dict(STYLES[key]) | {"label": LABELS[key]} for key in STYLES},
        "colours": {"guide": GUIDE, "less": LESS, "more": MORE, "neutral": NEUTRAL}
        | {"series": _series([entry.name for entry in entries])},
        "sentences": dict(SENTENCES),
        "notes": dict(NOTES),
        "special_multiplies": list(SPECIAL_MULTIPLIES),
        "remarks": [clean(text) for text in remarks],
        "often": dict(OFTEN),
        "latex": {chr(code): text for code, text in LATEX.items()},
    }


def _series(names: Sequence[str]) -> list[str]:
    """The colour of each model, as the figures have it."""
    return [
        "#" + "".join(f"{round(255 * part):02x}" for part in color[:3])
        for color in colors_of(names).values()
    ]


def pack(data: Mapping[str, Any]) -> str:
    """The payload as text that may stand in a page: JSON, compressed, in base64."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")


def unpack(text: str) -> bytes:
    """The JSON of a page's payload, from what :func:`pack` wrote.

    Raises:
        OSError: Where it is damaged, or holds more than any payload.
        ValueError: Where it is no base64.
    """
    return unpacked(base64.b64decode(text))
