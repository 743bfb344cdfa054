"""Levels of fluid: horizontal as the patient lies, whichever way the body under them is turned and bent.

All patients are painted on their backs: gravity pulls along the rows of the image.
"""

from __future__ import annotations

import numpy as np

from training.painting.body_sites import BodySites, Float64
from training.painting.completion import BODY_SPACING_ZYX
from training.painting.kernel import NODE_STEP
from training.painting.look import Float3D, Look
from training.painting.tissue import Tissue

_CONTENTS = (Tissue.STOMACH_CONTENT, Tissue.DUODENUM_CONTENT, Tissue.COLON_CONTENT, Tissue.BOWEL_CONTENT)


def level_out(look: Look, sites: BodySites, nodes: Float3D) -> Look:
    """``look`` with its levels, drawn as rows of the body, as the rows of the image that show them.

    A level passes through its organ's middle: there it is where it was drawn. ``look.level`` is changed in place.
    """
    for content in _CONTENTS:
        places = sites.places.get(int(content))
        if places is not None and look.level[content] > 0:
            middle = places.mean(0)
            look.level[content] = image_row(nodes, np.array([middle[0], look.level[content], middle[2]]))[0]
    lung, chest = sites.places.get(int(Tissue.LUNG)), look.chest
    if lung is None or chest.sides[:, 0].min() >= _NO_FLUID:
        return look
    sides = chest.sides.copy()
    for side in range(2):
        own = lung[(lung[:, 2] < chest.middle_x) == (side == 0)]
        if len(own) and sides[side, 0] < _NO_FLUID:
            # fluid gathers at the base
            place = np.array([np.percentile(own[:, 0], 25), sides[side, 0], own[:, 2].mean()])
            sides[side, :2] = image_row(nodes, place)
    return look._replace(chest=chest._replace(sides=sides))


_NO_FLUID = 1e8


def image_row(nodes: Float3D, place: Float64) -> tuple[float, float]:
    """The row of the image that shows ``place`` (z, y, x index in the body), and how many rows one of the body takes.

    ``nodes`` (nz, ny, nx, 3) are the patch's, as ``deformed_nodes`` makes them. A place outside of the patch is found
    as if the patch went on as it does at its side.
    """
    away = (nodes - place) * np.asarray(BODY_SPACING_ZYX)
    nearest = [int(n) for n in np.unravel_index(int((away * away).sum(-1).argmin()), nodes.shape[:3])]
    slopes = np.empty((3, 3))
    for axis in range(3):
        low, high = list(nearest), list(nearest)
        low[axis], high[axis] = max(nearest[axis] - 1, 0), min(nearest[axis] + 1, nodes.shape[axis] - 1)
        slopes[:, axis] = (nodes[tuple(high)] - nodes[tuple(low)]) / (NODE_STEP * (high[axis] - low[axis]))
    back = np.linalg.pinv(slopes)
    row = NODE_STEP * nearest[1] + back[1] @ (place - nodes[tuple(nearest)])
    return float(row), float(abs(back[1, 1]))
