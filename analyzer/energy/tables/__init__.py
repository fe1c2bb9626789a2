"""Several profiles side by side, the layers of one as a tree, and limits that a model keeps."""
