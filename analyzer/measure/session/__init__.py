"""Runs a model: what users call to count one, and the passes that it makes."""
