"""One scan's look, as the painter's compiled loops take it: HU, textures, illness, and what lies beside the body."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float3D = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PLAIN_SPOT, OWN_TEXTURE_SPOT, SPECKLED_SPOT = 0, 1, 2
"""A spot has a texture of its own, that of the tissue it lies in, or is bright in specks and clear between them."""


class Spots(NamedTuple):
    """Ellipsoids, later ones over earlier ones."""

    rows: Float64  # (n, 9) centre z y x, radii z y x, HU, edge noise, texture: PLAIN_SPOT and the like
    into: npt.NDArray[np.int64]  # (n,) bit t is set where tissue t takes the spot


class Ascites(NamedTuple):
    """Fluid in the belly."""

    reach_mm: float  # it reaches this far from the bowel and the organs in the belly; 0: none
    hu: float
    floats: int  # 1: parts of the bowel too have given way to it
    belly_mm: npt.NDArray[np.uint8]  # on every 2nd, 3rd, 3rd voxel: mm from those organs, 255 where no fluid gets


class WetLungs(NamedTuple):
    """Effusion and airless lung."""

    sides: Float64  # (2, 3) right, left: image row behind which fluid lies, rows a row of the body, slice below solid
    hu: Float64  # (2,) of the fluid and of the airless lung
    middle_x: float


class Inlet(NamedTuple):
    """The right atrium, where blood of the vena cava meets that of the arms and the head."""

    slice: float  # in which the vena cava ends
    added_hu: float  # to the cava's HU, far from it
    slices: float  # until then


class Bag(NamedTuple):
    """A full gallbladder."""

    axes: Float64  # (4, 3) its middle, and the rows that take what is off it to half axes
    fat: float  # half axes up to which bowel gives way to fat round it; 0: no such gallbladder


class Beside(NamedTuple):
    """What lies beside the body."""

    table: Float64  # (5,) row, middle x, curve, half width, thickness in voxels; thickness 0: none
    arms: Float64  # (n, 6) y, x, radius, their change per slice (y, x), radius of the bone


NO_SPOTS = Spots(np.zeros((0, 9)), np.zeros(0, np.int64))
NO_ASCITES = Ascites(0.0, 0.0, 0, np.zeros((1, 1, 1), np.uint8))
DRY_LUNGS = WetLungs(np.array([[1e9, 1.0, -1e9]] * 2), np.zeros(2), 0.0)
NO_INLET = Inlet(0.0, 0.0, 1.0)
NO_BAG = Bag(np.zeros((4, 3)), 0.0)
NOTHING_BESIDE = Beside(np.zeros(5), np.zeros((0, 6)))


class Look(NamedTuple):
    """One scan's look, as compiled code takes it. Positions are indices of the body's voxels (z, y, x).

    Levels of fluid are rows of the image: they are drawn as the body's, and ``levels.level_out`` makes them so.
    """

    hu: Float3D  # (TISSUES,)
    rough: Float3D  # (TISSUES,) amplitude of the fine texture, HU
    patchy: Float3D  # (TISSUES,) amplitude of the coarse texture, HU
    vessel: Float3D  # (TISSUES,) half width of the noise shells whose crossings are vessels
    fold: Float3D  # (TISSUES,) half width of the noise shells that are folds of the wall, in contents; 0: none
    gas: Float3D  # (TISSUES,) coarse noise above this is gas
    level: Float3D  # (TISSUES,) image row above (anterior of) which contents are gas
    label: npt.NDArray[np.uint8]  # (TISSUES,)
    absent: npt.NDArray[np.uint8]  # (TISSUES,) 1: removed; fat and bowel lie in its place
    loops: float  # coarse noise above this is bowel in such a place
    real: int  # 1: the background keeps the real scan's HU, 2: everything does
    mixing: Float64  # (3,) vena cava: slice of the renal veins, HU added below, slices of mixing
    spots: Spots = NO_SPOTS
    ascites: Ascites = NO_ASCITES
    chest: WetLungs = DRY_LUNGS
    inlet: Inlet = NO_INLET
    bag: Bag = NO_BAG
    beside: Beside = NOTHING_BESIDE
