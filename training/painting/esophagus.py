"""An esophagus in one piece: where it arrives torn, at the seam between a map and its template, it is drawn through."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Triple = tuple[float, float, float]

_GIVES_WAY = (Tissue.FAT, Tissue.MUSCLE, Tissue.LUNG, Tissue.HEART, Tissue.VESSEL, Tissue.SOFT, Tissue.AIRWAY)
_RADIUS_MM = 7.0
_UP_TO_MM = 60.0
"""Above the liver; the label ends 45 mm above it."""

_LEAST_SHARE = 0.1


def draw_through(tissues: TissueMap, spacing_zyx: Triple) -> None:
    """In place: join the parts of the esophagus in ``tissues`` (z, y, x), down to the stomach and up into the chest.

    Parts of less than a tenth of the largest become soft tissue. Drawn is a tube through fat, muscle, lung and heart.
    """
    parts, count = ndimage.label(tissues == Tissue.ESOPHAGUS, np.ones((3, 3, 3)))
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if not count or not len(liver):
        return
    sizes = np.bincount(parts.ravel())[1:]
    specks = np.flatnonzero(sizes < _LEAST_SHARE * sizes.max()) + 1
    tissues[np.isin(parts, specks)] = Tissue.SOFT
    esophagus = tissues == Tissue.ESOPHAGUS
    levels = np.flatnonzero(esophagus.any((1, 2)))
    middles = np.array([np.argwhere(esophagus[z]).mean(0) for z in levels])
    top = min(int(liver[-1] + _UP_TO_MM / spacing_zyx[0]), len(tissues) - 1)
    slices = np.arange(levels[0], max(top, levels[-1]) + 1)
    # beyond its upper end it goes straight up
    path = np.stack([np.interp(slices, levels, middles[:, n]) for n in range(2)], -1)
    joined = ndimage.gaussian_filter1d(path, 1.0, axis=0, mode="nearest")
    room = np.isin(tissues, _GIVES_WAY)
    # a slice beside a gap is drawn as well, or the tube would begin beside the part that it goes on from
    missing = ndimage.binary_dilation(~np.isin(slices, levels))
    for z, middle in zip(slices[missing], joined[missing], strict=True):
        _disc(tissues, int(z), middle, room, spacing_zyx)
    _join_stomach(tissues, levels[0], middles[0], room, spacing_zyx)


def _join_stomach(
    tissues: TissueMap,
    z: int,
    middle: npt.NDArray[np.float64],
    room: npt.NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
) -> None:
    """From the lower end to the nearest part of the stomach, if that is within 40 mm."""
    low, high = max(z - int(40 / spacing_zyx[0]), 0), z + int(15 / spacing_zyx[0])
    stomach = np.argwhere(np.isin(tissues[low:high], (Tissue.STOMACH, Tissue.STOMACH_CONTENT)))
    if not len(stomach):
        return
    start = np.array([z, *middle])
    away = np.linalg.norm((stomach + (low, 0, 0) - start) * spacing_zyx, axis=1)
    if not 0 < away.min() < 40:
        return
    end = stomach[away.argmin()] + (low, 0, 0)
    for share in np.linspace(0, 1, 25):
        at = start + share * (end - start)
        _disc(tissues, round(float(at[0])), at[1:], room, spacing_zyx)


def _disc(
    tissues: TissueMap,
    z: int,
    middle: npt.NDArray[np.float64],
    room: npt.NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
) -> None:
    y, x = (np.arange(size, dtype=np.float64) for size in tissues.shape[1:])
    inside = np.hypot(((y - middle[0]) * spacing_zyx[1])[:, None], ((x - middle[1]) * spacing_zyx[2])[None, :])
    tissues[z][(inside <= _RADIUS_MM) & room[z]] = Tissue.ESOPHAGUS
