"""Files of others are read and priced consistently, or refused in one sentence; nothing else.

Real profiles and data files are changed at random, by a seed for each. ``ANALYZER_FUZZ=20`` tries
twenty times as many.
"""

import gzip
import json
import math
import os
import random
import time
import tracemalloc
import warnings
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import as_json, changed, refuses, scrambled, toml_lines

import analyzer
from analyzer.errors import AnalyzerError, AnalyzerWarning
from analyzer.facts.sampled import Matrix
from analyzer.profiles import Profile
from analyzer.rates import read_rates, with_rates

REPOSITORY = Path(__file__).parents[1]
TIMES = int(os.environ.get("ANALYZER_FUZZ", "1"))
SEED = int(os.environ.get("ANALYZER_FUZZ_SEED", "0"))
LONGEST_S = 10.0
"""What one input may take on a busy machine; none of them is larger than some kilobytes."""


def small(document, most=6):
    """A profile with the first few records of each part, so that a change hits something."""
    return {k: v[:most] if isinstance(v, list) else v for k, v in document.items()}


def real_profiles():
    """Profiles of several kinds: measured over time, dense, with groups, of rates."""
    names = (
        "profiles/ge2mst-tiny.json.gz",
        "profiles/vit-tiny.json.gz",
        "reports/published/profiles/spikformer-8-512.json.gz",
        "reports/fashion/profiles/ge2mst-tiny-stbp-T8-s2.json.gz",
        "reports/reproduction/profiles/spikingformer-8-512.json",
    )
    for name in names:
        content = (REPOSITORY / name).read_bytes()
        text = gzip.decompress(content) if name.endswith(".gz") else content
        yield small(json.loads(text))
    yield small(of_single_samples())


def of_single_samples():
    """What two samples did, one by one."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    spikes = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 0]])
    profile = analyzer.profile(model.eval(), spikes, per_sample=True, progress=False)
    return json.loads(gzip.decompress(profile.to_bytes()))


PROFILES = tuple(real_profiles())


def sentence(error: AnalyzerError) -> str:
    """The message of an error, which must be one sentence that a user can read."""
    text = str(error)
    assert text.endswith((".", "?")), text
    assert len(text) < 2000
    assert "Traceback" not in text
    return text


def consistent(profile: Profile) -> None:
    """Counts are no negative numbers and add up exactly, and prices are finite and add up."""
    counts = profile.counts
    for column in ("dense_macs", "input_elements", "adds", "output_elements"):
        cells = [int(n) for n in counts[column].dropna()]
        assert min(cells, default=0) >= 0
        records = {
            "dense_macs": (*profile.contractions, *profile.shapes),
            "adds": () if profile.folds_batch_norm else profile.tallies,
        }.get(column)
        if records:
            assert sum(cells) == sum(getattr(r, column) for r in records)
    if not profile.samples:
        return
    convention = "rate" if profile.shapes else "exact"
    report = profile.energy(convention=convention)
    total = report.total_pj
    assert math.isfinite(total)
    assert total >= 0
    rows = report.table
    by_hand = sum(0.9 * ac + 4.6 * mac for ac, mac in zip(rows["ac"], rows["mac"], strict=True))
    assert total == pytest.approx(by_hand, rel=1e-6, abs=1e-12)
    assert (rows["ac"] >= 0).all()
    assert (rows["mac"] >= 0).all()


def used(path) -> str:
    """Reads and prices a file; returns ``refused`` or ``priced``."""
    begin = time.monotonic()
    try:
        profile = analyzer.load(path)
        consistent(profile)
        repr(profile)
        _ = profile.latency_ms, profile.accuracy
        str(profile.summary(2))
        if profile.sampled is not None and profile.samples and not profile.shapes:
            assert (profile.spread().samples[["ac", "mac", "energy_pj"]] >= 0).all(axis=None)
        if not profile.shapes:
            profile.energy(memory="spyx")
        outcome = "priced"
    except AnalyzerError as error:
        sentence(error)
        outcome = "refused"
    assert time.monotonic() - begin < LONGEST_S
    return outcome


@pytest.fixture(autouse=True)
def no_warnings_of_arithmetic():
    """A division by zero or an overflow that is only warned of is a wrong figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", AnalyzerWarning)
        yield


@pytest.mark.parametrize("number", range(len(PROFILES)))
def test_changed_profiles(number, tmp_path):
    path = tmp_path / "p.json"
    seen = {"priced": 0, "refused": 0}
    for seed in range((160 if "sampled" not in PROFILES[number] else 40) * TIMES):
        rng = random.Random(f"{SEED} {number} {seed}")
        try:
            path.write_bytes(as_json(changed(PROFILES[number], rng)))
            seen[used(path)] += 1
        except Exception as error:
            error.add_note(f"profile {number}, seed {seed}")
            raise
    assert min(seen.values()) > (10 if "sampled" not in PROFILES[number] else 4) * TIMES, seen


def test_scrambled_profiles(tmp_path):
    """Bytes of plain and compressed files; few of them are still read."""
    seen = {"priced": 0, "refused": 0}
    for seed in range(600 * TIMES):
        rng = random.Random(f"{SEED} bytes {seed}")
        content = as_json(rng.choice(PROFILES))
        path = tmp_path / "p.json"
        if rng.random() < 0.3:
            path.write_bytes(scrambled(gzip.compress(content, 1), rng))
        else:
            path.write_bytes(scrambled(content, rng))
        try:
            seen[used(path)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert seen["refused"] > 100 * TIMES, seen


SITE = ("contractions", 0)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((*SITE, "dense_macs"), -5, r"contractions\[0\]\.dense_macs is below 0"),
        ((*SITE, "calls"), 2**63, r"contractions\[0\]\.calls is above 2\^63"),
        ((*SITE, "lhs", "nonzeros"), 10**15, r"contractions\[0\]\.lhs has \d+ non-zeros among"),
        ((*SITE, "pair_events"), 10**15, r"pair_events is \d+, and there are \d+ products"),
        ((*SITE, "lhs", "values", "low"), 1, "has levels from 1 to"),
        ((*SITE, "module"), "a." * 501, "nested more than 500 modules deep"),
        (("samples",), 2**63, "samples is beyond 2\\^63"),
        (("metadata", "mine"), {"a": [1, float("nan")]}, r"metadata.mine.a.1 is no finite number"),
        (("metadata", "timesteps"), 0, "metadata.timesteps is 0"),
        (("metadata", "parameters"), -1, "metadata.parameters is -1"),
        (("sent", 0, "silent"), f"{2**40} eJw=", "no number of neurons"),
        (("sent", 0, "silent"), "-8 eJw=", "no number of neurons"),
        (("sent", 0, "nonzeros"), 10**15, "non-zeros among"),
        (("sent", 0, "silent"), 5, r"sent\[0\].silent is 5"),
        (("sent", 0, "silent"), {}, r"sent\[0\].silent is \{\}"),
        ((*SITE, "lhs", "parameter"), True, "is of weights, and none of its operands"),
    ],
    ids=lambda p: str(p)[:30],
)
def test_what_can_not_be_is_named(tmp_path, place, value, says):
    refuses(tmp_path, PROFILES[0], place, value, says)


SAMPLED = PROFILES[-1]


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("matrix",), 5, "sampled.matrix is 5"),
        (("matrix",), "x", "'x' is no matrix of figures"),
        (("matrix",), f"{2**20} {2**20} eJw=", "1,099,511,627,776 figures of samples are more"),
        (("matrix",), Matrix(np.full((2, 9), -1)).text, "has figures below 0"),
        (("sites", 0, "factors", 1), -4, "below 0"),
        (("sites", 0, "factors", 1), 2**62 + 1, "may add up to more than 2\\^60"),
        (("sites", 0, "factors", 2), 0, "more non-zeros than elements"),
    ],
    ids=lambda p: str(p)[:30],
)
def test_single_samples_that_can_not_be_are_refused(tmp_path, place, value, says):
    refuses(tmp_path, SAMPLED, ("sampled", *place), value, says)


def nested(depth):
    """A contraction with parts that have parts, and a value at the bottom that is none."""
    site = json.loads(json.dumps(PROFILES[0]["contractions"][0]))
    for _ in range(depth):
        site = {**site, "parts": [site]}
    inner = site
    while inner["parts"]:
        inner = inner["parts"][0]
    inner["calls"] = "many"
    return site


def tally(module):
    return {**PROFILES[0]["tallies"][0], "module": module}


@pytest.mark.parametrize(
    "document",
    [
        {**PROFILES[0], "contractions": [nested(40)]},
        {**PROFILES[0], "contractions": [nested(400)]},
        {
            **PROFILES[0],
            "metadata": {**PROFILES[0]["metadata"], 40_000 * "k": 4000 * [0] + [1e999]},
        },
        PROFILES[0] | {f"k{i}": 0 for i in range(20_000)} | {"samples ": 0},
        {**PROFILES[0], "tallies": [tally(f"m{i % 5_000}") for i in range(5_001)]},
    ],
    ids=["parts of parts", "parts too deep", "long key", "many keys", "many records"],
)
def test_small_files_take_no_long_time(document, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document).replace('"samples "', '"k7"'))
    begin = time.process_time()
    with pytest.raises(AnalyzerError):
        analyzer.load(path)
    assert time.process_time() - begin < LONGEST_S
    tracemalloc.start()
    try:
        with pytest.raises(AnalyzerError):
            analyzer.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_layers_side_by_side_make_a_tree_in_no_long_time():
    table = {"module": [f"m{i}" for i in range(10_000)], "op": "linear", "firing_rate": 1.0}
    profile = analyzer.from_rates({**table, "dense_macs": 1})
    begin = time.monotonic()
    profile.summary()
    assert time.monotonic() - begin < LONGEST_S


def test_a_header_of_many_columns_is_refused(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text("module,firing_rate" + 50_000 * ",a" + "\n")
    with pytest.raises(AnalyzerError, match="it has 50,002 columns, and 1000 are read at most"):
        read_rates(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "p.json"
    text = json.dumps(PROFILES[0])
    path.write_text(text.replace('"samples":', '"samples": 7, "samples":', 1))
    with pytest.raises(AnalyzerError, match="the key 'samples' is there twice"):
        analyzer.load(path)
    document = {**PROFILES[0], "contractions": 2 * PROFILES[0]["contractions"]}
    path.write_text(json.dumps(document))
    with pytest.raises(AnalyzerError, match="says again what one before it says"):
        analyzer.load(path)


def test_integers_are_exact_or_refused():
    """Sums of int64 in a table wrap round without a word."""

    def rated(*dense):
        table = {"module": [f"m{i}" for i in range(len(dense))], "op": "linear"}
        return analyzer.from_rates({**table, "dense_macs": list(dense), "firing_rate": 1.0})

    exact = rated(2**59 + 1, 2**58 + 1)
    assert [int(n) for n in exact.counts["dense_macs"]] == [2**59 + 1, 2**58 + 1]
    assert exact.totals["dense_macs"] == 2**59 + 2**58 + 2
    for wrapping in ((2**62, 2**62), (2**62 + 1, 2**62, 1), (2**63 - 1, 1)):
        with pytest.raises(AnalyzerError, match=r"add up to .* not kept exactly"):
            rated(*wrapping).energy(convention="rate")
    with pytest.raises(AnalyzerError, match=r"it must be a number from 0 below 2\^63"):
        rated(2**63)
    with pytest.raises(AnalyzerError, match=r"can not be above 10\^12"):
        analyzer.from_rates(
            {"module": ["m"], "op": ["linear"], "dense_macs": [1], "firing_rate": [1e308]}
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("range = 3", "range = 3, a whole number: it must be a table"),
        ("add_pj = {fp32 = 1e308}", r"add_pj.fp32 = 1e\+308: numbers go up to 1e\+30"),
        (f"add_pj = {{fp32 = {10**400}}}", "a number of more than 60 digits: numbers go up"),
        (f"add_pj = {{fp32 = {2**63}}}\nx = {'[' * 5000}", "no readable technology"),
        (f"a = {'[' * 5000}", "no readable technology"),
    ],
    ids=lambda p: p[:30],
)
def test_data_files_that_can_not_be(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "x"\ntitle = "x"\nsource = "x"\n{text}\n')
    profile = analyzer.load(REPOSITORY / "profiles/vit-tiny.json.gz")
    with pytest.raises(AnalyzerError, match=says):
        profile.energy(technology=str(path))


KINDS = {
    "technologies": lambda p, path: p.energy(technology=path),
    "conventions": lambda p, path: p.energy(convention=path),
    "memories": lambda p, path: p.energy(memory=path, precision="int8"),
    "hardware": analyzer.fit,
}


@pytest.mark.parametrize("kind", KINDS)
def test_changed_data_files(kind, tmp_path):
    folder = resources("analyzer.energy") / kind
    texts = sorted(e.read_text("utf-8") for e in folder.iterdir() if e.name.endswith(".toml"))
    profile = analyzer.load(REPOSITORY / "profiles/ge2mst-tiny.json.gz")
    path = tmp_path / "mine.toml"
    seen = {"priced": 0, "refused": 0}
    for seed in range((150 if kind == "hardware" else 250) * TIMES):
        rng = random.Random(f"{SEED} {kind} {seed}")
        text = rng.choice(texts)
        content = toml_lines(text, rng).encode("utf-8")
        path.write_bytes(scrambled(content, rng) if rng.random() < 0.15 else content)
        begin = time.monotonic()
        try:
            found = KINDS[kind](profile, str(path))
            if kind != "hardware":
                assert math.isfinite(found.total_pj)
                assert found.total_pj >= 0
            str(found)
            seen["priced"] += 1
        except AnalyzerError as error:
            sentence(error)
            seen["refused"] += 1
        except Exception as error:
            error.add_note(f"{kind}, seed {seed}:\n{path.read_bytes()[:3000]!r}")
            raise
        assert time.monotonic() - begin < LONGEST_S
    assert min(seen.values()) > 3 * TIMES, seen


def test_changed_tables(tmp_path):
    """Firing rates and published tables as CSV."""
    rates = b"module,firing_rate,driven\nconv,1,0\nblock,0.2,1\nhead,0.1,\n"
    table = (
        b"model,T,energy_mJ,params_M,operations_G\nSpikformer 8-512,4,11.58,29.7,11.09\nx,1,2,3,4\n"
    )
    shapes = {"module": ["conv", "block", "head"], "op": ["conv2d", "linear", "linear"]}
    counted = analyzer.from_rates(shapes | {"dense_macs": [4, 10, 1], "firing_rate": [1, 0.2, 0.1]})
    path = tmp_path / "t.csv"
    for seed in range(400 * TIMES):
        rng = random.Random(f"{SEED} tables {seed}")
        for content, use in (
            (rates, lambda: with_rates(counted, read_rates(path))),
            (table, lambda: repr(analyzer.audit(path))),
        ):
            path.write_bytes(scrambled(content, rng))
            try:
                use()
            except AnalyzerError as error:
                sentence(error)
            except Exception as error:
                error.add_note(f"seed {seed}: {path.read_bytes()!r}")
                raise
