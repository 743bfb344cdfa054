"""Aorta and vena cava of a completed body: drawn anew as tubes along the course that the warped template suggests.

A template's vessels arrive torn and thinned where the warp squeezes them (half the width of the vessels that CT shows),
and a network that learned from them draws vessels too thin. Published widths are 17-27 mm for the abdominal aorta and
16-34 mm for the vena cava (Erbel & Eggebrecht, Heart 2006; Prince et al., Radiology 1983). Drawn are an aorta of 13 to
29 mm, narrowing downwards, and a vena cava of 10 to 34 mm, as a rule wider than deep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]
_Path = tuple[int, _Floats]
"""The first slice, and (n, 2) y and x of the middle in it and the following ones, in voxels."""

_GIVES_WAY = (
    Tissue.AORTA, Tissue.VENA_CAVA, Tissue.MUSCLE, Tissue.FAT, Tissue.LUNG, Tissue.HEART, Tissue.VESSEL,
    Tissue.SOFT, Tissue.CARTILAGE, Tissue.AIRWAY,
)  # fmt: skip
_SEARCH_MM = 16.0
_FEWEST_SLICES = 12
_BESIDE_AORTA_MM = (-4.0, -32.0)
"""Where the vena cava runs if the template's was lost: a little in front of the aorta and to its right (y, x)."""


@dataclass(frozen=True)
class _Tube:
    """Half axes (n, 2) in mm along y and x, slice by slice, around ``path``."""

    path: _Path
    half_mm: _Floats


def redraw_great_vessels(tissues: TissueMap, spacing_zyx: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Replace both vessels of ``tissues`` (z, y, x, canonical axes) in place. Without an aorta nothing is drawn."""
    aorta = _course(tissues == Tissue.AORTA)
    if aorta is None:
        return
    vena_cava = _course(tissues == Tissue.VENA_CAVA) or _beside(aorta, spacing_zyx)
    tissues[np.isin(tissues, (Tissue.AORTA, Tissue.VENA_CAVA))] = Tissue.FAT
    for tissue, path, half_mm in (
        (Tissue.AORTA, aorta, _aortic_width(len(aorta[1]), rng)),
        (Tissue.VENA_CAVA, vena_cava, _caval_width(len(vena_cava[1]), rng)),
    ):
        gives_way = np.isin(tissues, _GIVES_WAY) & (tissues != Tissue.AORTA)
        tube = _Tube(_pushed_aside(~gives_way, path, half_mm, spacing_zyx), half_mm)
        _draw(tissues, gives_way, tube, tissue, spacing_zyx)


def _course(vessel: _Mask) -> _Path | None:
    """The smoothed middle of each slice, from the lowest to the highest that holds a part of the vessel."""
    counts = vessel.sum((1, 2))
    filled = np.flatnonzero(counts >= 4)
    if len(filled) < _FEWEST_SLICES:
        return None
    middles = np.array([np.argwhere(vessel[z]).mean(0) for z in filled])
    slices = np.arange(filled[0], filled[-1] + 1)
    # a torn vessel's parts jump: the median first
    steady = ndimage.median_filter(middles, (9, 1), mode="nearest")
    path = np.stack([np.interp(slices, filled, steady[:, axis]) for axis in range(2)], -1)
    return int(filled[0]), np.asarray(ndimage.gaussian_filter1d(path, 3.0, axis=0, mode="nearest"))


def _beside(aorta: _Path, spacing_zyx: tuple[float, float, float]) -> _Path:
    first, path = aorta
    return first, path + np.array(_BESIDE_AORTA_MM) / spacing_zyx[1:]


def _aortic_width(count: int, rng: np.random.Generator) -> _Floats:
    """Tapering downwards, nearly round."""
    top = rng.uniform(10.0, 13.5)
    radius = np.linspace(top * rng.uniform(0.72, 0.9), top, count)
    return np.stack([radius * rng.uniform(0.92, 1.05), radius * rng.uniform(0.95, 1.08)], -1)


def _caval_width(count: int, rng: np.random.Generator) -> _Floats:
    """An ellipse, wider than deep, whose depth comes and goes with the filling."""
    across, deep = rng.uniform(10.0, 14.5), rng.uniform(6.5, 11.5)
    wave = ndimage.gaussian_filter1d(rng.standard_normal((count, 2)), 7.0, axis=0, mode="nearest")
    wave /= max(float(wave.std()), 1e-6)
    return np.stack([deep * (1 + 0.15 * wave[:, 0]), across * (1 + 0.1 * wave[:, 1])], -1).clip(5.0, 17.0)


def _pushed_aside(blocked: _Mask, path: _Path, half_mm: _Floats, spacing_zyx: tuple[float, float, float]) -> _Path:
    """The course near ``path`` on which the tube meets the least of what does not give way: bone and organs."""
    first, middles = path
    reach = [int(_SEARCH_MM / mm) for mm in spacing_zyx[1:]]
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
    cost = np.empty((len(middles), *shifts.shape[:2]))
    length_mm2 = ((shifts * spacing_zyx[1:]) ** 2).sum(-1)
    for n, (middle, half) in enumerate(zip(middles, half_mm, strict=True)):
        disc = _ellipse(half, spacing_zyx)
        sides = [size // 2 for size in disc.shape]
        rows, columns = (
            np.clip(np.arange(round(at) - r - side, round(at) + r + side + 1), 0, size - 1)
            for at, r, side, size in zip(middle, reach, sides, blocked.shape[1:], strict=True)
        )
        window = blocked[first + n][np.ix_(rows, columns)]
        overlap = ndimage.correlate(window.astype(np.float32), disc.astype(np.float32) / disc.sum(), mode="nearest")
        inner = tuple(slice(side, size - side) for side, size in zip(sides, window.shape, strict=True))
        # a tenth of the tube blocked weighs as much as 8 mm of detour
        cost[n] = overlap[inner] + length_mm2 / 640
    steady = ndimage.gaussian_filter1d(cost, 4.0, axis=0, mode="nearest").reshape(len(middles), -1)
    moves = shifts.reshape(-1, 2)[steady.argmin(1)].astype(np.float64)
    moved = middles + ndimage.gaussian_filter1d(moves, 2.5, axis=0, mode="nearest")
    return first, moved


def _ellipse(half_mm: _Floats, spacing_zyx: tuple[float, float, float]) -> _Mask:
    sides = [int(np.ceil(half / mm)) for half, mm in zip(half_mm, spacing_zyx[1:], strict=True)]
    y, x = (np.arange(-side, side + 1) * mm for side, mm in zip(sides, spacing_zyx[1:], strict=True))
    disc: _Mask = (y[:, None] / half_mm[0]) ** 2 + (x[None, :] / half_mm[1]) ** 2 <= 1
    return disc


def _draw(
    tissues: TissueMap, gives_way: _Mask, tube: _Tube, tissue: Tissue, spacing_zyx: tuple[float, float, float]
) -> None:
    first, middles = tube.path
    y, x = (np.arange(size, dtype=np.float64)[:, None] for size in tissues.shape[1:])
    for n, (middle, half) in enumerate(zip(middles, tube.half_mm, strict=True)):
        across = ((y - middle[0]) * spacing_zyx[1] / half[0]) ** 2 + (
            ((x - middle[1]) * spacing_zyx[2] / half[1]) ** 2
        ).T
        z = first + n
        tissues[z][(across <= 1) & gives_way[z]] = tissue
