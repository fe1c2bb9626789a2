"""Whether a model fits on a neuromorphic chip, and how far its spikes go there."""
