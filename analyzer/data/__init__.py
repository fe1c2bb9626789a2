"""Data to measure and train on: the embedded digits, files and folders of the user's, splits."""

from analyzer.data.digits import batches, digits

__all__ = ["batches", "digits"]
