"""The outlines of a mask on one slice, as closed polygons without holes.

A hole is joined to the outline around it by a cut of no width that is run through twice, there and back: DICOM's own
way for ``CLOSED_PLANAR`` contours (PS3.3, C.8.8.6.3, the keyhole). Readers fill each polygon and need no rule for how
several of them combine.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator

Ring = npt.NDArray[np.float64]
"""(n, 2) row and column numbers, pixel centres being whole ones; the last point is joined to the first."""


def outlines(mask: npt.NDArray[np.bool_]) -> list[Ring]:
    """Polygons around ``mask`` (row, column), half-way between its pixels and those beside them.

    Exactly the centres of the mask's pixels are inside. Pixels that touch at a corner may share a polygon or not.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    # a border of nothing, so that what lies at the picture's edge is closed around its outermost pixels
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    generator = contour_generator(z=part.astype(np.float32), fill_type=FillType.OuterOffset)
    # its type says nothing of the kind of filling that was asked for
    filled: Any = generator.filled(0.5, 2.0)
    points, offsets = filled
    found = []
    for place, starts in zip(points, offsets, strict=True):
        # (x, y) of contourpy to (row, column); its last point of a ring is the first again
        rings = [place[a : b - 1, ::-1] for a, b in itertools.pairwise(starts)]
        found.append(_straight(_joined(rings)) + np.array([top - 1, left - 1]))
    return found


def _joined(rings: list[Ring]) -> Ring:
    """One ring of an outer one and the holes in it, which lie in ``rings`` after it."""
    outer, *holes = rings
    if not holes:
        return outer
    walk = [(float(row), float(column)) for row, column in outer]
    # from the left: what the cut of a hole meets is the outline, or a hole that is joined to it already
    for hole in sorted(holes, key=lambda ring: float(ring[:, 1].min())):
        at = int(hole[:, 1].argmin())
        row, column = float(hole[at, 0]), float(hole[at, 1])
        # along the middle of its row of pixels every outline is crossed at a point that it has
        meets = max((c, n) for n, (r, c) in enumerate(walk) if r == row and c < column)[1]
        around = [(float(r), float(c)) for r, c in np.roll(hole, -at, axis=0)]
        walk[meets + 1 : meets + 1] = [*around, around[0], walk[meets]]
    return np.array(walk)


def _straight(ring: Ring) -> Ring:
    """``ring`` without the points on straight lines between their neighbours; a cut's turning points stay."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    onwards = (before * after).sum(axis=1) > 0
    kept: Ring = ring[~((turns == 0) & onwards)]
    return kept
