"""The frame around exact counts: what a sample, a timestep, a reset and an input are."""
