"""Courses of drawn vessels against expert ones: how far a completed body's aorta and vena cava run from the real ones.

The body must have been completed from the expert's map with its vessels hidden, else they are compared with themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Geometry, Volume

from evaluation.accuracy.dice import dice
from evaluation.nearest import resample_nearest
from evaluation.organs import ORGANS
from training.errors import TrainingError
from training.painting.anatomy import TissueMap, aortic_root
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.label_maps import read_label_map
from training.painting.located import Triple, chest_slice
from training.painting.structure_names import names_beside, tissue_of_name
from training.painting.tissue import Tissue

LEAST_DSC = 0.7
"""A drawn vessel that overlaps less with the expert's fails."""

COPIED_DSC = 0.97
"""No vessel drawn anew agrees so well: the body holds the map's own."""

VESSELS = (Tissue.AORTA, Tissue.VENA_CAVA)


@dataclass(frozen=True)
class Course:
    """One drawn vessel against the expert's, over the ``slices`` axial slices in which the expert drew it.

    ``median_mm`` and ``largest_mm`` are in-plane distances between the two middles of a slice, NaN if no slice holds
    both. ``missing`` slices hold no drawn vessel.
    """

    vessel: str
    dsc: float
    median_mm: float
    largest_mm: float
    slices: int
    missing: int

    @property
    def failed(self) -> bool:
        """Too little overlap; or so much that nothing was drawn anew."""
        return not LEAST_DSC <= self.dsc < COPIED_DSC


@dataclass(frozen=True)
class PlacedBody:
    """A completed body's tissue map (z, y, x) at ``BODY_SPACING_ZYX``, canonical, and where it lies in the patient.

    ``origin_lps`` is the centre of voxel [0, 0, 0] in mm (x, y, z).
    """

    name: str
    tissues: TissueMap
    origin_lps: Triple

    @property
    def geometry(self) -> Geometry:
        """The body's grid."""
        z, y, x = self.tissues.shape
        return Geometry((z, y, x), BODY_SPACING_ZYX, self.origin_lps, CANONICAL_AXES_LPS)


def compare_courses(drawn: TissueMap, expert: npt.NDArray[np.uint8], spacing_zyx: Triple) -> list[Course]:
    """Aorta and vena cava of ``drawn`` against those of ``expert``, two maps (z, y, x) on one canonical grid.

    Only slices that the expert drew a vessel in count, so that its field of view does not matter. The aorta is compared
    up to 45 mm above the drawn body's liver, without the aortic root. A vessel that the expert's map lacks is left out.
    """
    courses = []
    for vessel in VESSELS:
        real, made = expert == vessel, drawn == vessel
        liver = np.flatnonzero((drawn == Tissue.LIVER).any((1, 2)))
        if vessel == Tissue.AORTA and len(liver):
            chest = chest_slice(int(liver[-1]), spacing_zyx)
            real, made = real[:chest], made[:chest]
            real = real & ~aortic_root(real, int(liver[-1]), spacing_zyx)
        filled = np.flatnonzero(real.any((1, 2)))
        if len(filled):
            courses.append(_course(vessel, made[filled], real[filled], spacing_zyx))
    return courses


def _course(vessel: Tissue, drawn: npt.NDArray[np.bool_], expert: npt.NDArray[np.bool_], spacing_zyx: Triple) -> Course:
    apart = [
        float(np.hypot(*((np.argwhere(made).mean(0) - np.argwhere(real).mean(0)) * spacing_zyx[1:])))
        for made, real in zip(drawn, expert, strict=True)
        if made.any()
    ]
    median, largest = (float(np.median(apart)), max(apart)) if apart else (float("nan"), float("nan"))
    missing = len(expert) - len(apart)
    return Course(ORGANS[vessel - 1], dice(drawn, expert), median, largest, len(expert), missing)


def read_expert(path: Path) -> Volume:
    """An expert map with its aorta as 5, its vena cava as 6 and nothing else, on canonical axes.

    A map that lies a few degrees askew is set straight about its first voxel, as completion takes it. A map with a JSON
    file of names beside it (``MAP.json`` for ``MAP.nii.gz``) is read by these names. Raises ``TrainingError`` for a map
    without either vessel.
    """
    volume = read_label_map(path)
    names = names_beside(path)
    numbers = (
        {int(vessel): vessel for vessel in VESSELS}
        if names is None
        else {number: tissue_of_name(name) for number, name in names.items() if tissue_of_name(name) in VESSELS}
    )
    labels = np.zeros(volume.array.shape, np.uint8)
    for number, vessel in numbers.items():
        labels[volume.array == number] = vessel
    if not labels.any():
        raise TrainingError(f"{path} holds neither aorta (5) nor vena cava (6); name a map with expert vessels")
    grid = volume.geometry
    return Volume(labels, Geometry(grid.shape_zyx, grid.spacing_zyx, grid.origin_lps, CANONICAL_AXES_LPS))


def courses_of_map(path: Path, complete_hidden: Callable[[Path], list[PlacedBody]]) -> dict[str, list[Course]]:
    """By body: its vessels against those of the expert map at ``path``.

    ``complete_hidden`` makes (or finds) the bodies completed from that map with its aorta and vena cava hidden.
    """
    expert = read_expert(path)
    return {
        body.name: compare_courses(body.tissues, resample_nearest(expert, body.geometry).array, BODY_SPACING_ZYX)
        for body in complete_hidden(path)
    }
