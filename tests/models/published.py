"""What several tests of this folder know about the published networks: names and tables."""

import csv
from pathlib import Path

HERE = Path(__file__).parent
FAMILIES = (
    "spikformer-8-384", "spikformer-4-384", "spikingformer-8-384", "spikingformer-4-384",
    "sdt-8-384", "meta-spikeformer-15m", "sdt-v3-5m", "qkformer-10-384", "spikingresformer-ti",
    "statten-2-512", "max-former-10-384", "msvit-10-384",
)  # fmt: skip
"""One size of each flavour of each network."""


def rows(name):
    """The rows of a CSV file, by default of this folder, as dicts."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
