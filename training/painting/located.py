"""Where a body's organs are, in mm: what the audit measures.

All functions take a tissue map (z, y, x) on canonical axes: z towards the head, y to the back, x to the patient's left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from evaluation.organs import ORGANS
from training.painting.anatomy import TissueMap, aortic_root
from training.painting.audit_limits import Range
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.tissue import Tissue, label_of_tissue

Triple = tuple[float, float, float]
Points = npt.NDArray[np.float64]

CHEST_MM = 45.0
"""The abdomen's field: so far above the liver aorta and esophagus are labelled and judged."""


@dataclass(frozen=True)
class Organ:
    """The voxels of one label, or of a part of it: ``mask`` (z, y, x) lies in the map from voxel ``start_zyx`` on."""

    mask: npt.NDArray[np.bool_]
    start_zyx: tuple[int, int, int]
    spacing_zyx: Triple

    @cached_property
    def points(self) -> Points:
        """(n, 3) mm of the voxels' centres along z, y, x, from the map's first voxel."""
        return np.asarray((np.argwhere(self.mask) + self.start_zyx) * np.asarray(self.spacing_zyx))

    @cached_property
    def middle(self) -> Points:
        """(3,) mm: the centroid."""
        return np.asarray(self.points.mean(0))

    @property
    def bottom(self) -> float:
        """mm: z of the lowest voxel's centre."""
        return self.start_zyx[0] * self.spacing_zyx[0]

    @property
    def top(self) -> float:
        """mm: z of the highest voxel's centre."""
        return self.bottom + (len(self.mask) - 1) * self.spacing_zyx[0]

    @property
    def volume_ml(self) -> float:
        """Volume in millilitres."""
        voxels = int(np.count_nonzero(self.mask))
        return voxels * math.prod(self.spacing_zyx) / 1000

    @cached_property
    def largest_part(self) -> float:
        """Share of the voxels in the largest part; voxels that touch by a corner are one part."""
        sizes = np.bincount(ndimage.label(self.mask, np.ones((3, 3, 3)))[0].ravel())[1:]
        return float(sizes.max() / sizes.sum())

    @cached_property
    def surface(self) -> Points:
        """(n, 3) mm of the voxels with a neighbour outside."""
        inner = ndimage.binary_erosion(np.pad(self.mask, 1))[1:-1, 1:-1, 1:-1]
        return np.asarray((np.argwhere(self.mask & ~inner) + self.start_zyx) * np.asarray(self.spacing_zyx))

    @cached_property
    def slices(self) -> Points:
        """(n, 4): z, y, x in mm of the middle and the area in mm^2, of each axial slice that holds a part of it."""
        z, y, x = (self.points[:, axis] for axis in range(3))
        row = np.rint(z / self.spacing_zyx[0]).astype(int) - self.start_zyx[0]
        count = np.bincount(row)
        filled = np.flatnonzero(count)
        middles = [np.bincount(row, weights)[filled] / count[filled] for weights in (z, y, x)]
        area = count[filled] * self.spacing_zyx[1] * self.spacing_zyx[2]
        return np.stack([*middles, area], -1)


@dataclass(frozen=True)
class Located:
    """The organs of a body. ``field`` is z in mm of the first and the last slice that its map covers.

    ``aorta_to_bone_mm`` is the median, over axial slices, of the gap between the aorta and the nearest bone.
    """

    organs: dict[Tissue, Organ]
    field: Range
    spacing_zyx: Triple
    aorta_to_bone_mm: float | None

    def these(self, *wanted: Tissue) -> tuple[Organ, ...] | None:
        """These organs, or ``None`` if one is absent."""
        found = tuple(self.organs[organ] for organ in wanted if organ in self.organs)
        return found if len(found) == len(wanted) else None


def locate(tissues: TissueMap, spacing_zyx: Triple = BODY_SPACING_ZYX) -> Located:
    """Find the organs of a tissue map (z, y, x); inner tissues count to their organ.

    The chest is left out: aorta and esophagus are cut ``CHEST_MM`` above the liver, and the aortic root, which hangs
    down before the descending aorta, is not part of the organ. Raises ``ValueError`` for a map without any tissue.
    """
    filled = np.flatnonzero((tissues > 0).any((1, 2)))
    if len(filled) == 0:
        raise ValueError("the tissue map is empty; complete the body again")
    labels = label_of_tissue()[tissues]
    boxes = ndimage.find_objects(labels, max_label=len(ORGANS))
    liver = boxes[Tissue.LIVER - 1]
    liver_top = None if liver is None else liver[0].stop - 1
    organs = {}
    for label, box in enumerate(boxes, start=1):
        organ = None if box is None else _organ(labels, label, box, liver_top, spacing_zyx)
        if organ is not None:
            organs[Tissue(label)] = organ
    field = (float(filled[0] * spacing_zyx[0]), float(filled[-1] * spacing_zyx[0]))
    aorta = organs.get(Tissue.AORTA)
    return Located(organs, field, spacing_zyx, None if aorta is None else _gap_to_bone(tissues, aorta))


def _organ(
    labels: npt.NDArray[np.uint8], label: int, box: tuple[slice, ...], liver_top: int | None, spacing_zyx: Triple
) -> Organ | None:
    if label in (Tissue.AORTA, Tissue.ESOPHAGUS) and liver_top is not None:
        box = (slice(box[0].start, min(box[0].stop, chest_slice(liver_top, spacing_zyx))), box[1], box[2])
    mask = labels[box] == label
    if label == Tissue.AORTA and liver_top is not None:
        mask = mask & ~aortic_root(mask, liver_top - box[0].start, spacing_zyx)
    if not mask.any():
        return None
    tight = ndimage.find_objects(mask.astype(np.uint8))[0]
    z, y, x = (outer.start + inner.start for outer, inner in zip(box, tight, strict=True))
    return Organ(mask[tight], (z, y, x), spacing_zyx)


def chest_slice(liver_top: int, spacing_zyx: Triple) -> int:
    """The first slice that is no longer judged, ``CHEST_MM`` above the liver's last slice ``liver_top``."""
    return liver_top + 1 + round(CHEST_MM / spacing_zyx[0])


_BONE_REACH_MM = 60.0


def _gap_to_bone(tissues: TissueMap, aorta: Organ) -> float | None:
    reach = [round(_BONE_REACH_MM / mm) for mm in aorta.spacing_zyx[1:]]
    start = [max(0, at - r) for at, r in zip(aorta.start_zyx[1:], reach, strict=True)]
    stop = [at + size + r for at, size, r in zip(aorta.start_zyx[1:], aorta.mask.shape[1:], reach, strict=True)]
    bones = (Tissue.SPONGIOSA, Tissue.CORTICAL_BONE)
    if not np.isin(tissues[aorta.start_zyx[0] :], bones).any():
        return None
    gaps = []
    for n, mask in enumerate(aorta.mask):
        window = tissues[aorta.start_zyx[0] + n, start[0] : stop[0], start[1] : stop[1]]
        bone = np.argwhere(np.isin(window, bones))
        vessel = np.argwhere(mask) + np.subtract(aorta.start_zyx[1:], start)
        if len(vessel) == 0:
            continue
        if len(bone) == 0:
            gaps.append(_BONE_REACH_MM)
            continue
        in_plane = np.asarray(aorta.spacing_zyx[1:])
        gaps.append(float(cKDTree(bone * in_plane).query(vessel[::3] * in_plane)[0].min()))
    return float(np.median(gaps))
