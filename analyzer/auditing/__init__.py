"""Holds published tables of energies against the networks' work, and against each other."""
