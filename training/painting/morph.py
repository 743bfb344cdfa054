"""A body on its way to another patient's build: its landmarks moved a share of the way, everything else with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.painting.completion import Body
from training.painting.frames import (
    NODE_STEP,
    jacobian_determinants,
    landmarks_of,
    map_nodes,
    node_places,
    sample_nearest,
)
from training.painting.tissue import NO_HU, Tissue

SHARE = (0.2, 0.6)
"""Of the way that a morph goes, as a rule."""

_LEAST_DETERMINANT = 0.1
_SCALED_BACK = 0.8
_LEAST_SCALE = 0.25


def morph(body: Body, towards: Body, share: float) -> Body | None:
    """``body`` with its landmarks moved ``share`` of the way to those of ``towards``; where it lies stays.

    The displacement is scaled back until its Jacobian determinant is above 0.1 everywhere, so nothing is torn or
    folded; ``None`` if less than a quarter of it would be left, or too few landmarks are shared. Tissues and HU are
    carried by nearest neighbour; slices that lie beyond the body's ends are cut off.
    """
    here, there = landmarks_of(body.tissues), landmarks_of(towards.tissues)
    names = sorted(here.keys() & there.keys())
    if not names:
        return None
    # the two grids begin anywhere: the way from one to the other is not counted
    apart = np.mean([there[name] - here[name] for name in names], 0)
    goal = {name: here[name] + share * (there[name] - apart - here[name]) for name in names}
    nodes = map_nodes(body.tissues.shape, goal, here)
    if nodes is None:
        return None
    shape = body.tissues.shape
    nodes = _unfolded(nodes, shape)
    if nodes is None:
        return None
    tissues = sample_nearest(body.tissues, nodes, shape, int(Tissue.AIR))
    hu = sample_nearest(body.hu, nodes, shape, NO_HU)
    slices = _slices_inside(nodes, shape)
    return Body(f"{body.name}~{towards.name}", tissues[slices], hu[slices], known=body.known)


def _unfolded(nodes: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64] | None:
    places = node_places(shape)
    displacement, scale = nodes - places, 1.0
    while scale >= _LEAST_SCALE:
        bent = places + scale * displacement
        if jacobian_determinants(bent).min() > _LEAST_DETERMINANT:
            return bent
        scale *= _SCALED_BACK
    return None


def _slices_inside(nodes: npt.NDArray[np.float64], shape: tuple[int, ...]) -> slice:
    """The slices whose middle lies between the body's first and last slice."""
    middle = nodes[:, nodes.shape[1] // 2, nodes.shape[2] // 2, 0]
    z = np.interp(np.arange(shape[0]), NODE_STEP * np.arange(len(middle)), middle)
    inside = np.flatnonzero((z > -0.5) & (z < shape[0] - 0.5))
    return slice(int(inside[0]), int(inside[-1]) + 1)
