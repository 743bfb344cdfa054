import numpy as np
import pytest

from evaluation.accuracy.dice import dice, dice_by_organ
from evaluation.organs import ORGANS


def test_dice_is_twice_the_overlap_over_both_sizes() -> None:
    assert dice(np.array([True, True, False]), np.array([False, True, False])) == pytest.approx(2 / 3)


def test_two_empty_masks_agree() -> None:
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_masks_without_overlap_score_zero() -> None:
    assert dice(np.array([True, False]), np.array([False, True])) == 0


def test_each_organ_is_scored_by_its_own_label() -> None:
    prediction, reference = np.array([1, 1, 2, 0]), np.array([1, 0, 2, 3])
    scores = dice_by_organ(prediction, reference)
    assert list(scores) == list(ORGANS)
    assert scores["liver"] == pytest.approx(2 / 3)
    assert scores["right kidney"] == 1
    assert scores["spleen"] == 0
    assert scores["left kidney"] == 1
