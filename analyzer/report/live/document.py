"""Writes the page: one file with its styles, scripts and data, and a policy that allows no more."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from analyzer.report.live.payload import pack

__all__ = ["SCRIPTS", "document"]

SCRIPTS = ("format", "engine", "dom", "tables", "figures", "views", "controls", "app")
"""The page's own scripts, in the order that they are put together in."""

_LIBRARIES = ("vendor/plot.js", "vendor/table.js")

_DRAWN = """\
:where(.drawn) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.drawn text),
:where(.drawn tspan) {
  white-space: pre;
}"""
"""What Observable Plot puts into each drawing, so that a saved one looks the same."""


def document(template: Template, data: Mapping[str, Any], **filled: Any) -> str:
    """The page as text; the same data gives the same text."""
    own = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    scripts = [*map(_read, _LIBRARIES), f'"use strict";\n(() => {{\n{own}\n}})();\n']
    style = _read("page.css")
    return template.render(
        **filled,
        policy=_policy(scripts, [style, _DRAWN]),
        style=Markup(style),
        # Base64, which holds no character that could end the element.
        data=Markup(pack(data)),
        scripts=[Markup(script) for script in scripts],
    )


def _read(name: str) -> str:
    text = (files("analyzer.report.live") / "static" / name).read_text("utf-8")
    text = re.sub(r"^//# sourceMappingURL=.*\n?", "", text, flags=re.M)
    if "</script" in text or "</style" in text:
        raise ValueError(f"{name} would end the element that it stands in")
    return text


def _policy(scripts: list[str], styles: list[str]) -> str:
    """Allows these scripts and styles and pictures of the page's own making; no request at all."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
