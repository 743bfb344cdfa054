"""Claims about boxes and slabs of one sample in another."""

import numpy as np
import pytest

from training.painting.mix_boxes import mix_boxes

SHAPE = (16, 24, 32)


def sample(value: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(SHAPE, float(value), np.float32), np.full(SHAPE, value, np.uint8)


def test_image_and_labels_come_from_one_sample_or_the_other_in_one_box() -> None:
    slabs = 0
    for seed in range(40):
        image, labels = mix_boxes(*sample(1), *sample(2), np.random.default_rng(seed))
        np.testing.assert_array_equal(image, labels)
        where = np.argwhere(labels == 2)
        sides = where.max(0) - where.min(0) + 1
        assert sides.prod() == len(where)  # a full box
        assert 0 < len(where) < 0.7 * labels.size
        slabs += tuple(sides[1:]) == SHAPE[1:]
    assert 10 < slabs < 30


def test_what_was_given_is_left_alone() -> None:
    one, other = sample(1), sample(2)
    mix_boxes(*one, *other, np.random.default_rng(0))
    assert (one[0] == 1).all()
    assert (one[1] == 1).all()


def test_the_same_generator_cuts_the_same_box() -> None:
    first, again = (mix_boxes(*sample(1), *sample(2), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[1], again[1])


def test_samples_of_two_shapes_are_refused() -> None:
    image, labels = sample(2)
    with pytest.raises(ValueError, match="must be alike"):
        mix_boxes(*sample(1), image[1:], labels[1:], np.random.default_rng(0))
