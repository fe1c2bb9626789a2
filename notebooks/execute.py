"""Runs notebooks from top to bottom and keeps their outputs, as they are committed.

    python notebooks/execute.py            # all of them, what `make notebook-outputs` does
    python notebooks/execute.py 05-*.ipynb

Pictures are stored with a palette, at a third of the size. What libraries write to stderr is left
out, for it speaks of the machine.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel, which works in an empty folder."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources=place, record_timing=False
        )
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = with_palette(output.data["image/png"])
    return notebook


def with_palette(picture: str) -> str:
    """A PNG in base64, with a palette of 256 colours."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    written = io.BytesIO()
    # The default method loses the colours of small markers.
    few = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode("ascii")


def main(names: list[str]) -> None:
    paths = [HERE / Path(name).name for name in names] or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        nbformat.write(executed(path), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
