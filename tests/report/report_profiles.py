"""Profiles built by hand for the tests of reports, with numbers that can be worked out on paper."""

from analyzer.facts.records import Contraction, Operand, Tally
from analyzer.facts.values import Values
from analyzer.profiles import Profile

HOSTILE = '<script>alert(1)</script> & "x"_%'

BINARY = Values(1.0, 0, 1, 1e-7)
REAL = Values(real=True)
ZERO = Values()


def layer(
    module, op="linear", *, macs, elements, rate, samples=1, real=False, steps=None, weight=1000
):
    """One operation; `macs` and `elements` are per sample, `steps` firing rates per timestep."""
    elements *= samples
    macs *= samples
    step_elements = step_nonzeros = None
    if steps is None:
        nonzeros = round(elements * rate)
    else:
        step_elements = elements // len(steps)
        step_nonzeros = tuple(round(step_elements * r) for r in steps)
        nonzeros = sum(step_nonzeros)
    events = macs * nonzeros // elements
    values = REAL if real else BINARY if nonzeros else ZERO
    lhs = Operand(False, values, elements, nonzeros, events, 0 if real else events)
    rhs = Operand(True, REAL, weight, weight, macs, 0)
    return Contraction(
        module, op, 0, samples, macs, lhs, rhs, events, 0, step_elements, step_nonzeros
    )


def build(name, sites, *, samples=1, correct=None, uncounted=(), tallies=(), **metadata):
    known = {
        "model": name,
        "parameters": sum(site.weight.elements for site in sites if site.weight),
        "parameters_bytes": 4 * sum(site.weight.elements for site in sites if site.weight),
        "input_shape": [1, 16, 16],
        "timesteps": None,
        "dtype": "float32",
        "device": "cpu",
        "data": "digits (test)",
        "versions": {"torch": "2.13.0", "python": "3.11.7"},
        "seed": 0,
        "weights": "trained",
    }
    return Profile(
        samples, known | metadata, tuple(sites), tuple(tallies), tuple(uncounted), (), correct
    )


def spiking(name="spiking", *, samples=2, **metadata):
    """T = 4. Per sample: 1000 MAC of the first layer, 0.25 · 4000 + 0.1 · 8000 = 1800 AC."""
    sites = [
        layer("stem", "conv2d", macs=1000, elements=400, rate=1, real=True, samples=samples),
        layer("fc1", macs=4000, elements=400, rate=0, steps=(0.1, 0.2, 0.3, 0.4), samples=samples),
        layer("fc2", macs=8000, elements=400, rate=0, steps=(0.1, 0.1, 0.1, 0.1), samples=samples),
    ]
    return build(name, sites, samples=samples, timesteps=4, **metadata)


def dense(name="dense", *, samples=2, **metadata):
    """No time. Per sample: 12000 MAC, no AC."""
    sites = [
        layer("stem", "conv2d", macs=2000, elements=400, rate=1, real=True, samples=samples),
        layer("fc1", macs=10000, elements=400, rate=0.5, real=True, samples=samples),
    ]
    return build(name, sites, samples=samples, **metadata)


def silent(name="silent", *, samples=1, **metadata):
    """A network in which no neuron fires: no work, no energy."""
    sites = [layer("fc", macs=4000, elements=400, rate=0, steps=(0, 0), samples=samples)]
    return build(name, sites, samples=samples, timesteps=2, **metadata)


def realistic(name, *, blocks, width, kind, timesteps=4, samples=64, **metadata):
    """A transformer whose firing rates fall with depth and rise over time."""
    sites = []
    tokens = 64

    def add(module, op, macs, elements, base):
        if kind == "dense":
            site = layer(
                module, op, macs=macs, elements=elements, rate=0.97, real=True, samples=samples
            )
        else:
            rates = [base * (0.6 + 0.4 * t / max(timesteps - 1, 1)) for t in range(timesteps)]
            site = layer(
                module,
                op,
                macs=macs * timesteps,
                elements=elements * timesteps,
                rate=0,
                steps=rates,
                samples=samples,
                weight=macs // tokens,
            )
        sites.append(site)

    first = 1 if kind == "dense" else timesteps
    sites.append(
        layer(
            "patch_embed.0.conv",
            "conv2d",
            macs=9 * width * tokens * 4 * first,
            elements=1024 * first,
            rate=0.48,
            real=True,
            samples=samples,
            steps=None if kind == "dense" else [0.48] * timesteps,
        )
    )
    add("patch_embed.1.conv", "conv2d", 9 * width * width * tokens // 2, width * tokens * 4, 0.22)
    for b in range(blocks):
        base = 0.25 * 0.9**b
        for part in "qkv":
            add(
                f"blocks.{b}.attn.{part}_proj",
                "linear",
                width * width * tokens,
                width * tokens,
                base,
            )
        add(f"blocks.{b}.attn", "matmul", width * tokens * tokens, 2 * width * tokens, base / 2)
        add(f"blocks.{b}.attn", "attention", width * tokens * tokens, 2 * width * tokens, base / 3)
        add(f"blocks.{b}.attn.out_proj", "linear", width * width * tokens, width * tokens, base)
        add(f"blocks.{b}.mlp.fc1", "linear", 4 * width * width * tokens, width * tokens, base)
        add(
            f"blocks.{b}.mlp.fc2",
            "linear",
            4 * width * width * tokens,
            4 * width * tokens,
            base / 2,
        )
    add("head", "linear", width * 10, width, 0.1)
    tallies = [
        Tally(
            "blocks.0.norm",
            "batch_norm",
            samples,
            width * tokens * samples,
            adds=width * tokens * samples,
            multiplies=width * tokens * samples,
        )
    ]
    steps = None if kind == "dense" else timesteps
    return build(name, sites, samples=samples, timesteps=steps, tallies=tallies, **metadata)


def family():
    """Two small spiking networks, a dense one, and a spiking one of a hundred rows."""
    return [
        realistic("ge2mst-tiny", blocks=1, width=64, kind="spiking", correct=62),
        realistic("spikformer-tiny", blocks=4, width=96, kind="spiking", correct=61),
        realistic("vit-tiny", blocks=4, width=96, kind="dense", correct=63),
        realistic(
            "spike-driven-transformer-deep",
            blocks=12,
            width=128,
            kind="spiking",
            uncounted=[Tally("blocks.3.gate", "cumsum", 64, 6400)],
        ),
    ]
