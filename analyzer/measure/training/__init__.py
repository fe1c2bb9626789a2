"""Training: the work of a pass with a gradient, and the bytes that autograd keeps for it."""
