"""Trains a network of ``analyzer.models`` on images and saves its weights: ``analyzer train``.

:func:`train` does all of it. The weights that the package ships were made with it, see
``models/weights/README.md``.
"""

from analyzer.train.run import TrainResult, accuracy, train

__all__ = ["TrainResult", "accuracy", "train"]
