"""The command ``verify``: the table of what each counter found."""

import re

from .running import run


def test_verify_prints_each_observer_and_explains(tmp_path):
    done = run("verify", "vit-tiny", cwd=tmp_path)
    lines = done.stdout.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert cells[0] == [
        "Module", "Operation", "Dense MACs", "fvcore", "torch", "Brute force", "Events",
        "Brute force", "Unary events", "Brute force", "Timesteps", "Verdict", "Why",
    ]  # fmt: skip
    rows = {(row[0], row[1]): row[2:] for row in cells[1:-1]}
    assert rows["head", "linear"] == ["1,280"] * 6 + ["0", "0", "0", "agrees"]
    assert rows["blocks.0.attention", "attention_qk, attention_av"][-1] == (
        "fvcore says nothing on scaled_dot_product_attention; "
        "torch says nothing on _scaled_dot_product_flash_attention_for_cpu"
    )
    verdicts = [row[9] for row in rows.values()]
    agree, explained = verdicts.count("agrees"), verdicts.count("explained")
    assert lines[-1] == (
        f"vit-tiny, 2 samples: {agree} operations agree; {explained} differ, all explained."
    )
    assert agree + explained == len(rows)
    assert list(tmp_path.iterdir()) == []
