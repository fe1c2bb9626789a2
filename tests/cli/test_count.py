"""The command ``count``: figures from shapes alone, and energy from given firing rates."""

import pytest

import analyzer
from analyzer.cli import main

from .running import main_in_process, refused, run


def test_counting_prints_what_shapes_and_rates_tell(tmp_path, capsys):
    done = run("count", "spikformer-tiny", "-o", tmp_path / "c.json", cwd=tmp_path)
    shown = done.stdout.splitlines()
    assert shown[0].split() == ["spikformer-tiny", "one", "sample", "of", "1×32×32,", "T", "=", "4"]
    assert shown[1].split() == ["parameters", "164,418"]
    assert shown[2].split() == ["dense", "MACs", "81,560,192"]
    counted = analyzer.load(tmp_path / "c.json")
    assert counted.totals["dense_macs"] == 81_560_192
    rates = tmp_path / "rates.csv"
    modules = counted.counts.loc[counted.counts["dense_macs"] > 0, "module"].drop_duplicates()
    rates.write_text("module,firing_rate\n" + "".join(f"{m},0.1\n" for m in modules))
    main_in_process(["count", "spikformer-tiny", "--rates", str(rates)])
    shown = capsys.readouterr().out
    assert "AC                8.16 M" in shown
    assert "energy            7.34 µJ (45nm fp32 (0.9 pJ/AC, 4.6 pJ/MAC), convention rate)" in (
        shown
    )
    main_in_process(["count", "spikformer-tiny(depth=1)", "--input", "1,16,16"])
    assert "1×16×16" in capsys.readouterr().out


NETS = """
import torch
from torch import nn


class Text(nn.Module):
    def __init__(self, width, on_meta=False):
        super().__init__()
        self.table = nn.Embedding(9, width)
        self.head = nn.Linear(width, 2)
        if on_meta and not self.table.weight.is_meta:
            raise MemoryError("the weights take memory")

    def forward(self, ids, scale=None):
        x = self.table(ids)
        return self.head(x if scale is None else x * scale)


def text(width=8, on_meta=False):
    return Text(width, on_meta)


def values():
    return Text(int(torch.tensor(4.0).sqrt()))


def sequence():
    return nn.Linear(3, 5)
"""


def test_inputs_have_names_and_dtypes(tmp_path, capsys):
    nets = tmp_path / "nets.py"
    nets.write_text(NETS)

    def count(factory, *options):
        out = tmp_path / "c.json"
        main_in_process(["count", f"{nets}:{factory}", *options, "-o", str(out)])
        return analyzer.load(out), capsys.readouterr().out

    named = ["--input", "ids=int64:3,7", "--input", "scale=3,7,1"]
    counted, shown = count("text(on_meta=True)", *named)
    assert (counted.samples, counted.totals["dense_macs"]) == (3, 3 * 7 * 16)
    assert shown.splitlines()[0].split()[1:6] == ["one", "sample", "of", "3,", "each"]
    assert "dense MACs        112" in shown
    counted, _ = count("values", "--input", "int64:2,7", "--samples", "1")
    assert (counted.samples, counted.totals["dense_macs"]) == (1, 2 * 7 * 4)
    counted, _ = count("text", "--input", "int64:2,7", "--input", "float32:2,7,1")
    assert counted.totals["dense_macs"] == 2 * 7 * 16
    counted, shown = count("sequence", "--input", "3", "--layout", "T B D", "--timesteps", "4")
    assert (counted.metadata["timesteps"], counted.totals["dense_macs"]) == (4, 4 * 15)
    assert "one sample of 3, T = 4" in shown


def test_inputs_that_do_not_fit_are_refused(tmp_path, capsys):
    nets = tmp_path / "nets.py"
    nets.write_text(NETS)
    assert "give --input 3,224,224 or --input input_ids=int64:1,2048" in refused(
        capsys, "count", f"{nets}:text"
    )
    ids = ["--input", "ids=int64:1,7"]
    assert "names length, which forward(ids, scale) does not take" in refused(
        capsys, "count", f"{nets}:text", *ids, "--input", "length=int64:1"
    )
    assert "'word' is no dtype" in refused(capsys, "count", f"{nets}:text", "--input", "word:1,7")
    for wrong in (["x=int64:"], ["=3"], ["a b=3"], ["x=:3"], ["ids=int64:1,7", "3"]):
        given = [part for text in wrong for part in ("--input", text)]
        with pytest.raises(SystemExit) as stopped:
            main(["count", f"{nets}:text", *given])
        assert stopped.value.code == 2
