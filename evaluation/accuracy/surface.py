"""Surface overlap at a tolerance (NSD), by the library that FLARE22's organisers use."""

import warnings
from typing import Any

import numpy as np
from attention_dmfnet.geometry import Triple

from evaluation.accuracy.dice import Mask
from evaluation.errors import EvaluationError


def surface_dice(prediction: Mask, reference: Mask, spacing_zyx: Triple, tolerance_mm: float) -> float:
    """The normalised surface Dice: the share of both surfaces' area that lies within ``tolerance_mm`` of the other.

    (area of the reference's surface within the tolerance + area of the prediction's) / (both areas), as
    google-deepmind/surface-distance computes it: surface elements sit at the corners of voxels, their area depends on
    the eight voxels around, and a distance equal to the tolerance counts. Masks are (z, y, x) with ``spacing_zyx`` in
    mm. Two empty masks agree: 1; one empty mask: 0.

    Raises ``EvaluationError`` if the library is not installed.
    """
    if not prediction.any() or not reference.any():
        return float(prediction.any() == reference.any())
    box = bounding_box(prediction | reference)
    library = _library()
    with warnings.catch_warnings():
        # the library calls SciPy by names that are deprecated but still there
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = library.compute_surface_distances(reference[box], prediction[box], spacing_zyx)
        return float(library.compute_surface_dice_at_tolerance(distances, tolerance_mm))


def bounding_box(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box, as an index, that holds all that is set in ``mask`` (z, y, x), which must not be empty."""
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return (slices[0], slices[1], slices[2])


def _library() -> Any:
    try:
        # here and not above, so that DSC and the demonstration do without SciPy
        from surface_distance import metrics
    except ImportError as error:
        raise EvaluationError(
            f'surface distances need the extra `evaluation`: pip install "attention-dmfnet[evaluation]" ({error})'
        ) from error
    return metrics
