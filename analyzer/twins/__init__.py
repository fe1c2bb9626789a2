"""The quantised twin of a spiking profile, and what it takes beside it."""
