"""What a CT's HU alone say of each voxel: air, fat, soft tissue, bone, skin, and where the body is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.tissue import Tissue

SOFT_HU = (-25.0, 130.0)
"""Between fat and bone; with contrast, vessels and kidneys are brighter."""

_SKIN_MM = 3.1
_TABLE_MM = 6.0
"""Thinner than this, beside the body, is table or sheet."""


def tissues_by_hu(
    hu: npt.NDArray[np.int16], spacing_zyx: tuple[float, float, float]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The tissue map (z, y, x) of a canonical scan, ``AIR`` outside the body, and the smoothed HU it was read from.

    All soft tissue is ``MUSCLE``, all gas in the body ``AIRWAY``.
    """
    smooth: npt.NDArray[np.float32] = ndimage.gaussian_filter(
        hu.astype(np.float32), [min(0.6, 1.8 / mm) for mm in spacing_zyx]
    )
    rounds = max(1, round(_TABLE_MM / max(spacing_zyx)))
    parts, _ = ndimage.label(ndimage.binary_opening(smooth > -300, iterations=rounds))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = parts == sizes.argmax()
    for slice_ in body:
        slice_[:] = ndimage.binary_fill_holes(slice_)
    tissues = np.select(
        [smooth < -400, smooth < SOFT_HU[0], smooth < SOFT_HU[1], smooth < 350],
        [Tissue.AIRWAY, Tissue.FAT, Tissue.MUSCLE, Tissue.SPONGIOSA],
        Tissue.CORTICAL_BONE,
    ).astype(np.uint8)
    tissues[body & ~ndimage.binary_erosion(body, ball(_SKIN_MM, spacing_zyx), border_value=1)] = Tissue.SKIN
    tissues[~body] = Tissue.AIR
    return tissues, smooth


def ball(radius_mm: float, spacing_zyx: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    """The voxels whose middle lies within ``radius_mm`` of the middle one's."""
    sides = [int(radius_mm // mm) for mm in spacing_zyx]
    axes = [np.arange(-side, side + 1) * mm for side, mm in zip(sides, spacing_zyx, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside: npt.NDArray[np.bool_] = z**2 + y**2 + x**2 <= radius_mm**2
    return inside
