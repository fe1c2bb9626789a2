"""Every notebook runs from top to bottom and was committed with its outputs, which are small."""

import base64
import io
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_was_committed_executed(path):
    notebook = nbformat.read(path, as_version=4)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not any(o.output_type == "error" for o in outputs)
    assert path.stat().st_size < 150_000


def test_pictures_keep_the_colours_of_small_markers():
    """As in a figure: shades of grey where text is, and few pixels of each colour."""
    store = runpy.run_path(str(NOTEBOOKS[0].parent / "execute.py"))["with_palette"]
    shades = np.random.default_rng(0).integers(0, 256, (300, 400, 1)).repeat(3, axis=2)
    colours = np.array([[0, 114, 178], [213, 94, 0], [204, 121, 167], [0, 158, 115]])
    shades[::50, ::50] = colours[np.arange(48) % 4].reshape(6, 8, 3)
    written = io.BytesIO()
    Image.fromarray(shades.astype(np.uint8)).save(written, "PNG")
    stored = base64.b64decode(store(base64.b64encode(written.getvalue()).decode()))
    seen = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")).astype(int)
    assert np.abs(seen - shades).max() <= 8
    assert len(stored) < len(written.getvalue()) / 2
