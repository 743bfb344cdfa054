"""An esophagus in one piece: where it arrives torn, at the seam between a map and its template, it is drawn through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
"""Above the liver; the label ends 45 mm above it. Further up a template's esophagus stays as it is, unlabelled."""

_LEAST_SHARE = 0.1
_OVER_MM = 36.0
"""Within this height the tube goes over from one part's place to the next one's."""


def draw_through(tissues: TissueMap, spacing_zyx: Triple) -> None:
    """In place: join the parts of the esophagus in ``tissues`` (z, y, x), down to the stomach and up into the chest.

    The largest part stays; the others guide a tube through fat, muscle, lung and heart, those of less than a tenth of
    the largest do not even that.
    """
    parts, count = ndimage.label(tissues == Tissue.ESOPHAGUS, np.ones((3, 3, 3)))
    liver = np.flatnonzero((tissues == Tissue.LIVER).any((1, 2)))
    if not count or not len(liver):
        return
    sizes = np.bincount(parts.ravel())[1:]
    main = parts == int(sizes.argmax()) + 1
    guides = (parts > 0) & ~main & (sizes[np.maximum(parts, 1) - 1] >= _LEAST_SHARE * sizes.max())
    tissues[(parts > 0) & ~main] = Tissue.SOFT
    top = min(int(liver[-1] + _UP_TO_MM / spacing_zyx[0]), len(tissues) - 1)
    tissues[top + 1 :][guides[top + 1 :]] = Tissue.ESOPHAGUS_BEYOND
    first, last = (int(level) for level in np.flatnonzero(main.any((1, 2)))[[0, -1]])
    room = np.isin(tissues, _GIVES_WAY)
    start = np.argwhere(main[last]).mean(0)
    for z, middle in _way(guides, start, range(last, top + 1), spacing_zyx[0]):
        _disc(tissues, z, middle, room, spacing_zyx)
    start = np.argwhere(main[first]).mean(0)
    below = np.flatnonzero(guides[:first].any((1, 2)))
    for z, middle in _way(guides, start, range(first, int(below[0]) - 1, -1) if len(below) else [], spacing_zyx[0]):
        _disc(tissues, z, middle, room, spacing_zyx)
        start = middle
    lowest = int(below[0]) if len(below) else first
    _join_stomach(tissues, lowest, start, room, spacing_zyx)


def _way(guides: Mask, start: Floats, slices: Sequence[int], step_mm: float) -> Iterator[tuple[int, Floats]]:
    """Slice by slice a middle that goes from ``start`` over to the parts that guide it, else straight on."""
    levels = np.flatnonzero(guides.any((1, 2)))
    seen = [z for z in levels if z in set(slices)]
    there = np.array([np.argwhere(guides[z]).mean(0) for z in seen])
    for n, z in enumerate(slices):
        if not seen:
            yield z, start
            continue
        order = np.argsort(seen)
        goal = np.array([np.interp(z, np.array(seen)[order], there[order, axis]) for axis in range(2)])
        yield z, start + min(1.0, n * step_mm / _OVER_MM) * (goal - start)


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
    away = np.linalg.norm((stomach + np.array((low, 0, 0)) - start) * spacing_zyx, axis=1)
    if not 0 < away.min() < 40:
        return
    end = stomach[away.argmin()] + np.array((low, 0, 0))
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
