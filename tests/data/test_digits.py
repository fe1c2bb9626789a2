"""The embedded digits: shapes, the fixed split, and batches in order."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from analyzer.data.digits import batches, digits


def test_shapes_types_and_range():
    for split, count in zip(digits(), (1437, 360), strict=True):
        images, labels = split.tensors
        assert images.shape == (count, 1, 32, 32)
        assert images.dtype == torch.float32
        assert labels.shape == (count,)
        assert labels.dtype == torch.int64
        assert images.min() == 0
        assert images.max() == 1


def test_native_size_gives_back_every_source_image_once_with_its_label():
    source = load_digits()
    splits = [split.tensors for split in digits(image_size=8)]
    images = torch.cat([images for images, _ in splits]).flatten(1).mul(16)
    labels = torch.cat([labels for _, labels in splits])
    found = np.column_stack([images.numpy(), labels.numpy()])
    expected = np.column_stack([source.data, source.target])
    order = [np.lexsort(rows.T) for rows in (found, expected)]
    np.testing.assert_array_equal(found[order[0]], expected[order[1]])


def test_split_is_stratified_and_always_the_same():
    (_, test), (_, again) = digits(), digits()
    counts = torch.bincount(test.tensors[1])
    assert counts.sum() == 360
    assert counts.min() >= 35
    assert counts.max() <= 37
    assert torch.equal(test.tensors[0], again.tensors[0])


def test_batches_keep_the_order():
    _, test = digits(image_size=8)
    loaded = [labels for _, labels in batches(test, 100)]
    assert [len(labels) for labels in loaded] == [100, 100, 100, 60]
    assert torch.equal(torch.cat(loaded), test.tensors[1])


def test_iterating_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    list(batches(digits(image_size=8)[1], 100))
    assert torch.equal(torch.random.get_rng_state(), before)
