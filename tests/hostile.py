"""Changes real files as a careless or hostile hand would: for tests that read what comes out."""

import copy
import json
import random
import tomllib

import pytest

import analyzer
from analyzer.errors import AnalyzerError

NUMBERS = (
    0, -1, 1, 2, 255, 256, 2**31, 2**53 + 1, 2**60, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63) - 1,
    10**30, 10**400, 0.5, -0.5, 1e-308, 1e30, 1e300, 1e308, float("inf"), float("nan"), -0.0,
)  # fmt: skip
TEXTS = (
    "", "x", "=1+1", "@x", "\x1b[31m", "a\nb", "../../x", "/etc/passwd", "<script>", "\ud800",
    "NaN", "8 !!!", "-8 eJw=", "9999999999 eJw=", "linear", "binary", "a." * 3000 + "a", "\0",
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], {"a": 1}, [1, "2", None])


def value(rng: random.Random):
    """Anything that JSON has, the numbers at the edges of machine words among them."""
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, NUMBERS, TEXTS, OTHERS))))


def places(part, at=()):
    """All places of a document, as the keys that lead there."""
    inner = part.items() if isinstance(part, dict) else enumerate(part)
    for key, child in inner:
        yield (*at, key)
        if isinstance(child, (dict, list)):
            yield from places(child, (*at, key))


def changed(document, rng: random.Random, times: int | None = None):
    """A document with some values changed, taken away, added or repeated."""
    document = copy.deepcopy(document)
    for _ in range(times or rng.choice((1, 1, 1, 2, 5))):
        found = list(places(document))
        if not found:
            return document
        *way, key = rng.choice(found)
        part = document
        for step in way:
            part = part[step]
        how = rng.choice(("value", "value", "value", "scale", "drop", "twice", "swap", "add"))
        if how == "scale" and type(part[key]) in (int, float):
            part[key] = part[key] * rng.choice((-1, 0, 2, 10**6, 2**40))
        elif how == "drop":
            del part[key]
        elif how == "twice" and isinstance(part, list):
            part.append(copy.deepcopy(part[key]))
        elif how == "swap":
            *other_way, other = rng.choice(found)
            there = document
            try:
                for step in other_way:
                    there = there[step]
                part[key] = copy.deepcopy(there[other])
            except (KeyError, IndexError, TypeError):
                part[key] = value(rng)
        elif how == "add" and isinstance(part, dict):
            part[rng.choice(TEXTS)] = value(rng)
        else:
            part[key] = value(rng)
    return document


def scrambled(content: bytes, rng: random.Random) -> bytes:
    """Bytes with some changed, cut out, cut off or repeated."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(found) + 1)
        how = rng.choice(("flip", "cut", "insert", "end", "repeat"))
        if how == "flip" and at < len(found):
            found[at] = rng.randrange(256)
        elif how == "cut":
            del found[at : at + rng.randrange(1, 50)]
        elif how == "insert":
            some = (b"\0", b'"', b"{", b"[" * 2000, b"1e999", b"9" * 5000, b"NaN", b"\xff", b"=\n")
            found[at:at] = rng.choice(some)
        elif how == "end":
            del found[at:]
        else:
            found[at:at] = found[max(0, at - 80) : at]
    return bytes(found)


def as_json(document) -> bytes:
    """A document as JSON, with what JSON has not, such as NaN, written anyway."""
    return json.dumps(document).encode()


def toml_lines(text: str, rng: random.Random) -> str:
    """A TOML file with some of its values, keys and headings changed."""
    lines = text.splitlines()
    tomllib.loads(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        how = rng.choice(("value", "value", "value", "drop", "twice", "heading", "key", "root"))
        if how == "value" and equals:
            lines[at] = f"{key}= {toml_value(rng)}"
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "heading":
            name = rng.choice(
                ("range", "add_pj", "x", "range.add_pj.fp32", "levels", "levels.sram")
            )
            lines.insert(
                at, rng.choice((f"[{name}]", f"[[{name}]]", f"{name} = {toml_value(rng)}"))
            )
        elif how == "key" and equals:
            name = rng.choice(("x", "range", '""', "name", "low"))
            lines[at] = f"{name} = {toml_value(rng)}"
        else:
            lines.insert(0, f"{rng.choice(('range', 'add_pj', 'levels', 'x'))} = {toml_value(rng)}")
    return "\n".join(lines)


def toml_value(rng: random.Random) -> str:
    return rng.choice(
        (
            "0", "-1", "1", "9223372036854775807", "9223372036854775808", "1" + "0" * 400,
            "9" * 5000, "1e308", "1e400", "inf", "-inf", "nan", "1e30", "0.1", "true", '""', '"x"',
            '"\\u001b[31m"', "[]", "{}", "[1, 2]", '["binary"]', "{low = 1, high = 0}",
            "{a = {a = {a = 1}}}", "1979-05-27", "07:32:00", "0x7fffffffffffffffff", "[" * 3000,
            "{fp32 = 1e308}", "{fp32 = 1, int8 = -1}", "'''\na\n'''",
        )
    )  # fmt: skip


def refuses(folder, document, place, value, says):
    """Puts a value into a file of a profile, which must be refused with a sentence that says so."""
    path = folder / "p.json"
    part = document = json.loads(json.dumps(document))
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match=f"p.json is damaged: .*{says}"):
        analyzer.load(path)
