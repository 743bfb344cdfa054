"""Organs that go on beyond the ROI: at which of its sides, and the larger ROI that is looked at instead.

The coarse stage finds the ends of organs to a few voxels of its own, and the margin makes up for that. Where it missed
more, the fine stage's labels end in a plane at the ROI's side.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Box, Geometry, Index
from attention_dmfnet.model.network import Scores
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.quality import RUNS_THROUGH
from attention_dmfnet.steps.roi import SIDES, Roi, listed

WIDEN_MM: Final = 60.0
"""How far a side is moved at once."""

MOST_ROUNDS: Final = 3
"""How often a ROI is widened: what a network takes for an organ in a strange scan may go on for ever."""

_LEAST_MM2: Final = 200.0
"""An organ's area in the ROI's side from which on it is cut there. Of 40 scans whose ROI held every organ none had any
area in a side; the two that were cut had 3,100 and 3,400."""


def widened(roi: Roi, scores: Scores, grid: Geometry, scan: Geometry, labels: Mapping[str, int]) -> Roi | None:
    """A larger ROI of the canonical ``scan`` if the fine ``scores`` on ``grid`` show organs beyond ``roi``, else None.

    A side counts if one of the organs that ``labels`` numbers covers 2 square centimetres of it or more. Sides at the
    scan's edge do not, nor aorta, vena cava and esophagus at the lower and the upper side. A note says what was seen.
    """
    start, stop = list(roi.box.start_zyx), list(roi.box.stop_zyx)
    sides: list[str] = []
    organs: set[str] = set()
    for axis, names in enumerate(SIDES):
        further = round(WIDEN_MM / scan.spacing_zyx[axis])
        cut = {organ: number for organ, number in labels.items() if axis != 0 or organ not in RUNS_THROUGH}
        for end, side in enumerate(names):
            if (roi.box.stop_zyx[axis] == scan.shape_zyx[axis]) if end else (roi.box.start_zyx[axis] == 0):
                continue
            reached = _organs_in(_side_of(scores, grid, scan, roi.box, axis, end), grid, axis, cut)
            if reached:
                organs.update(reached)
                sides.append(side)
                if end:
                    stop[axis] = min(stop[axis] + further, scan.shape_zyx[axis])
                else:
                    start[axis] = max(start[axis] - further, 0)
    if not sides:
        return None
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    here = [organ for organ in labels if organ in organs]
    goes = "goes" if len(here) == 1 else "go"
    text = f"{listed(here)} {goes} on beyond the region that the coarse stage found ({listed(sides)}); it was widened"
    return Roi(box, (*roi.notes, Note("roi-widened", text)))


def _side_of(scores: Scores, grid: Geometry, scan: Geometry, box: Box, axis: int, end: int) -> npt.NDArray[np.intp]:
    """The classes (2-D) of the scores in the outermost layer of ``box`` at one ``end`` (0: low, 1: high) of an axis."""
    first = _nearest(grid, scan, box.start_zyx)
    last = _nearest(grid, scan, (box.stop_zyx[0] - 1, box.stop_zyx[1] - 1, box.stop_zyx[2] - 1))
    layer = [slice(low, high + 1) for low, high in zip(first, last, strict=True)]
    outermost = (last if end else first)[axis]
    layer[axis] = slice(outermost, outermost + 1)
    classes: npt.NDArray[np.intp] = scores[(slice(None), *layer)].argmax(axis=0).squeeze(axis)
    return classes


def _nearest(grid: Geometry, scan: Geometry, index: Index) -> Sequence[int]:
    """The score nearest to a voxel of the scan."""
    at = grid.index_zyx(scan.point_lps(index))
    return [min(max(round(place), 0), size - 1) for place, size in zip(at, grid.shape_zyx, strict=True)]


def _organs_in(classes: npt.NDArray[np.intp], grid: Geometry, axis: int, labels: Mapping[str, int]) -> list[str]:
    one, other = (mm for number, mm in enumerate(grid.spacing_zyx) if number != axis)
    counts = np.bincount(classes.ravel(), minlength=1 + max(labels.values(), default=0))
    return [organ for organ, number in labels.items() if counts[number] * one * other >= _LEAST_MM2]
