"""What a memory model is read from: names with settings, and files."""

import pytest
import torch
from torch import nn

import analyzer
from analyzer.energy.declared.memory import memory_model
from analyzer.errors import AnalyzerError


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lemair", "'lemaire'"),
        ("lemaire(weights=3)", "takes no 'weights'"),
        ("lemaire(weight_bits=0)", "a whole number from 1"),
        ("lemaire(weight_bits='8')", "a whole number from 1"),
        ("lemaire(weight_reads=often)", "choose of none, event"),
        ("bit-serial(bit_density=2)", "a number from 0 to 1"),
        ("lemaire(weight_level=moon)", "knows no level 'moon'.*sram, sram_8KiB"),
        ("lemaire(weight_bits=8", "not understood"),
        ("lemaire(weight_bits=8, weight_bits=4)", "each once, such as name.bits=4"),
        ("lemaire(levels={})", "takes no 'levels'"),
    ],
)
def test_what_a_memory_model_does_not_take(spec, message):
    profile = analyzer.profile(nn.Linear(3, 2).eval(), torch.rand(1, 3))
    with pytest.raises(AnalyzerError, match=message):
        profile.energy(memory=spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_bit = 3", "does not know the key 'weight_bit'"),
        ("levels = 3", "levels = 3, a whole number: it must be a table"),
        ("[levels.x]\nprice = 3", "does not know the key 'levels.x.price': it knows pj_per_bit"),
        ("[levels.x]\npj_per_bit = -1", "pj_per_bit = -1, a whole number: it must be a number"),
        ("[levels.x]\ncapacity_bytes = [0, 9, 4]\nword_pj = [0, 1, 2]", "rising sizes"),
        ("[levels.x]\ncapacity_bytes = [0, 9]\nword_pj = [0]", "a price each"),
        ("[levels.x]", "give pj_per_bit"),
        (
            "[levels.x]\ncapacity_bytes = 5\nword_pj = 5",
            "capacity_bytes = 5, a whole number: it",
        ),
    ],
)
def test_a_file_that_is_no_memory_model(tmp_path, text, message):
    head = 'name = "own"\ntitle = "t"\nsource = "me"\nsummary = "s"\n'
    path = tmp_path / "own.toml"
    path.write_text(head + text)
    with pytest.raises(AnalyzerError, match=message):
        memory_model(str(path))
    path.write_text(head + "[levels.x]\npj_per_bit = 1\n")
    assert memory_model(str(path)).levels["x"].pj_per_bit == 1


def test_every_constant_has_a_source():
    for name, source in analyzer.memory_models().items():
        model = memory_model(name)
        assert source
        assert model.settings
        for figure in model.figures:
            assert figure.unit
            assert figure.source == source
            assert figure.confidence in "ABC"
