"""Tensors of a model and of a pass: what is known of each, and how they are put back as found."""
