"""The commands that answer a question about saved profiles, and the pages that they write."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import analyzer

from .running import main_in_process


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of profiles of one layer: reading real values, and reading spikes at T = 1 and 2."""
    folder = tmp_path_factory.mktemp("profiles")
    torch.manual_seed(0)
    layer, image = nn.Linear(16, 10).eval(), torch.rand(2, 16)
    dense = analyzer.profile(layer, image, name="dense")
    spiking = analyzer.profile(layer, (image < 0.25).float(), name="spiking")
    found = {"dense": dense}
    for timesteps in (1, 2):
        about = spiking.metadata | {"timesteps": timesteps}
        found[f"spiking {timesteps}"] = replace(spiking, metadata=about)
    return {name: profile.save(folder / f"{name}.json") for name, profile in found.items()}


@pytest.mark.parametrize(
    ("command", "files", "ask"),
    [
        (
            ["explain", "spiking 1", "--conventions", "dense,exact"],
            {"explanation.md", "rows.csv", "steps.csv", "waterfall.svg"},
            lambda p: analyzer.explain(p["spiking 1"], "dense", "exact"),
        ),
        (
            ["sensitivity", "spiking 1"],
            {"sensitivity.md", "sensitivity.csv", "tornado.svg"},
            lambda p: analyzer.sensitivity(p["spiking 1"]),
        ),
        (
            ["timesteps", "spiking 1", "spiking 2"],
            {"timesteps.md", "timesteps.csv", "timesteps.svg"},
            lambda p: analyzer.against_timesteps([p["spiking 1"], p["spiking 2"]]),
        ),
        (
            ["memory", "dense", "spiking 1"],
            {"memory.md", "memory.csv", "memory.svg"},
            lambda p: analyzer.beyond_arithmetic(p["dense"], [p["spiking 1"]]),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_answer_is_printed_and_its_page_written(saved, tmp_path, capsys, command, files, ask):
    """``memory -o`` once looked for its page under a name that no module has."""
    given = [str(saved.get(word, word)) for word in command]
    main_in_process([*given, "-o", str(tmp_path / "out")])
    expected = ask({name: analyzer.load(path) for name, path in saved.items()}).summary
    shown = capsys.readouterr().out
    assert expected in shown
    assert files <= {path.name for path in (tmp_path / "out").iterdir()}
    page = next(name for name in files if name.endswith(".md"))
    assert shown.endswith(f"wrote {tmp_path / 'out' / page}\n")


def test_break_even_prints_the_rate(saved, capsys):
    main_in_process(["break-even", str(saved["spiking 1"]), str(saved["dense"])])
    spiking, dense = (analyzer.load(saved[name]) for name in ("spiking 1", "dense"))
    assert analyzer.break_even(spiking, dense).summary in capsys.readouterr().out


def test_pricing_options_reach_the_answer(saved, capsys):
    main_in_process(["sensitivity", str(saved["dense"]), "--precision", "int8"])
    profile = analyzer.load(saved["dense"])
    shown = capsys.readouterr().out
    assert analyzer.sensitivity(profile, precision="int8").summary in shown
    assert analyzer.sensitivity(profile).summary not in shown
