import math

import numpy as np
import pytest
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry
from attention_dmfnet.steps.probability import mean_probabilities


def _grid(shape: tuple[int, int, int], mm: float, first_mm: float) -> Geometry:
    return Geometry(shape, (mm, mm, mm), (first_mm, first_mm, first_mm), CANONICAL_AXES_LPS)


def test_the_mean_is_over_the_voxels_of_the_scan_each_with_its_nearest_score() -> None:
    # two network voxels along x, each over 2 x 2 x 2 voxels of the scan; odds of 3 to 1 and of 1 to 1 for label 1
    scores = np.zeros((2, 1, 1, 2), np.float32)
    scores[1, 0, 0] = (math.log(3), 0)
    coarse, scan = _grid((1, 1, 2), 2.0, 0.5), _grid((2, 2, 4), 1.0, 0.0)
    labels = np.zeros(scan.shape_zyx, np.uint8)
    labels[0, 0, :3] = 1
    # voxels 0 and 1 have 3/4, voxel 2 has 1/2
    assert mean_probabilities(scores, coarse, labels, scan) == {1: pytest.approx((0.75 + 0.75 + 0.5) / 3)}


def test_scores_of_any_size_do_not_overflow_and_labels_that_are_not_there_are_left_out() -> None:
    scores = np.zeros((3, 1, 1, 1), np.float32)
    scores[2] = 500
    grid = _grid((1, 1, 1), 1.0, 0.0)
    assert mean_probabilities(scores, grid, np.full((1, 1, 1), 2, np.uint8), grid) == {2: pytest.approx(1.0)}
