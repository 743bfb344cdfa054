"""Volume overlap (DSC) of two label maps. Needs NumPy only."""

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.organs import ORGANS

Mask = npt.NDArray[np.bool_]
"""(z, y, x) whether a voxel belongs to an organ."""


def dice(prediction: Mask, reference: Mask) -> float:
    """The Dice similarity coefficient 2|A∩B| / (|A| + |B|), from 0 to 1; two empty masks agree: 1."""
    both = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    return 2 * int(np.count_nonzero(prediction & reference)) / both if both else 1.0


def dice_by_organ(prediction: npt.NDArray[Any], reference: npt.NDArray[Any]) -> dict[str, float]:
    """DSC of each of the thirteen organs between two label maps (0 to 13) on the same grid."""
    return {organ: dice(prediction == label, reference == label) for label, organ in enumerate(ORGANS, start=1)}
