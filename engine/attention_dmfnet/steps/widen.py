"""Organs that go on beyond the ROI: at which of its sides, and the larger box that is looked at instead.

The coarse stage finds the ends of organs to a few voxels of its own, and the margin makes up for that. Where it missed
more, the fine stage's labels end in a plane at the ROI's side.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cc3d
import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Box, Geometry, Index
from attention_dmfnet.model.network import Scores
from attention_dmfnet.notes import Note
from attention_dmfnet.steps.quality import RUNS_THROUGH
from attention_dmfnet.steps.roi import SIDES, listed

WIDEN_MM: Final = 60.0
"""How far a side is moved at once."""

MOST_ROUNDS: Final = 3
"""How often a ROI is widened: what a network takes for an organ in a strange scan may go on for ever."""

_LEAST_MM2: Final = 200.0
"""An organ's area in the ROI's side from which on it is cut there. Of 40 scans 38 had no area in any side, and the two
whose organs were cut had 3,100 and 3,400."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A side of a box that an organ covers: the low (0) or high (1) ``end`` of a canonical axis (0: z, 1: y, 2: x)."""

    organ: str
    axis: int
    end: int


@dataclass(frozen=True, slots=True)
class Widened:
    """The sides that were ``followed``, those that organs still reach, and ``why`` no more was done, if it failed."""

    followed: tuple[Reached, ...]
    left: tuple[Reached, ...]
    why: str = ""


def reached_sides(box: Box, scores: Scores, grid: Geometry, scan: Geometry, labels: Mapping[str, int]) -> list[Reached]:
    """The sides of ``box``, of the canonical ``scan``, that the fine ``scores`` (class, z, y, x) on ``grid`` cover.

    A side counts if the largest part of one of the organs that ``labels`` numbers covers 2 square centimetres of it or
    more: what lies apart from the organ and at the ROI's side is a mistake more often. Sides at the scan's edge do not
    count, nor do aorta, vena cava and esophagus at the lower and the upper side.
    """
    inside = _inside(box, grid, scan)
    found = []
    for axis in range(3):
        at_edge = box.start_zyx[axis] == 0, box.stop_zyx[axis] == scan.shape_zyx[axis]
        for end in (end for end in (0, 1) if not at_edge[end]):
            outermost = _outermost(inside, axis, end)
            covered = _covered(scores[(slice(None), *outermost)].argmax(axis=0), grid, axis, labels)
            found += [
                Reached(organ, axis, end)
                for organ in covered
                if not (axis == 0 and organ in RUNS_THROUGH)
                and _covered(_largest_part(scores, labels[organ])[outermost], grid, axis, {organ: 1})
            ]
    return found


def widened(box: Box, reached: Iterable[Reached], scan: Geometry) -> Box:
    """``box`` with the ``reached`` sides moved outwards by ``WIDEN_MM``, as far as the canonical ``scan`` goes."""
    start, stop = list(box.start_zyx), list(box.stop_zyx)
    for axis, end in {(side.axis, side.end) for side in reached}:
        further = max(1, round(WIDEN_MM / scan.spacing_zyx[axis]))
        if end:
            stop[axis] = min(stop[axis] + further, scan.shape_zyx[axis])
        else:
            start[axis] = max(start[axis] - further, 0)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def widening_notes(found: Widened, organs: Collection[str]) -> tuple[Note, ...]:
    """What is said of it, as far as it is about one of the ``organs`` that were asked for."""
    notes = []
    followed = [side for side in found.followed if side.organ in organs]
    if followed:
        names, sides = _named(followed)
        text = f"beyond the region that the coarse stage found ({sides}) lies more of {names}; it was widened"
        notes.append(Note("roi-widened", text))
    left = [side for side in found.left if side.organ in organs]
    if left:
        names, sides = _named(left)
        text = f"the region that was searched cuts {names} ({sides}): what was measured is a part"
        notes.append(Note("organ-beyond-roi", f"{text} ({found.why})" if found.why else text))
    return tuple(notes)


def _named(reached: Sequence[Reached]) -> tuple[str, str]:
    """Organs and sides in words, each once."""
    organs = list(dict.fromkeys(side.organ for side in reached))
    sides = [SIDES[axis][end] for axis, end in sorted({(side.axis, side.end) for side in reached})]
    return listed(organs), listed(sides)


_Slices = tuple[slice, slice, slice]


def _inside(box: Box, grid: Geometry, scan: Geometry) -> _Slices:
    """The scores that lie in ``box``: from the one nearest to its first voxel to the one nearest to its last."""
    first = _nearest(grid, scan, box.start_zyx)
    last = _nearest(grid, scan, (box.stop_zyx[0] - 1, box.stop_zyx[1] - 1, box.stop_zyx[2] - 1))
    z, y, x = (slice(low, high + 1) for low, high in zip(first, last, strict=True))
    return z, y, x


def _nearest(grid: Geometry, scan: Geometry, index: Index) -> Sequence[int]:
    """The score nearest to a voxel of the scan."""
    at = grid.index_zyx(scan.point_lps(index))
    return [min(max(round(place), 0), size - 1) for place, size in zip(at, grid.shape_zyx, strict=True)]


def _outermost(inside: _Slices, axis: int, end: int) -> _Slices:
    """The outermost layer of scores at one ``end`` of an axis."""
    layer = list(inside)
    at = inside[axis].stop - 1 if end else inside[axis].start
    layer[axis] = slice(at, at + 1)
    return layer[0], layer[1], layer[2]


def _covered(layer: npt.NDArray[np.integer], grid: Geometry, axis: int, labels: Mapping[str, int]) -> list[str]:
    """The organs that cover enough of a ``layer`` of labels."""
    one, other = (mm for number, mm in enumerate(grid.spacing_zyx) if number != axis)
    counts = np.bincount(layer.ravel(), minlength=1 + max(labels.values(), default=0))
    return [organ for organ, number in labels.items() if counts[number] * one * other >= _LEAST_MM2]


def _largest_part(scores: Scores, number: int) -> npt.NDArray[np.uint8]:
    """1 in the largest part of a label, parts being apart by a voxel or more; 0 elsewhere."""
    part: npt.NDArray[Any] = cc3d.largest_k(scores.argmax(axis=0) == number, k=1, connectivity=26)
    return part.astype(np.uint8)
