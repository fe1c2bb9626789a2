"""The embedded data: the handwritten digits that scikit-learn ships, for image classification.

They need no download, and the small reference networks are trained and measured on them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

__all__ = ["batches", "digits"]

_SPLIT_SEED = 0


def digits(image_size: int = 32) -> tuple[TensorDataset, TensorDataset]:
    """The 1797 digits, always in the same stratified split of 1437 and 360 images.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    Args:
        image_size: Side S that the images of 8×8 pixels are resized to, bilinearly.

    Returns:
        The training and the test data: images float32 [N, 1, S, S] in [0, 1], labels int64 [N].
    """
    # Loading scikit-learn takes longer than all that most commands do.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / 16
    images = F.interpolate(images, size=(image_size, image_size), mode="bilinear")
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=0.2, random_state=_SPLIT_SEED, stratify=labels
    )
    return (
        TensorDataset(images[train], labels[train]),
        TensorDataset(images[test], labels[test]),
    )


def batches(
    dataset: Dataset[tuple[Tensor, ...]], batch_size: int
) -> DataLoader[tuple[Tensor, ...]]:
    """A loader of batches in order, in this process, that does not change the random state."""
    # Without a generator of its own, a loader draws from the global one even if it is unshuffled.
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=False, num_workers=0, generator=torch.Generator()
    )
