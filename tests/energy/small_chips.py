"""Small chips and spikes for tests: files of a chip with the figures that a test needs."""

import torch

SMALL = """
name = "small"
title = "Small"
source = "a test"

[cores]
value = %d
source = "a test"
confidence = "A"
"""
ABOUT = 'source = "a test"\nconfidence = "A"\n'


def spikes(*shape, seed=0):
    """Zeros and ones, of which three in ten are one."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def written(tmp_path, text="", cores=4, mesh=None, **values):
    """The path of a file of a chip with these figures; a mesh is columns, rows and cores a tile."""
    tables = [f"[{key}]\nvalue = {value}\n{ABOUT}" for key, value in values.items()]
    if mesh is not None:
        columns, rows, each = mesh
        tables.append(f"[mesh]\ncolumns = {columns}\nrows = {rows}\ncores = {each}\n{ABOUT}")
    path = tmp_path / "small.toml"
    path.write_text(SMALL % cores + "".join(tables) + text)
    return str(path)
