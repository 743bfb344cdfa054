"""Label maps of one patient's contrast phases: the same anatomy, labelled more than once."""

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Volume

from evaluation.accuracy.dice import dice
from evaluation.nearest import resample_nearest

PHASES = ("plain", "arterial", "portal", "venous", "delayed")
"""Of one examination; a scan of another day lies elsewhere."""

Mask = npt.NDArray[np.bool_]


def patient_of(name: str) -> str | None:
    """PATIENT of a scan named PATIENT-PHASE (``HCC-011-portal``), None for another name."""
    patient, _, phase = name.rpartition("-")
    return patient if patient and phase in PHASES else None


def agreement(one: Volume, other: Volume, aligned: bool = False) -> dict[int, float]:
    """DSC by label of two label maps with the same axes, where both see; of labels that either of them has.

    ``aligned`` brings the centroid of each of the other's organs on to that of the first one's before, to the voxel:
    breathing moves organs as wholes, by centimetres. An organ that only one of them has agrees by 0.
    """
    seen = resample_nearest(Volume(np.ones_like(other.array), other.geometry), one.geometry).array > 0
    here, there = np.where(seen, one.array, 0), np.where(seen, resample_nearest(other, one.geometry).array, 0)
    labels = sorted({int(label) for label in np.union1d(np.unique(here), np.unique(there))} - {0})
    return {label: _agree(here == label, there == label, aligned) for label in labels}


def _agree(here: Mask, there: Mask, aligned: bool) -> float:
    places, others = np.argwhere(here), np.argwhere(there)
    if not (len(places) and len(others)):
        return 0.0
    if not aligned:
        return dice(here, there)
    moved = others + np.rint(places.mean(0) - others.mean(0)).astype(int)
    inside = moved[((moved >= 0) & (moved < here.shape)).all(1)]
    return 2 * int(here[tuple(inside.T)].sum()) / (len(places) + len(others))
