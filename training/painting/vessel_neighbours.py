"""What lies beside aorta and vena cava: crura, right atrium, iliac vessels and renal veins. None has a label.

The crura are muscle on both sides of the aorta and before it. Their thickness is a range chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue
from training.painting.vessel_courses import Floats

_Mask = npt.NDArray[np.bool_]

_CRURA_FROM, _CRURA_TO = -0.05, 0.95
"""Heights in the frame of the vessels' courses."""
_ILIAC_MM, _FORK_MM = 70.0, 6.0
_ROOM_FOR_ATRIUM = (
    Tissue.FAT, Tissue.LUNG, Tissue.SOFT, Tissue.VESSEL, Tissue.MUSCLE, Tissue.AIRWAY, Tissue.HEART,
)  # fmt: skip


@dataclass(frozen=True)
class Tube:
    """Half axes (n, 2) in mm along y and x, slice by slice from ``first`` on, around ``middles`` (n, 2) in voxels."""

    first: int
    middles: Floats
    half_mm: Floats


def draw_crura(
    tissues: TissueMap, aorta: Tube, origin_z_mm: float, height_mm: float, spacing: Floats, rng: np.random.Generator
) -> None:
    """Bands of muscle on both sides of the aorta, the right one thicker, longer and further to the front."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT, Tissue.VESSEL))
    right_mm = rng.uniform(4, 11)
    left_mm = max(right_mm * rng.uniform(0.45, 0.75), 2.5)
    gap_mm, lowest = rng.uniform(0.5, 3.0), rng.uniform(-0.15, 0.1)
    left_lowest = lowest + rng.uniform(0.0, 0.15)
    y, x = (np.arange(size, dtype=np.float64) for size in tissues.shape[1:])
    for n, (middle, half) in enumerate(zip(aorta.middles, aorta.half_mm, strict=True)):
        z = aorta.first + n
        level = (z * spacing[0] - origin_z_mm) / height_mm
        if not max(_CRURA_FROM, lowest) <= level <= _CRURA_TO:
            continue
        dy, dx = ((y - middle[0]) * spacing[1])[:, None], ((x - middle[1]) * spacing[2])[None, :]
        away = np.hypot(dy / half[0], dx / half[1])
        beyond_mm = (away - 1) * np.hypot(dy, dx) / np.maximum(away, 1e-6)
        grown = min(1.0, 0.35 + (level - lowest) / 0.5)
        # from behind the aorta's side to its front; above the coeliac artery both meet before it
        met = float(np.clip((level - 0.45) / 0.4, 0, 1))
        right = dx < 0
        front = np.where(right, 0.3 + 1.3 * met, 0.2 + 1.1 * met)
        thick = np.where(right, right_mm, left_mm * (level >= left_lowest)) * grown
        behind = dy <= half[0] * 1.3
        before = -dy <= np.maximum(half[0] * front, (half[0] + gap_mm + thick) * met)
        band = (beyond_mm >= gap_mm) & (beyond_mm <= gap_mm + thick) & (thick > 0) & behind & before
        tissues[z][band & room[z]] = Tissue.MUSCLE


def draw_atrium(tissues: TissueMap, cava: Tube, spacing: Floats, rng: np.random.Generator) -> None:
    """The right atrium, into which the vena cava opens: an ellipsoid above and before its end."""
    last = cava.first + len(cava.middles) - 1
    height = rng.uniform(22, 40)
    room = np.isin(tissues, _ROOM_FOR_ATRIUM)
    for z in range(last + 1, min(last + 1 + int(2 * height / spacing[0]), len(tissues))):
        share = (z - last) * spacing[0] / height - 1  # from -1 at the cava's end to 1
        wide = 24.0 * np.sqrt(max(1 - share * share, 0.0)) + 4.0 * (share < 0)
        # the cava opens into it with all of its width
        half = np.maximum([wide, wide * 0.85], cava.half_mm[-1] * (share < -0.6))
        middle = cava.middles[-1] - np.array([(1 + share) * 10.0, 0.0]) / spacing[1:]
        tissues[z][inside(tissues.shape, middle, half, spacing) & room[z]] = Tissue.RIGHT_ATRIUM


def draw_iliacs(tissues: TissueMap, tube: Tube, tissue: Tissue, spacing: Floats, rng: np.random.Generator) -> None:
    """Below the bifurcation two vessels of ``tissue`` run apart; they are no part of the label."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT, Tissue.MUSCLE, Tissue.VESSEL))
    radius = float(tube.half_mm[0].mean()) * rng.uniform(0.5, 0.65)
    apart = rng.uniform(0.45, 0.75)
    start = tube.middles[0]
    for z in range(tube.first - 1, max(tube.first - int(_ILIAC_MM / spacing[0]), -1), -1):
        below = (tube.first - z) * spacing[0]
        if below <= _FORK_MM:  # at the fork it is still as wide as above
            tissues[z][inside(tissues.shape, start, tube.half_mm[0], spacing) & room[z]] = tissue
        for side in (-1, 1):
            middle = start + np.array([-0.25 * below, side * (radius * 0.8 + apart * below)]) / spacing[1:]
            half = np.array([radius, radius * 1.15])
            tissues[z][inside(tissues.shape, middle, half, spacing) & room[z]] = tissue


def draw_renal_veins(tissues: TissueMap, cava: Tube, spacing: Floats, rng: np.random.Generator) -> None:
    """From each kidney's inner side to the vena cava, the left one before the aorta."""
    room = np.isin(tissues, (Tissue.FAT, Tissue.SOFT, Tissue.VESSEL))
    for kidney, inner in ((Tissue.RIGHT_KIDNEY, Tissue.RIGHT_MEDULLA), (Tissue.LEFT_KIDNEY, Tissue.LEFT_MEDULLA)):
        where = np.argwhere((tissues == kidney) | (tissues == inner))
        if not len(where):
            continue
        middle = where.mean(0)
        near = where[abs(where[:, 0] - middle[0]) * spacing[0] < 12]
        side = near[:, 2].max() if kidney == Tissue.RIGHT_KIDNEY else near[:, 2].min()
        end_z = int(np.clip(round(middle[0]) + int(rng.integers(0, 4)) - cava.first, 0, len(cava.middles) - 1))
        end = np.array([cava.first + end_z, *cava.middles[end_z]])
        start = np.array([middle[0], near[near[:, 2] == side][:, 1].mean(), side])
        through = (start + end) / 2
        if kidney == Tissue.LEFT_KIDNEY:
            through = _before_aorta(tissues, through, spacing)
        radius = rng.uniform(3.0, 5.5)
        for share in np.linspace(0, 1, 60):
            at = (1 - share) ** 2 * start + 2 * share * (1 - share) * through + share**2 * end
            z = round(float(at[0]))
            for slice_ in range(max(z - 1, 0), min(z + 2, len(tissues))):
                disc = inside(tissues.shape, at[1:], np.array([radius, radius]), spacing)
                tissues[slice_][disc & room[slice_]] = Tissue.RENAL_VEIN


def _before_aorta(tissues: TissueMap, middle: Floats, spacing: Floats) -> Floats:
    """The point in front of the aorta in the slice of ``middle``; a curve through it passes there twice as far off."""
    z = int(np.clip(round(float(middle[0])), 0, len(tissues) - 1))
    aorta = np.argwhere(tissues[z] == Tissue.AORTA)
    if not len(aorta):
        return middle
    return np.array([middle[0], aorta[:, 0].min() - 14.0 / spacing[1], aorta[:, 1].mean()])


def inside(shape: tuple[int, ...], middle: Floats, half: Floats, spacing: Floats) -> _Mask:
    """(y, x) of a slice of a map of this ``shape``: the ellipse of ``half`` axes in mm round ``middle`` in voxels."""
    y, x = (np.arange(size, dtype=np.float64) for size in shape[1:])
    down = ((y - middle[0]) * spacing[1] / half[0]) ** 2
    across = ((x - middle[1]) * spacing[2] / half[1]) ** 2
    # at least the voxel in the middle, however thin the vessel
    down[int(np.clip(round(middle[0]), 0, len(y) - 1))] = min(down.min(), 0.2)
    across[int(np.clip(round(middle[1]), 0, len(x) - 1))] = min(across.min(), 0.2)
    filled: _Mask = down[:, None] + across[None, :] <= 1
    return filled
