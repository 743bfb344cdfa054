"""What pathology needs to know of a body: where each tissue lies, where fluid can gather, where the table is."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.completion import BODY_SPACING_ZYX, Body
from training.painting.tissue import NO_HU, TISSUES, Tissue

Float64 = npt.NDArray[np.float64]

_STEP = (2, 3, 3)
_COARSE_MM = tuple(step * mm for step, mm in zip(_STEP, BODY_SPACING_ZYX, strict=True))
_MOST_PLACES = 400

_ORGAN_CENTRE = (1, 2, 3, 4, 9, 13)
_IN_THE_BELLY = (
    Tissue.LIVER, Tissue.SPLEEN, Tissue.GALLBLADDER, Tissue.STOMACH, Tissue.STOMACH_CONTENT, Tissue.COLON,
    Tissue.COLON_CONTENT, Tissue.SMALL_BOWEL, Tissue.BOWEL_CONTENT, Tissue.BLADDER,
)  # fmt: skip
_BEHIND_THE_BELLY = (
    Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA, Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA, Tissue.RIGHT_ADRENAL,
    Tissue.LEFT_ADRENAL, Tissue.AORTA, Tissue.VENA_CAVA, Tissue.SPONGIOSA, Tissue.CORTICAL_BONE,
)  # fmt: skip
_WALL = (Tissue.MUSCLE, Tissue.SPONGIOSA, Tissue.CORTICAL_BONE, Tissue.CARTILAGE)
_KIDNEYS = (Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA, Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA)


class BodySites:
    """Places in one body, as indices of its voxels (z, y, x); found on every 2nd, 3rd, 3rd voxel."""

    def __init__(self, body: Body) -> None:
        # views: of hundreds of bodies no copy is kept
        self._coarse = body.tissues[1 :: _STEP[0], 1 :: _STEP[1], 1 :: _STEP[2]]
        self.centre: Float64 = _organ_centre(body.tissues)
        hu = body.hu[1 :: _STEP[0], 1 :: _STEP[1], 1 :: _STEP[2]]
        self.has_hu = bool((hu != NO_HU).any())
        self._hu = hu if self.has_hu else None

    @functools.cached_property
    def places(self) -> dict[int, Float64]:
        """Of each tissue at most 400 places, spread over it."""
        flat = self._coarse.ravel()
        # a stable sort of bytes is one pass, where a search for each tissue is thirty
        order = np.argsort(flat, kind="stable")
        ends = np.cumsum(np.bincount(flat))
        places: dict[int, Float64] = {}
        for tissue, (start, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
            if end > start:
                chosen = order[start : end : 1 + (end - start) // _MOST_PLACES]
                where = np.stack(np.unravel_index(chosen, self._coarse.shape), -1)
                places[tissue] = where.astype(np.float64) * _STEP + 1
        return places

    @functools.cached_property
    def real_hu(self) -> dict[int, float]:
        """Of each tissue the median HU in the real scan that was warped along, where it reaches."""
        if self._hu is None:
            return {}
        seen = {int(tissue): self._hu[(self._coarse == tissue) & (self._hu != NO_HU)] for tissue in self.places}
        return {tissue: float(np.median(hu)) for tissue, hu in seen.items() if len(hu)}

    @functools.cached_property
    def box(self) -> dict[int, tuple[Float64, Float64]]:
        """Of each tissue the lowest and the highest index along each axis."""
        boxes = ndimage.find_objects(self._coarse, int(Tissue.BOWEL_CONTENT))
        found = {}
        for tissue, box in enumerate(boxes, start=1):
            if box is not None:
                ends = np.array([(part.start, part.stop - 1) for part in box]).T * np.asarray(_STEP) + 1
                found[tissue] = (ends[0].astype(np.float64), ends[1].astype(np.float64))
        return found

    @functools.cached_property
    def body_box(self) -> tuple[Float64, Float64]:
        """The trunk's lowest and highest index along each axis, in the middle half of the body."""
        slices = len(self._coarse)
        body = self._coarse[slices // 4 : max(3 * slices // 4, slices // 4 + 1)] > 0
        ends = []
        for axis, step in enumerate(_STEP):
            # an arm is no part of the trunk
            rows = np.flatnonzero(body.mean(tuple(other for other in range(3) if other != axis)) > 0.05)
            ends.append((rows[0] * step + 1, rows[-1] * step + 1) if len(rows) else (0, body.shape[axis] * step))
        both = np.array(ends, np.float64).T
        return both[0], both[1]

    @functools.cached_property
    def belly_mm(self) -> npt.NDArray[np.uint8]:
        """On every 2nd, 3rd, 3rd voxel: mm to the nearest organ of the belly; 255 where ascites does not get."""
        organs = np.isin(self._coarse, _IN_THE_BELLY)
        if not organs.any():
            return np.full(self._coarse.shape, 255, np.uint8)
        reach = ndimage.distance_transform_edt(~organs, _COARSE_MM)
        behind = ndimage.distance_transform_edt(~np.isin(self._coarse, _BEHIND_THE_BELLY), _COARSE_MM)
        rows = np.arange(self._coarse.shape[1])[None, :, None]
        kidneys = np.flatnonzero(np.isin(self._coarse, _KIDNEYS).any((0, 2)))
        # fat behind the kidneys is behind the peritoneum; round liver and spleen fluid gets further back
        dorsal = rows > (kidneys.mean() if len(kidneys) else self._coarse.shape[1])
        allowed = _within_the_wall(self._coarse) & (behind > 10) & (~dorsal | (reach < 10))
        liver = np.flatnonzero((self._coarse == Tissue.LIVER).any((1, 2)))
        if len(liver):
            allowed[liver[-1] + 1 :] = False
        return np.where(allowed | organs, np.minimum(reach, 250), 255).astype(np.uint8)


def _organ_centre(tissues: npt.NDArray[np.uint8]) -> Float64:
    """The middle of the box round the organs that patches are centred on."""
    table = np.zeros(TISSUES, np.bool_)
    table[list(_ORGAN_CENTRE)] = True
    organs = table[tissues]
    ends = [np.flatnonzero(organs.any(others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    middle: Float64 = np.mean(ends, 1)
    return middle


class SitesOfBodies:
    """The sites of each of many bodies, found once, when they are first asked for."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        self._bodies = bodies
        self._found: dict[int, BodySites] = {}

    def __getitem__(self, which: int) -> BodySites:
        if which not in self._found:
            self._found[which] = BodySites(self._bodies[which])
        return self._found[which]


def _within_the_wall(coarse: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where muscle or bone lies in at least three of the four directions, seen in the axial plane."""
    wall = np.isin(coarse, _WALL)
    seen = np.zeros(coarse.shape, np.uint8)
    for axis in (1, 2):
        seen += np.maximum.accumulate(wall, axis)
        seen += np.flip(np.maximum.accumulate(np.flip(wall, axis), axis), axis)
    within: npt.NDArray[np.bool_] = ndimage.median_filter(seen, (1, 3, 3)) >= 3
    return within
