"""One patient's gut in another patient's body: hollow organs, and the pancreas if wanted, carried between two bodies.

Solid organs, vessels and bone stay the receiver's and win over what is moved. A pair that does not fit is refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.painting.anatomy import TissueMap
from training.painting.completion import BODY_SPACING_ZYX, Body, inner_layers
from training.painting.frames import (
    NODE_STEP,
    jacobian_determinants,
    landmarks_of,
    map_nodes,
    node_places,
    sample_nearest,
    size_ratio,
)
from training.painting.tissue import NO_HU, TISSUES, Tissue

Mask = npt.NDArray[np.bool_]

GUT = (Tissue.GALLBLADDER, Tissue.STOMACH, Tissue.DUODENUM, Tissue.COLON, Tissue.SMALL_BOWEL)
"""What always moves. The rectum stays."""

_CONTENTS = {
    Tissue.STOMACH_CONTENT: Tissue.STOMACH,
    Tissue.DUODENUM_CONTENT: Tissue.DUODENUM,
    Tissue.COLON_CONTENT: Tissue.COLON,
    Tissue.BOWEL_CONTENT: Tissue.SMALL_BOWEL,
}
_GIVES_WAY = (Tissue.FAT, Tissue.MUSCLE, Tissue.SOFT)
_ONE_PIECE = (Tissue.STOMACH, Tissue.DUODENUM, Tissue.GALLBLADDER, Tissue.PANCREAS)

LEAST_KEPT = 0.85
"""Of a moved organ as it was warped and pushed aside; what lies in solid organs or outside the body is lost.

The warp may have shrunk it before. So it is also the least volume in one piece, against the donor's times the ratio of
the two bodies' sizes, of the organs that are taught; colon and small bowel may adapt to the room there is.
"""
LEAST_IN_ONE_PIECE = 0.95
_MOST_SCALED = 2.0
_PUSHES = 4
_PUSH_STEP = (2, 3, 3)
_PUSH_SIGMA_MM = 14.0
_HOLD = 0.2
"""How much what lies well holds on to its place, against what is stuck."""
_WALL_VOXELS = (1, 4, 4)
"""Nothing is moved closer than this to the air round the body: skin and muscle of the wall stay."""


def transplant(receiver: Body, donor: Body, with_pancreas: bool) -> Body | None:
    """``receiver`` with the gut of ``donor``, or ``None`` if it does not fit.

    A spline on landmarks of both bodies (:mod:`training.painting.frames`) carries it. It fits if each moved organ is
    there with 0.5 to 2 times the donor's volume, of which 85 % find room; if stomach, duodenum, gallbladder and
    pancreas are as much in one piece as 95 %, and this piece is 85 % of the donor's volume times the ratio of the two
    bodies' sizes; and if the spline does not fold. ``hu`` is ``NO_HU`` where organs came or went. ``known`` is the
    receiver's, of moved organs the donor's; a gallbladder that was taken out is not.
    """
    moved = (*GUT, Tissue.PANCREAS) if with_pancreas else GUT
    table = _whole_organs(moved)
    here, there = landmarks_of(receiver.tissues), landmarks_of(donor.tissues)
    nodes = map_nodes(receiver.tissues.shape, here, there)
    if nodes is None:
        return None
    gut = table[donor.tissues]
    before = np.bincount(gut.ravel(), minlength=TISSUES)
    come = sample_nearest(gut, nodes, receiver.tissues.shape, 0)
    if not _is_plausible(come, before, moved):
        return None
    leave = table[receiver.tissues] > 0
    room = (leave | np.isin(receiver.tissues, _GIVES_WAY)) & _inside_the_wall(receiver.tissues)
    nodes = _pushed_into_room(nodes, gut, come, room)
    come = sample_nearest(gut, nodes, receiver.tissues.shape, 0)
    placed = np.where(room, come, np.uint8(0))
    if not _is_plausible(come, before, moved) or _folds(nodes, come > 0):
        return None
    if not _is_kept(come, placed, moved, size_ratio(here, there) * before):
        return None
    tissues = np.where(placed > 0, placed, receiver.tissues)
    _fill(tissues, leave & (placed == 0))
    hu = receiver.hu.copy()
    hu[leave | (placed > 0)] = NO_HU
    came = {int(organ) for organ in moved if (placed == organ).any()}
    known = (receiver.known - set(map(int, moved))) | (donor.known & came)
    undrawn = (receiver.undrawn - set(map(int, moved))) | (donor.undrawn & set(map(int, moved)))
    name = f"{receiver.name}+{donor.name}"
    return Body(name, inner_layers(tissues, BODY_SPACING_ZYX), hu, known=known, undrawn=undrawn)


def _whole_organs(moved: tuple[Tissue, ...]) -> npt.NDArray[np.uint8]:
    """(TISSUES,) the moved organ that each tissue belongs to, walls and contents alike; 0 for what stays."""
    table = np.zeros(TISSUES, np.uint8)
    table[list(moved)] = moved
    for content, organ in _CONTENTS.items():
        table[content] = organ
    return table


def _is_plausible(come: TissueMap, before: npt.NDArray[np.intp], moved: tuple[Tissue, ...]) -> bool:
    """Each organ arrives, at 0.5 to 2 times the volume it had ``before``, and is not cut by the receiver's ends.

    The gallbladder may have been taken out; a map without stomach or bowel does not know them.
    """
    after = np.bincount(come.ravel(), minlength=TISSUES)
    for organ in moved:
        if organ == Tissue.GALLBLADDER and not before[organ]:
            continue
        grown = float(after[organ]) / max(float(before[organ]), 1.0)
        if not 1 / _MOST_SCALED <= grown <= _MOST_SCALED:
            return False
    ends = (come[0], come[-1], come[:, 0], come[:, -1], come[:, :, 0], come[:, :, -1])
    return not any(np.isin(end, _ONE_PIECE).any() for end in ends)


def _pushed_into_room(
    nodes: npt.NDArray[np.float64], gut: TissueMap, come: TissueMap, room: Mask
) -> npt.NDArray[np.float64]:
    """``nodes`` bent so that less of what comes lies where there is no room: it is pushed the nearest way out.

    The push is smooth, so neighbours are pushed along.
    """
    coarse = tuple(slice(1, None, step) for step in _PUSH_STEP)
    spacing = np.array(BODY_SPACING_ZYX) * _PUSH_STEP
    blocked = ~room[coarse]
    way_out = ndimage.distance_transform_edt(blocked, spacing, return_distances=False, return_indices=True)
    way_out = (way_out - np.indices(blocked.shape)) * np.array(_PUSH_STEP)[:, None, None, None]
    places = node_places(room.shape)
    at = np.moveaxis((places - 1) / _PUSH_STEP, -1, 0)
    sigma = _PUSH_SIGMA_MM / spacing
    for _ in range(_PUSHES):
        organs = come[coarse]
        stuck = (organs > 0) & blocked
        if not stuck.any():
            break
        weight = np.where(stuck, 1.0, np.where(organs > 0, _HOLD, 0.0))
        wanted = np.where(stuck, way_out, 0.0)
        for organ in _ONE_PIECE:  # these move as a whole, or they would be squeezed against what lies well
            members = organs == organ
            count = int(np.count_nonzero(members))
            share = int(np.count_nonzero(stuck & members)) / count if count else 0.0
            if share:
                free = members & ~stuck
                wanted[:, free] = min(2 * share, 1.0) * way_out[:, stuck & members].mean(1)[:, None]
                weight[free] = 1.0
        weight_near = ndimage.gaussian_filter(weight, sigma) + 1e-3
        push = [ndimage.gaussian_filter(way * weight, sigma) / weight_near for way in wanted]
        moved = places - np.stack([ndimage.map_coordinates(way, at, order=1, mode="nearest") for way in push], -1)
        where = np.moveaxis(moved / NODE_STEP, -1, 0)
        # beyond the last node the map goes on as it does there
        nodes = np.stack(
            [ndimage.map_coordinates(nodes[..., axis], where, order=1, mode="nearest") for axis in range(3)], -1
        )
        come = sample_nearest(gut, nodes, room.shape, 0)
    return nodes


def _folds(nodes: npt.NDArray[np.float64], come: Mask) -> bool:
    where = ndimage.find_objects(come.astype(np.uint8))[0]
    cells = tuple(slice(part.start // NODE_STEP, -(-part.stop // NODE_STEP)) for part in where)
    return bool(jacobian_determinants(nodes)[cells].min() <= 0)


def _inside_the_wall(tissues: TissueMap) -> Mask:
    """Body, less what is near the air round it."""
    body = (tissues != Tissue.AIR).astype(np.uint8)
    inside: Mask = ndimage.minimum_filter(body, [2 * reach + 1 for reach in _WALL_VOXELS]) > 0
    return inside


def _is_kept(come: TissueMap, placed: TissueMap, moved: tuple[Tissue, ...], expected: npt.NDArray[np.floating]) -> bool:
    """``expected`` (TISSUES,) voxels are the donor's, for a body of the receiver's size."""
    for organ in moved:
        found = placed == organ
        if np.count_nonzero(found) < LEAST_KEPT * np.count_nonzero(come == organ):
            return False
        if organ in _ONE_PIECE and found.any():
            share = _largest_share(found)
            if share < LEAST_IN_ONE_PIECE or share * np.count_nonzero(found) < LEAST_KEPT * expected[organ]:
                return False
    return True


def _largest_share(mask: Mask) -> float:
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    parts, _ = ndimage.label(mask[box], np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    return float(sizes.max()) / float(sizes.sum())


def _fill(tissues: TissueMap, left: Mask) -> None:
    """What the receiver's organs leave becomes the nearest fat, muscle or soft tissue: no organ grows into it."""
    if not left.any():
        return
    box = tuple(slice(max(part.start - 8, 0), part.stop + 8) for part in ndimage.find_objects(left.astype(np.uint8))[0])
    part, gap = tissues[box], left[box]
    source = np.isin(part, _GIVES_WAY) & ~gap
    if not source.any():
        part[gap] = Tissue.FAT
        return
    nearest = ndimage.distance_transform_edt(~source, BODY_SPACING_ZYX, return_distances=False, return_indices=True)
    part[gap] = part[tuple(axis[gap] for axis in nearest)]
