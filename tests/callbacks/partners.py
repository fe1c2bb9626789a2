"""Lightning and transformers, imported beside packages that do not load; None where missing."""

from importlib import import_module

from neighbours import without_broken_neighbours


def _of(*names):
    with without_broken_neighbours():
        try:
            found = [import_module(name) for name in names]
        except ModuleNotFoundError:
            return None
    return found[0]


lightning = _of("lightning", "lightning.pytorch")
old_lightning = _of("pytorch_lightning")
transformers = _of("transformers", "accelerate", "transformers.trainer")
