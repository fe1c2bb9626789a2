"""Spiking modules: what one update of each kind computes, and how their state is reset."""
