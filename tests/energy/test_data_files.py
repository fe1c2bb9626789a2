"""Files of users: a key of the right name and the wrong type is a sentence, of all kinds."""

import pytest

from analyzer.energy.declared.convention import convention
from analyzer.energy.declared.memory import memory_model
from analyzer.energy.declared.technology import technology
from analyzer.energy.fitting.limits import chip
from analyzer.errors import AnalyzerError

CONVENTION = {
    "name": '"mine"',
    "title": '"t"',
    "source": '"s"',
    "summary": '"x"',
    "driving": '["binary"]',
    "confidence": '"B"',
    "work": '"rate"',
    "first": '"mac"',
    "head": '"omit"',
    "attention": '"min"',
    "undriven": '"events"',
    "additive_weights": '["ternary"]',
}
TECHNOLOGY = {
    "name": '"mine"',
    "title": '"t"',
    "source": '"s"',
    "confidence": '"C"',
    "includes": '"all"',
    "add_pj": "{fp32 = 1}",
    "add_pj.fp32": "0.5",
    "multiply_pj": "{fp32 = 1}",
    "memory_pj": "{dram = 1}",
    "range": "{add_pj = {fp32 = {low = 1}}}",
    "range.add_pj": "{fp32 = {low = 1}}",
    "range.add_pj.fp32": "{low = 1}",
    "range.add_pj.fp32.low": "0.25",
    "range.add_pj.fp32.high": "4",
    "range.add_pj.fp32.note": '"why"',
}
MEMORY = {
    "name": '"mine"',
    "title": '"t"',
    "source": '"s"',
    "summary": '"x"',
    "confidence": '"C"',
    **dict.fromkeys(("weight_bits", "activation_bits", "state_bits", "queue_items"), "8"),
    "spike_bits": "0",
    "weight_reads": '"event"',
    "bias_reads": '"bias"',
    "input_reads": '"once"',
    "output_writes": '"once"',
    "state": '"update"',
    "addressing": '"address"',
    "neurons": '"leak"',
    "multiplies": '"bit-serial"',
    "bit_density": "0.5",
    **dict.fromkeys(("weight_level", "activation_level", "state_level"), '"sram"'),
    "levels": "{sram = {pj_per_bit = 1}}",
    "levels.sram": "{pj_per_bit = 1}",
    "levels.sram.word_bits": "8",
    "levels.sram.capacity_bytes": "[0, 8.5]",
    "levels.sram.word_pj": "[0, 1.5]",
    "range": "{weight_bits = [4]}",
    "range.weight_bits": "[4, 8]",
    "range.levels": "{sram = [0.5]}",
    "range.levels.sram": "[0.5, 2]",
    "range.weight_reads": '["step"]',
}
CHIP = {
    "name": '"mine"',
    "title": '"t"',
    "source": '"s"',
    "unchecked": '"u"',
    "cores": '{value = 4, source = "s", confidence = "A"}',
    "shares_weights": '{value = true, source = "s", confidence = "A"}',
    "spikes": '{value = ["binary"], source = "s", confidence = "A"}',
    "operations": '{value = ["linear"], source = "s", confidence = "A"}',
    "mesh": '{columns = 2, rows = 2, cores = 1, source = "s", confidence = "A"}',
    "neurons.value": "4",
    "neurons.source": '"s"',
    "neurons.confidence": '"B"',
}
KINDS = {
    "chip": (chip, CHIP),
    "convention": (convention, CONVENTION),
    "technology": (technology, TECHNOLOGY),
    "memory model": (memory_model, MEMORY),
}
VALUES = {
    "a text": '"zzz"',
    "true or false": "true",
    "a whole number": "3",
    "a number": "1.5",
    "a list": "[1]",
    "a table": "{a = 1}",
    "a date": "2026-01-01",
    "a time": "10:00:00",
}


def written(tmp_path, lines):
    """A file of these keys; of a table and a key in it only the latter is written."""
    inner = {key for key in lines if not any(other.startswith(f"{key}.") for other in lines)}
    path = tmp_path / "mine.toml"
    path.write_text("".join(f"{k} = {v}\n" for k, v in lines.items() if k in inner))
    return str(path)


def kind_of(text):
    """What a value of the valid files is, in the words of a message."""
    if text in ("true", "false"):
        return "true or false"
    starts = {'"': "a text", "[": "a list", "{": "a table"}
    return starts.get(text[0], "a number" if "." in text else "a whole number")


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_that_the_others_are_made_of_is_read(tmp_path, kind):
    read, lines = KINDS[kind]
    assert read(written(tmp_path, lines)).title == "t"


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, (_, lines) in KINDS.items() for key in lines]
)
def test_a_key_of_another_type(tmp_path, kind, key):
    read, lines = KINDS[kind]
    within = {k: v for k, v in lines.items() if not k.startswith(f"{key}.")}
    right = kind_of(lines[key])
    also = {"a whole number"} if right == "a number" and key != "bit_density" else set()
    number = key in ("add_pj.fp32", "range.add_pj.fp32.low", "range.add_pj.fp32.high")
    also |= {"a number"} if number else set()
    for found, value in VALUES.items():
        if found == right or found in also:
            continue
        path = written(tmp_path, within | {key: value})
        with pytest.raises(AnalyzerError) as raised:
            read(path)
        said = str(raised.value)
        assert f"{kind} {path!r} has {key} = " in said
        assert f", {found}: it must be " in said


@pytest.mark.parametrize(
    ("kind", "key", "value", "says"),
    [
        ("chip", "neurons.value", "0", "neurons.value = 0, .*: .* a whole number from 1"),
        ("chip", "neurons.confidence", '"D"', "neurons.confidence = 'D': choose of A, B, C"),
        ("convention", "driving", '["binary", 3]', r"driving\[1\] = 3, a whole number: .* a text"),
        ("convention", "driving", '["spikes"]', r"driving\[0\] = 'spikes': choose of zero, bin"),
        ("convention", "head", '"rated-mac"', "head = 'rated-mac': choose of read, mac, omit"),
        ("technology", "add_pj.fp32", "inf", "add_pj.fp32 = inf, a number: .* from 0"),
        ("technology", "add_pj.fp32", "nan", "add_pj.fp32 = nan, a number: .* from 0"),
        ("technology", "range.add_pj.fp32.hihg", "1", "not know the key 'range.add_pj.fp32.hihg'"),
        ("technology", "range.add_pj.fp16", "{low = 1}", "range of add_pj.fp16, but no such"),
        ("technology", "synop_pj", "{a = 1, b = 2}", "several prices of one operation"),
        ("memory model", "weight_bits", "0", "weight_bits = 0, .*: .* a whole number from 1"),
        ("memory model", "bit_density", "1.5", "bit_density = 1.5, .*: .* from 0 to 1"),
        ("memory model", "range.weight_bits", '["4"]', r"range.weight_bits\[0\] = '4', a text"),
        ("memory model", "range.weight_bit", "[4]", "does not know the key 'range.weight_bit'"),
        ("memory model", "range.levels.sram", '["x"]', r"range.levels.sram\[0\] = 'x', a text"),
        ("memory model", "levels.sram.word_pj", "[0, true]", r"word_pj\[1\] = true, true or fal"),
    ],
)
def test_a_value_that_can_not_be(tmp_path, kind, key, value, says):
    read, lines = KINDS[kind]
    with pytest.raises(AnalyzerError, match=says):
        read(written(tmp_path, lines | {key: value}))
