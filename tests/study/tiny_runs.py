"""Runs to study in tests: real trainings of two steps each, on a few drawn images."""

import gzip
import struct

import numpy as np

from analyzer.train import train

SIDE = 28
IMAGES = 20
RUNS = (
    ("ge2mst-tiny-ann", 0, {}, 0.0),
    ("ge2mst-tiny-ann", 1, {}, 0.0),
    ("ge2mst-tiny", 0, {}, 0.0),
    ("ge2mst-tiny", 1, {}, 0.0),
    ("ge2mst-tiny", 0, {"groups": 2, "steps": 2, "max_spikes": 1}, 0.0),
    ("ge2mst-tiny", 0, {}, 1e-6),
    ("ge2mst-tiny-stbp", 0, {}, 0.0),
    ("ge2mst-tiny-stbp", 1, {}, 0.0),
    ("vit-tiny", 0, {}, 0.0),
)


def write_idx(path, values):
    """An IDX file of bytes."""
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


def write_images(folder):
    """Images whose class is how far down a bright bar is, 40 to train on and 20 to test on."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for split, count in (("train", 40), ("t10k", IMAGES)):
        labels = np.arange(count) % 10
        images = draw.integers(0, 60, (count, SIDE, SIDE))
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 3 : 2 * label + 7] += 190
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return str(folder)


def train_runs(folder, data, runs=RUNS):
    """Trains each run for one epoch of two steps, with a log."""
    for name, seed, options, weight in runs:
        words = [name, *(f"{k}{v}" for k, v in options.items()), f"w{weight:g}" if weight else ""]
        stem = "-".join([*filter(None, words), f"s{seed}"])
        train(
            name,
            output=folder / f"{stem}.safetensors",
            log=folder / f"{stem}.csv",
            data=data,
            epochs=1,
            batch_size=20,
            seed=seed,
            augment=[],
            synops_weight=weight,
            options=options,
            progress=False,
        )
