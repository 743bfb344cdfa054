"""The painter's compiled loops: every voxel's tissue, HU and label, then blur and noise."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from training.painting.anatomy import TissueMap
from training.painting.look import OWN_TEXTURE_SPOT, SPECKLED_SPOT, Float3D, Float64, Look
from training.painting.tissue import NO_HU, UNKNOWN_LABEL, Tissue

NODE_STEP = 8
"""Voxels between two nodes of the deformation."""

NOISE_SIDE = 128
"""Voxels of a noise volume along each axis, a power of two: it repeats beyond."""


# compiled code takes plain numbers, not an enumeration
_AIR, _PANCREAS, _VENA_CAVA, _GALLBLADDER, _LUNG, _VESSEL, _SOFT = (
    int(Tissue.AIR), int(Tissue.PANCREAS), int(Tissue.VENA_CAVA), int(Tissue.GALLBLADDER), int(Tissue.LUNG),
    int(Tissue.VESSEL), int(Tissue.SOFT),
)  # fmt: skip
_CAVA_BEYOND, _RIGHT_ATRIUM = int(Tissue.CAVA_BEYOND), int(Tissue.RIGHT_ATRIUM)
_FIRST_BEYOND = int(Tissue.AORTA_BEYOND)
"""This tissue and all after it go on beyond a label's end: painted where that organ is."""
_SPONGIOSA, _CORTICAL_BONE, _MUSCLE, _FAT = (
    int(Tissue.SPONGIOSA), int(Tissue.CORTICAL_BONE), int(Tissue.MUSCLE), int(Tissue.FAT),
)  # fmt: skip
_STOMACH, _DUODENUM, _COLON, _SMALL_BOWEL = (
    int(Tissue.STOMACH), int(Tissue.DUODENUM), int(Tissue.COLON), int(Tissue.SMALL_BOWEL),
)  # fmt: skip
# the contents follow one another, in this order
_STOMACH_CONTENT, _DUODENUM_CONTENT, _COLON_CONTENT, _BOWEL_CONTENT = (
    int(Tissue.STOMACH_CONTENT), int(Tissue.DUODENUM_CONTENT), int(Tissue.COLON_CONTENT), int(Tissue.BOWEL_CONTENT),
)  # fmt: skip
_FIRST_CONTENT, _LAST_CONTENT = _STOMACH_CONTENT, _BOWEL_CONTENT


@numba.njit(cache=True, fastmath=True, nogil=True)
def paint(
    tissues: TissueMap,
    real_hu: npt.NDArray[np.int16],
    nodes: Float3D,
    banks: Float3D,
    shift: npt.NDArray[np.int64],
    look: Look,
    image: Float3D,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Fill ``image`` (HU) and ``labels`` of one patch whose nodes lie at the body's (z, y, x) indices ``nodes``."""
    depth, height, width = image.shape
    sz, sy, sx = tissues.shape
    hu, rough, patchy, vessel, fold, gas, level = (
        look.hu, look.rough, look.patchy, look.vessel, look.fold, look.gas, look.level,
    )  # fmt: skip
    label, absent, loops, real, mixing = look.label, look.absent, look.loops, look.real, look.mixing
    spots, into = look.spots.rows, look.spots.into
    ascites_mm, ascites_hu, floats, belly_mm = (
        look.ascites.reach_mm, look.ascites.hu, look.ascites.floats, look.ascites.belly_mm,
    )  # fmt: skip
    lungs, lung_hu, middle_x = look.chest.sides, look.chest.hu, look.chest.middle_x
    inlet = look.inlet
    table, arms, bag, bag_fat = look.beside.table, look.beside.arms, look.bag.axes, look.bag.fat
    row = np.empty((nodes.shape[2], 3), np.float32)
    for z in range(depth):
        for y in range(height):
            _between_nodes(nodes, z, y, row)
            for x in range(width):
                nx, fx = x // NODE_STEP, np.float32((x % NODE_STEP) / NODE_STEP)
                p0 = row[nx, 0] + fx * (row[nx + 1, 0] - row[nx, 0])
                p1 = row[nx, 1] + fx * (row[nx + 1, 1] - row[nx, 1])
                p2 = row[nx, 2] + fx * (row[nx + 1, 2] - row[nx, 2])
                i, j, k = round(p0), round(p1), round(p2)
                if i < 0 or i >= sz:
                    labels[z, y, x] = 0  # beyond the end of the scan
                    image[z, y, x] = -1024.0
                    continue
                t, own_hu = _AIR, NO_HU
                if 0 <= j < sy and 0 <= k < sx:
                    t, own_hu = tissues[i, j, k], real_hu[i, j, k]
                if bag_fat > 0 and (_is_bowel(t) or t in (_FAT, _VESSEL, _SOFT)):
                    out = _out_of_bag(p0, p1, p2, bag)
                    if out < 1:
                        t, own_hu = _GALLBLADDER, NO_HU
                    elif out < bag_fat and t != _FAT:
                        t, own_hu = _FAT, NO_HU
                n1 = _noise(banks[1], shift[0], z, y, x)
                n2 = _noise(banks[2], shift[1], z, y, x)
                organ = label[t]
                labels[z, y, x] = organ
                if own_hu != NO_HU and real == 2:
                    image[z, y, x] = own_hu
                    continue
                if t == _AIR:
                    image[z, y, x] = _beside(p0, p1, p2, table, arms, hu, n1, n2)
                    continue
                n3 = _noise(banks[2], shift[2], z, y, x)
                if absent[t]:
                    image[z, y, x] = _gap(loops, hu, n1, n2, n3)
                    continue
                value = _textured(t, y, hu, rough, patchy, vessel, fold, gas, level, n1, n2, n3)
                background = organ == 0 or organ == UNKNOWN_LABEL
                if own_hu != NO_HU and real == 1 and background and _keeps_own_hu(t):
                    value = own_hu
                if t in (_VENA_CAVA, _CAVA_BEYOND):
                    share = (mixing[0] - p0) / mixing[2] + 0.5 + 0.5 * n2
                    value += mixing[1] * min(max(share, 0.0), 1.0)
                elif t == _RIGHT_ATRIUM:
                    share = min(max((p0 - inlet.slice) / inlet.slices + 0.15 * n2, 0.0), 1.0)
                    value += inlet.added_hu * share * share
                elif t == _LUNG:
                    value = _lung(p0, y, p2, lungs, lung_hu, middle_x, value, n1, n2)
                elif (
                    ascites_mm > 0
                    and _takes_fluid(t, floats, n3)
                    and _belly(belly_mm, p0, p1, p2) + 4 * n2 < ascites_mm
                ):
                    value = ascites_hu + 3 * n1 + 2 * n2
                image[z, y, x] = _spotted(p0, p1, p2, t, spots, into, rough, value, n1, n2)


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _is_bowel(t: int) -> Any:
    """Whether tissue ``t`` is the wall or the content of colon or small bowel."""
    return t in (_COLON, _SMALL_BOWEL) or _COLON_CONTENT <= t <= _LAST_CONTENT


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _keeps_own_hu(t: int) -> Any:
    """Whether a real scan's HU may be kept in tissue ``t``, if it has no label."""
    return t != _COLON and t != _SMALL_BOWEL and t < _FIRST_BEYOND


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _textured(
    t: int, y: int, hu: Float3D, rough: Float3D, patchy: Float3D, vessel: Float3D, fold: Float3D, gas: Float3D,
    level: Float3D, n1: float, n2: float, n3: float,
) -> Any:  # fmt: skip
    """HU of tissue ``t`` in row ``y`` of the image, with its texture, vessels, lobules, gas and folds in contents."""
    value = hu[t] + rough[t] * n1 + patchy[t] * n2
    if vessel[t] > 0 and abs(n2) < vessel[t] and abs(n3) < vessel[t]:
        value = hu[_VESSEL]
    if t == _PANCREAS and n1 > 1.1:
        value -= 70  # fat between the pancreas's lobules
    if _FIRST_CONTENT <= t <= _LAST_CONTENT:
        if n3 > gas[t] or y < level[t]:
            value = -950 + 10 * n1
        elif abs(n2) < fold[t]:
            value = hu[_wall_of(t)] + 6 * n1
    return value


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _takes_fluid(t: int, floats: int, n3: float) -> Any:
    """Whether ascites lies in tissue ``t``; strands of fat stay where there is not much fluid."""
    if floats == 0 and n3 >= 1.0:
        return False
    return t in (_FAT, _SOFT) or (floats != 0 and n3 > 0.3 and _is_bowel(t))


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _wall_of(t: int) -> Any:
    """The wall about the content ``t``."""
    if t == _STOMACH_CONTENT:
        return _STOMACH
    if t == _DUODENUM_CONTENT:
        return _DUODENUM
    return _COLON if t == _COLON_CONTENT else _SMALL_BOWEL


@numba.njit(cache=True, fastmath=True, nogil=True)
def _between_nodes(nodes: Float3D, z: int, y: int, row: Float3D) -> None:
    """Fill ``row`` (n, 3): the nodes' positions along x, interpolated for the patch's row (z, y)."""
    nz, fz = z // NODE_STEP, np.float32((z % NODE_STEP) / NODE_STEP)
    ny, fy = y // NODE_STEP, np.float32((y % NODE_STEP) / NODE_STEP)
    for n in range(row.shape[0]):
        for axis in range(3):
            low = nodes[nz, ny, n, axis] + fy * (nodes[nz, ny + 1, n, axis] - nodes[nz, ny, n, axis])
            high = nodes[nz + 1, ny, n, axis]
            high += fy * (nodes[nz + 1, ny + 1, n, axis] - nodes[nz + 1, ny, n, axis])
            row[n, axis] = low + fz * (high - low)


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _noise(bank: Float3D, shift: npt.NDArray[np.int64], z: int, y: int, x: int) -> Any:
    """The voxel of the noise volume ``bank``, which repeats, that lies ``shift`` from (z, y, x)."""
    mask = NOISE_SIDE - 1
    return bank[(z + shift[0]) & mask, (y + shift[1]) & mask, (x + shift[2]) & mask]


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _out_of_bag(p0: float, p1: float, p2: float, bag: Float64) -> Any:
    """How far the voxel lies from the middle of the full gallbladder, in its half axes."""
    total = 0.0
    for axis in range(1, 4):
        along = bag[axis, 0] * (p0 - bag[0, 0]) + bag[axis, 1] * (p1 - bag[0, 1]) + bag[axis, 2] * (p2 - bag[0, 2])
        total += along * along
    return np.sqrt(total)


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _spotted(
    p0: float, p1: float, p2: float, t: int, spots: Float64, into: npt.NDArray[np.int64], rough: Float3D,
    value: float, n1: float, n2: float,
) -> Any:  # fmt: skip
    """HU of the last spot that the voxel lies in and whose tissues take it, else ``value``."""
    for n in range(spots.shape[0]):
        if (into[n] >> t) & 1:
            dz = (p0 - spots[n, 0]) / spots[n, 3]
            dy = (p1 - spots[n, 1]) / spots[n, 4]
            dx = (p2 - spots[n, 2]) / spots[n, 5]
            if dz * dz + dy * dy + dx * dx < 1 + spots[n, 7] * n2:
                if spots[n, 8] == SPECKLED_SPOT:
                    if n1 > 0.4:
                        value = spots[n, 6] * (0.7 + 0.2 * n1)
                elif spots[n, 8] == OWN_TEXTURE_SPOT:
                    value = spots[n, 6] + rough[t] * n1
                else:
                    value = spots[n, 6] + 6 * n1 + 8 * n2
    return value


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _gap(loops: float, hu: Float3D, n1: float, n2: float, n3: float) -> Any:
    """HU where an organ was removed: fat, and bowel that has moved in."""
    if n3 > loops + 0.35:
        return hu[_BOWEL_CONTENT] + 6 * n1 + 4 * n2
    if n3 > loops:
        return hu[_SMALL_BOWEL] + 6 * n1
    return hu[_FAT] + 8 * n1 + 8 * n2


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _beside(p0: float, p1: float, p2: float, table: Float64, arms: Float64, hu: Float3D, n1: float, n2: float) -> Any:
    """HU beside the body: air, the arms, or the table's shell and foam."""
    for n in range(arms.shape[0]):
        dy = p1 - arms[n, 0] - arms[n, 3] * p0
        dx = p2 - arms[n, 1] - arms[n, 4] * p0
        away = np.sqrt(dy * dy + dx * dx) / arms[n, 2]
        if away < 1 + 0.06 * n2:
            if away > 0.78 + 0.06 * n2:
                return hu[_FAT] + 8 * n1
            if away < arms[n, 5]:
                return hu[_CORTICAL_BONE] + 60 * n1 if away > 0.6 * arms[n, 5] else hu[_SPONGIOSA] + 40 * n1
            return hu[_MUSCLE] + 9 * n1 + 7 * n2
    thick = table[4]
    across = p2 - table[1]
    if thick > 0 and abs(across) < table[3]:
        below = p1 - table[0] + table[2] * across * across
        if 0 <= below < thick:
            return 40 + 40 * n1 if below < 2.2 or below > thick - 2.2 else -900 + 15 * n1
    return hu[_AIR] + 4 * n1 + 2 * n2


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _lung(
    p0: float, y: int, p2: float, lungs: Float64, lung_hu: Float64, middle_x: float, value: float, n1: float,
    n2: float,
) -> Any:  # fmt: skip
    """HU of the lung: fluid in its dorsal part, airless lung above the fluid and at the base, else ``value``."""
    side = 0 if p2 < middle_x else 1
    row, rows = lungs[side, 0], lungs[side, 1]
    if y >= row:
        return lung_hu[0] + 3 * n1 + 2 * n2
    if y > row - (4 + 3 * n2) * rows or p0 < lungs[side, 2] + 4 * n2:
        return lung_hu[1] + 9 * n1 + 12 * n2
    return value


@numba.njit(cache=True, fastmath=True, nogil=True, inline="always")
def _belly(belly_mm: npt.NDArray[np.uint8], p0: float, p1: float, p2: float) -> Any:
    """Trilinear value of the map, whose first voxel is the body's (1, 1, 1)."""
    z, y, x = (p0 - 1) / 2, (p1 - 1) / 3, (p2 - 1) / 3
    i = min(max(int(np.floor(z)), 0), belly_mm.shape[0] - 2)
    j = min(max(int(np.floor(y)), 0), belly_mm.shape[1] - 2)
    k = min(max(int(np.floor(x)), 0), belly_mm.shape[2] - 2)
    fz, fy, fx = min(max(z - i, 0.0), 1.0), min(max(y - j, 0.0), 1.0), min(max(x - k, 0.0), 1.0)
    total = 0.0
    for a in range(2):
        for b in range(2):
            w = (fz if a else 1 - fz) * (fy if b else 1 - fy)
            total += w * ((1 - fx) * belly_mm[i + a, j + b, k] + fx * belly_mm[i + a, j + b, k + 1])
    return total


@numba.njit(cache=True, fastmath=True, nogil=True)
def blur(image: Float3D, across: float, in_plane: float) -> None:
    """In place, three taps (w, 1 - 2w, w) along each axis."""
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(height):
            before = image[z, y, 0]
            for x in range(1, width - 1):
                here = image[z, y, x]
                image[z, y, x] = here + in_plane * (before - 2 * here + image[z, y, x + 1])
                before = here
    before_row = np.empty(width, image.dtype)
    for z in range(depth):
        before_row[:] = image[z, 0]
        for y in range(1, height - 1):
            for x in range(width):
                here = image[z, y, x]
                image[z, y, x] = here + in_plane * (before_row[x] - 2 * here + image[z, y + 1, x])
                before_row[x] = here
    before_slice = image[0].copy()
    for z in range(1, depth - 1):
        for y in range(height):
            for x in range(width):
                here = image[z, y, x]
                image[z, y, x] = here + across * (before_slice[y, x] - 2 * here + image[z + 1, y, x])
                before_slice[y, x] = here


@numba.njit(cache=True, fastmath=True, nogil=True)
def add_noise(image: Float3D, bank: Float3D, shift: npt.NDArray[np.int64], sigmas: Float3D) -> None:
    """Add the noise volume ``bank`` from ``shift`` on, times each slice's own sigma (HU)."""
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                image[z, y, x] += sigmas[z] * _noise(bank, shift, z, y, x)
