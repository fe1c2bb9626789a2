"""The command ``count``: figures from shapes alone, and energy from given firing rates."""

import analyzer

from .running import main_in_process, run


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
