"""Labels on another grid with the same axes, by the nearest voxel."""

from __future__ import annotations

import numpy as np
from attention_dmfnet.geometry import Geometry, Volume
from attention_dmfnet.steps.resample import along_axes


def resample_nearest(labels: Volume, geometry: Geometry) -> Volume:
    """The labels of the nearest voxels of ``labels`` on ``geometry``, in the labels' own type.

    Voxels whose centre lies outside of ``labels`` get 0. Raises ``GeometryError`` if the axes of the grids differ.
    """
    offsets, ratios = along_axes(labels.geometry, geometry)
    nearest, outside = [], []
    for target, source, offset, ratio in zip(geometry.shape_zyx, labels.array.shape, offsets, ratios, strict=True):
        index = np.floor(offset + ratio * np.arange(target) + 0.5).astype(np.intp)
        outside.append((index < 0) | (index >= source))
        nearest.append(np.clip(index, 0, source - 1))
    array = labels.array[np.ix_(*nearest)]
    for axis, beyond in enumerate(outside):
        np.moveaxis(array, axis, 0)[beyond] = 0
    return Volume(array, geometry)
