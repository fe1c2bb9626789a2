"""Random changes of training images: small, of each image by itself, and repeatable."""

import pytest
import torch

from analyzer.data.augmentation import affine, augmentation, flip, shift
from analyzer.errors import AnalyzerError


def dots(count=64, side=32):
    images = torch.zeros(count, 2, side, side)
    images[:, :, side // 2, side // 2] = 1
    return images


def test_a_shift_moves_whole_images_by_up_to_two_pixels():
    torch.manual_seed(0)
    moved = shift(dots(400))
    assert moved.sum((2, 3)).eq(1).all()
    assert torch.equal(moved[:, 0], moved[:, 1])
    peaks = moved[:, 0].flatten(1).argmax(1)
    offsets = torch.stack([peaks // 32 - 16, peaks % 32 - 16], 1)
    assert {tuple(o) for o in offsets.tolist()} == {
        (y, x) for y in range(-2, 3) for x in range(-2, 3)
    }


def test_what_a_shift_brings_in_is_black_and_what_it_moves_out_is_gone():
    torch.manual_seed(1)
    image = torch.rand(1, 1, 5, 4) + 0.5
    moved = shift(image.expand(50, 1, 5, 4))
    padded = torch.nn.functional.pad(image, (4,) * 4)[0, 0]
    windows = padded.unfold(0, 5, 1).unfold(1, 4, 1)
    for one in moved[:, 0]:
        found = (windows == one).all(-1).all(-1).nonzero()
        assert len(found) == 1
        assert (found - 4).abs().max() <= 2


def test_about_half_of_the_images_are_mirrored():
    torch.manual_seed(0)
    images = torch.rand(200, 3, 4, 6)
    changed = flip(images)
    same = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_an_affine_change_is_small_and_different_for_each_image():
    torch.manual_seed(0)
    peaks = affine(dots())[:, 0].flatten(1).argmax(1)
    offsets = torch.stack([peaks // 32 - 16, peaks % 32 - 16]).abs()
    assert offsets.max() <= 3
    assert len(peaks.unique()) > 8


def test_names_are_applied_and_checked():
    images = dots(8)
    assert torch.equal(augmentation([])(images), images)
    torch.manual_seed(3)
    both = augmentation(["shift", "flip"])(images)
    torch.manual_seed(3)
    assert torch.equal(both, shift(flip(images)))
    with pytest.raises(AnalyzerError, match="unknown augmentation 'flop': did you mean 'flip'"):
        augmentation(["flop"])
    with pytest.raises(AnalyzerError, match="leave shift out"):
        augmentation(["shift", "affine"])
