"""Trees of tuples, lists and dictionaries, by PyTorch's own functions."""

from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

__all__ = ["tree_flatten", "tree_leaves", "tree_map"]
