"""Parses names with arguments, such as ``spikformer-8-512(heads=6)``, without running anything."""

from __future__ import annotations

import ast
from typing import Any

from analyzer.errors import AnalyzerError

__all__ = ["literals", "named"]


_EXAMPLE = "factory(num_classes=10, T=4, name='x')"


def named(spec: str, *, words: bool = False) -> tuple[str, dict[str, Any]]:
    """A name and its arguments, from ``name`` or ``name(key=value)``."""
    name, bracket, rest = spec.partition("(")
    return name, literals(spec, bracket + rest, words=words) if bracket else {}


def literals(spec: str, call: str, *, words: bool = False) -> dict[str, Any]:
    """The keyword arguments of ``(name=literal, ...)``.

    Args:
        spec: All of what was given, for the message.
        call: Its part from the bracket on.
        words: Whether a word without quotes is text.

    Raises:
        AnalyzerError: Where these are no keywords with plain values.
    """
    try:
        tree = ast.parse(f"_{call}", mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
            raise ValueError
        found = {_key(keyword): _value(keyword.value, words) for keyword in tree.keywords}
        if len(found) < len(tree.keywords):
            raise ValueError
        return found
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise AnalyzerError(
            f"the arguments in {spec!r} are not understood: write keywords with plain values, each "
            f"once, such as {'name(bits=4, reads=once)' if words else _EXAMPLE}."
        ) from None


def _key(keyword: ast.keyword) -> str:
    if keyword.arg is None:  # ``**mapping``
        raise ValueError
    return keyword.arg


def _value(node: ast.expr, words: bool) -> Any:
    return node.id if words and isinstance(node, ast.Name) else ast.literal_eval(node)
