"""Comparisons that this package makes itself: measured, then rendered."""
