"""The veins of liver, spleen and gut: drawn where no map shows them, as contrast makes them bright beside the organs.

The portal vein runs from behind the pancreas's neck into the liver and divides there. The splenic vein comes along the
pancreas's back, the superior mesenteric vein from below. Three hepatic veins leave the liver for the vena cava below
the diaphragm. What lies in the liver is a part of its label; the rest has no label. Widths and courses are ranges
chosen by eye.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.tissue import Tissue

_Points = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

_HEPATIC = {Tissue.LIVER: Tissue.HEPATIC_VEIN}
_PORTAL = {Tissue.LIVER: Tissue.PORTAL_BRANCH}
_STEM = dict.fromkeys((Tissue.FAT, Tissue.SOFT, Tissue.MUSCLE), Tissue.HEPATIC_STEM)
_STEM_MM = 15.0
"""From the vena cava, so far a hepatic vein runs through what is not liver."""
_OUTSIDE = dict.fromkeys((Tissue.FAT, Tissue.SOFT, Tissue.VESSEL), Tissue.PORTAL_VEIN)
_STEP_MM = 1.5
_NECK_MM = 9.0
_BIN_MM = 8.0
_FEWEST_VOXELS = 60
_HEPATIC_ENDS_MM = (
    # up, back, left of the mouth: the least and the most
    ((-75, -35), (-10, 25), (-95, -55)),
    ((-75, -40), (-75, -45), (-35, -5)),
    ((-45, -15), (-70, -35), (15, 50)),
)
"""Where the right, the middle and the left hepatic vein begin, from where they enter the vena cava."""


def draw_liver_veins(tissues: TissueMap, spacing_zyx: Triple, rng: np.random.Generator) -> None:
    """Draw in place, in ``tissues`` (z, y, x, canonical axes).

    Nothing is drawn of a portal vein that is there already, nor where pancreas, liver or vena cava are missing.
    """
    spacing = np.asarray(spacing_zyx)
    organs = {
        organ: np.argwhere(tissues == organ) * spacing
        for organ in (Tissue.LIVER, Tissue.PANCREAS, Tissue.SPLEEN, Tissue.VENA_CAVA, Tissue.AORTA)
    }
    if min(len(organs[organ]) for organ in (Tissue.LIVER, Tissue.VENA_CAVA)) < _FEWEST_VOXELS:
        return
    if min(len(organs[organ]) for organ in (Tissue.PANCREAS, Tissue.AORTA)) >= _FEWEST_VOXELS and not (
        (tissues == Tissue.PORTAL_VEIN).any()
    ):
        _draw_portal_system(tissues, spacing, organs, rng)
    _draw_hepatic_veins(tissues, spacing, organs, rng)


def without_liver_veins(tissues: TissueMap) -> TissueMap:
    """A copy without these veins: liver, and fat, in their place."""
    table = np.arange(256, dtype=np.uint8)
    table[[Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH]] = Tissue.LIVER
    table[[Tissue.PORTAL_VEIN, Tissue.HEPATIC_STEM]] = Tissue.FAT
    copy: TissueMap = table[tissues]
    return copy


def _draw_portal_system(
    tissues: TissueMap, spacing: _Points, organs: dict[Tissue, _Points], rng: np.random.Generator
) -> None:
    confluence = _confluence(organs, rng)
    if confluence is None:
        return
    radius = rng.uniform(4.8, 7.5)
    hilum = _nearest(organs[Tissue.LIVER], confluence + np.array([rng.uniform(25, 50), -5.0, rng.uniform(-45, -25)]))
    into = organs[Tissue.LIVER].mean(0) - hilum
    inside = hilum + into / max(float(np.linalg.norm(into)), 1.0) * rng.uniform(15, 30)
    trunk = _bent(confluence, inside, rng.normal(0, 5, 3))
    _draw(tissues, spacing, trunk, _taper(trunk, radius, 0.8 * radius), _PORTAL | _OUTSIDE)
    for aim in (np.array([10.0, 15.0, -60.0]), np.array([15.0, -35.0, 35.0])):
        branch = _bent(inside, inside + aim + rng.normal(0, 12, 3), rng.normal(0, 6, 3))
        _draw(tissues, spacing, branch, _taper(branch, 0.65 * radius, 1.5), _PORTAL)
        for _ in range(int(rng.integers(1, 4))):
            start = branch[int(rng.integers(len(branch) // 3, len(branch)))]
            twig = _bent(start, start + rng.normal(0, 25, 3), rng.normal(0, 4, 3))
            _draw(tissues, spacing, twig, _taper(twig, 0.35 * radius, 1.0), _PORTAL)
    below = confluence + np.array([-rng.uniform(45, 90), -rng.uniform(0, 15), rng.uniform(-8, 8)])
    mesenteric = _bent(confluence, below, rng.normal(0, 4, 3))
    _draw(tissues, spacing, mesenteric, np.full(len(mesenteric), radius * rng.uniform(0.7, 0.95)), _OUTSIDE)
    splenic = _along_pancreas(confluence, organs, radius)
    if splenic is not None:
        _draw(tissues, spacing, splenic, _taper(splenic, radius * 0.75, radius * rng.uniform(0.45, 0.7)), _OUTSIDE)


def _confluence(organs: dict[Tissue, _Points], rng: np.random.Generator) -> _Points | None:
    """(3,) mm: behind the pancreas's neck, which lies a little to the right of the aorta."""
    pancreas = organs[Tissue.PANCREAS]
    z = float(pancreas[:, 0].mean())
    aorta = organs[Tissue.AORTA]
    beside = aorta[abs(aorta[:, 0] - z) < 15]
    if not len(beside):
        return None
    x = float(beside[:, 2].mean()) - rng.uniform(6, 16)
    neck = pancreas[abs(pancreas[:, 2] - x) < _NECK_MM]
    if len(neck) < 8:
        return None
    level = float(np.percentile(neck[:, 0], rng.uniform(40, 70)))
    there = neck[abs(neck[:, 0] - level) < 6]
    return np.array([level, float(there[:, 1].max()) + rng.uniform(1, 4), x])


def _along_pancreas(confluence: _Points, organs: dict[Tissue, _Points], radius: float) -> _Points | None:
    """(n, 3) mm from the confluence along the back of the pancreas's body and tail to the spleen, or None."""
    pancreas = organs[Tissue.PANCREAS]
    left = pancreas[pancreas[:, 2] > confluence[2] + _BIN_MM]
    if len(left) < _FEWEST_VOXELS:
        return None
    through = [confluence]
    for start in np.arange(confluence[2] + _BIN_MM, left[:, 2].max(), _BIN_MM):
        part = left[(left[:, 2] >= start) & (left[:, 2] < start + _BIN_MM)]
        if len(part) >= 8:
            middle = float(np.median(part[:, 0]))
            near = part[abs(part[:, 0] - middle) < 6]
            back = float(near[:, 1].max()) if len(near) else float(part[:, 1].max())
            through.append(np.array([middle, back + 0.5 * radius, start + _BIN_MM / 2]))
    spleen = organs[Tissue.SPLEEN]
    if len(spleen) and len(through) > 1:
        through.append(_nearest(spleen, through[-1]))
    if len(through) < 3:
        return None
    points = ndimage.gaussian_filter1d(_resampled(np.array(through)), 8.0 / _STEP_MM, axis=0, mode="nearest")
    return np.asarray(points)


def _draw_hepatic_veins(
    tissues: TissueMap, spacing: _Points, organs: dict[Tissue, _Points], rng: np.random.Generator
) -> None:
    cava, top = organs[Tissue.VENA_CAVA], float(organs[Tissue.LIVER][:, 0].max())
    level = top - rng.uniform(8, 28)
    there = cava[abs(cava[:, 0] - level) < 3]
    if not len(there):
        return
    mouth = there.mean(0)
    for ends in _HEPATIC_ENDS_MM:
        start = mouth + np.array([rng.uniform(*side) for side in ends])
        # they rise to the mouth and bend towards it last
        vein = _bent(mouth, start, np.array([rng.uniform(0, 12), *rng.normal(0, 6, 2)]))
        radius = rng.uniform(3.0, 6.0)
        widths = _taper(vein, radius, 1.2)
        _draw(tissues, spacing, vein, widths, _HEPATIC)
        stem = _outside(tissues, spacing, vein, cava)
        _draw(tissues, spacing, vein[:stem], widths[:stem], _STEM)
        for _ in range(int(rng.integers(1, 4))):
            fork = vein[int(rng.integers(len(vein) // 4, len(vein)))]
            twig = _bent(fork, fork + (start - mouth) * rng.uniform(0.2, 0.5) + rng.normal(0, 18, 3), np.zeros(3))
            _draw(tissues, spacing, twig, _taper(twig, 0.5 * radius, 1.0), _HEPATIC)


def _outside(tissues: TissueMap, spacing: _Points, vein: _Points, cava: _Points) -> int:
    """How many of the points of ``vein`` lie before the liver; 0 if it is further than ``_STEM_MM`` from ``cava``."""
    at = np.clip(np.rint(vein / spacing).astype(int), 0, np.asarray(tissues.shape) - 1)
    in_liver = np.flatnonzero(np.isin(tissues[tuple(at.T)], (Tissue.LIVER, Tissue.HEPATIC_VEIN)))
    if not len(in_liver) or np.linalg.norm(_nearest(cava, vein[in_liver[0]]) - vein[in_liver[0]]) > _STEM_MM:
        return 0
    return int(in_liver[0]) + 1


def _nearest(points: _Points, to: _Points) -> _Points:
    nearest: _Points = points[int(((points - to) ** 2).sum(1).argmin())]
    return nearest


def _bent(start: _Points, end: _Points, bow_mm: _Points) -> _Points:
    """(n, 3) mm of a curve between two points, whose middle is ``bow_mm`` away from the straight line's."""
    count = max(int(np.linalg.norm(end - start) / _STEP_MM), 2)
    share = np.linspace(0, 1, count)[:, None]
    return np.asarray(start + share * (end - start) + 4 * share * (1 - share) * bow_mm)


def _resampled(through: _Points) -> _Points:
    """(n, 3) points every ``_STEP_MM`` along the line ``through`` some."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(through, axis=0), axis=1))])
    at = np.arange(0, along[-1] + _STEP_MM, _STEP_MM)
    return np.stack([np.interp(at, along, through[:, axis]) for axis in range(3)], -1)


def _taper(points: _Points, first_mm: float, last_mm: float) -> _Points:
    return np.linspace(first_mm, last_mm, len(points))


def _draw(
    tissues: TissueMap, spacing: _Points, points: _Points, radius_mm: _Points, into: Mapping[Tissue, Tissue]
) -> None:
    """Balls along a line, which make of each tissue what ``into`` says; the others stay."""
    table = np.arange(256, dtype=np.uint8)
    table[list(into)] = list(into.values())
    shape = np.asarray(tissues.shape)
    for point, radius in zip(points, radius_mm, strict=True):
        low = np.maximum(np.floor((point - radius) / spacing), 0).astype(int)
        high = np.minimum(np.ceil((point + radius) / spacing) + 1, shape).astype(int)
        if (high <= low).any():
            continue
        box = tissues[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        away = [
            (np.arange(first, last) * mm - middle) ** 2
            for first, last, mm, middle in zip(low, high, spacing, point, strict=True)
        ]
        inside = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] <= radius**2
        box[inside] = table[box[inside]]
