"""Parses names with arguments, such as ``spikformer-8-512(heads=6)``, without running anything."""

from __future__ import annotations

import ast
from types import MappingProxyType
from typing import Any

from analyzer.errors import AnalyzerError

__all__ = ["PRICED", "called", "literals", "named", "split"]

PRICED = ("technology", "convention", "precision", "memory")
"""What profiles are priced with, each given by such a name."""

_EXAMPLE = "factory(num_classes=10, T=4, name='x')"


def split(spec: str) -> tuple[str, str]:
    """A name or path, and what stands in the brackets at its end; empty without any.

    Brackets elsewhere belong to the path.

    Example:
        >>> split("a (1)/b.toml(bits=8)")
        ('a (1)/b.toml', 'bits=8')
        >>> split("a (1)/b.toml")
        ('a (1)/b.toml', '')
    """
    if spec.endswith(")"):
        depth = 0
        for at in range(len(spec) - 1, -1, -1):
            depth += (spec[at] == ")") - (spec[at] == "(")
            if depth == 0:
                return spec[:at], spec[at + 1 : -1]
    return spec, ""


def called(model: str) -> str:
    """What files of a model are called: its name without brackets and without its file.

    Example:
        >>> called("nets.py:Net(width=8)")
        'Net'
    """
    return model.partition("(")[0].rpartition(":")[2]


def named(spec: str, *, words: bool = False) -> tuple[str, dict[str, Any]]:
    """A name and its arguments, from ``name`` or ``name(key=value)``.

    Args:
        spec: The text.
        words: Whether a word without quotes is text, and the name may be a path with brackets.
    """
    # Text in quotes may hold brackets, so there the first one counts.
    name = split(spec)[0] if words and spec.endswith(")") else spec.partition("(")[0]
    return name, literals(spec, spec[len(name) :], words=words) if name != spec else {}


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


_TRUTHS = MappingProxyType({"true": True, "false": False})
"""How files write them."""


def _value(node: ast.expr, words: bool) -> Any:
    if words and isinstance(node, ast.Name):
        return _TRUTHS.get(node.id, node.id)
    if words and isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item, words) for item in node.elts]
    return ast.literal_eval(node)
