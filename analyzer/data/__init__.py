"""Data to measure and train on.

``digits`` holds the embedded images, ``sources`` opens data to measure a model on (files and
folders of the user's, too), ``arrangement`` makes them the input of a model, and ``splits`` opens
training and test data.
"""

from analyzer.data.digits import batches, digits

__all__ = ["batches", "digits"]
