"""The same model and batch as others count it: brute force, fvcore, PyTorch's flop counter."""
