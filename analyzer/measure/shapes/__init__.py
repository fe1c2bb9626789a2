"""Counts by shapes alone: one forward pass on the meta device, where nothing is computed."""
