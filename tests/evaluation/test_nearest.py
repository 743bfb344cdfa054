"""Labels on another grid are those of the nearest voxels."""

import numpy as np
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.nearest import resample_nearest


def test_labels_take_the_nearest_voxel_and_nothing_in_between() -> None:
    labels = Volume(
        np.array([[[1, 9]]], np.uint8), Geometry((1, 1, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    )
    fine = resample_nearest(labels, labels.geometry.with_spacing((1.0, 1.0, 0.5)))
    assert fine.array.tolist() == [[[1, 1, 9, 9]]]
    assert fine.array.dtype == np.uint8


def test_beyond_the_labels_there_is_background() -> None:
    labels = Volume(
        np.full((2, 2, 2), 5, np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), CANONICAL_AXES_LPS)
    )
    larger = Geometry((4, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, -1.0), CANONICAL_AXES_LPS)
    assert resample_nearest(labels, larger).array[:, 0, 0].tolist() == [0, 5, 5, 0]
