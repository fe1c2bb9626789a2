"""Tests of the reference networks, by the file that they test."""
