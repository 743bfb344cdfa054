"""How sure the network was of an organ: its mean probability over the voxels that were labelled so."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Geometry
from attention_dmfnet.model.network import Scores
from attention_dmfnet.steps.resample import along_axes

Nearest = npt.NDArray[np.intp]


def mean_probabilities(
    scores: Scores, grid: Geometry, labels: npt.NDArray[np.uint8], target: Geometry
) -> dict[int, float]:
    """The mean probability (0 to 1) of each label that occurs in ``labels`` (z, y, x), which lie on ``target``.

    A voxel has the probability, softmax of ``scores`` (class, z, y, x), of the nearest voxel of ``grid``: between
    voxels of the network's grid nothing new is known. Raises ``GeometryError`` if the axes of the two grids differ.
    """
    z, y, x = (_nearest(grid, target, axis) for axis in range(3))
    classes, _, height, width = scores.shape
    in_plane = (y[:, None] * width + x[None, :]).astype(np.int64)
    total = np.zeros(classes)
    voxels = np.zeros(classes)
    for plane in np.unique(z):
        part = labels[z == plane]
        number = part[part > 0].astype(np.int64)
        if len(number) == 0:
            continue
        where = np.broadcast_to(in_plane, part.shape)[part > 0]
        # how many voxels of each label have which voxel of the network's grid as their nearest
        counts = np.bincount(number * (height * width) + where, minlength=classes * height * width)
        counts = counts.reshape(classes, height * width)
        used = np.flatnonzero(counts.any(axis=0))
        total += (counts[:, used] * _softmax(scores[:, plane].reshape(classes, -1)[:, used])).sum(axis=1)
        voxels += counts.sum(axis=1)
    return {int(label): float(total[label] / voxels[label]) for label in np.flatnonzero(voxels)}


def _nearest(grid: Geometry, target: Geometry, axis: int) -> Nearest:
    """Along one axis, the index in ``grid`` that lies nearest to each voxel of ``target``."""
    first, step = (values[axis] for values in along_axes(grid, target))
    position = np.rint(first + step * np.arange(target.shape_zyx[axis]))
    nearest: Nearest = np.clip(position, 0, grid.shape_zyx[axis] - 1).astype(np.intp)
    return nearest


def _softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities (class, voxel)."""
    powers = np.exp(scores - scores.max(axis=0))
    result: npt.NDArray[np.float32] = powers / powers.sum(axis=0)
    return result
