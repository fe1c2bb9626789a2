"""The same model and batch as others count it: brute force, fvcore and PyTorch's own counter."""
