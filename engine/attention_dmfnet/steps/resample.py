"""Intensities from one grid to another with the same axes.

Works axis by axis with small matrices, and reads the source slice by slice as it is stored: a scan of a gigabyte in
float32 never exists.
"""

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Geometry, GeometryError, Triple, Volume
from attention_dmfnet.steps.blas_buffer import need_buffer

Weights = npt.NDArray[np.float32]
"""(target voxel, source voxel) along one axis; every row sums to 1."""

_SAME_DIRECTION_TOLERANCE = 1e-4
# Most of a weight matrix is zeros: bands of 8 and of 16 targets took 0.4 of the time of whole matrices, of 32 0.6.
_TARGETS_A_BAND = 16


def resample_linear(volume: Volume, geometry: Geometry, clip_hu: tuple[float, float] | None = None) -> Volume:
    """The intensities of ``volume`` on ``geometry``, as float32.

    Along each axis the value is an average with triangular weights, which reach over one source voxel or one target
    voxel to either side, whichever is more: plain linear interpolation where the grid becomes finer, an anti-aliased
    one where it becomes coarser. Beyond its edge the volume goes on with the value at the edge. Intensities are
    clipped to ``clip_hu`` first: metal at 30,000 HU would shine into the liver.

    Raises ``GeometryError`` if the axes of the two grids differ.
    """
    offsets, ratios = along_axes(volume.geometry, geometry)
    weights = [
        linear_weights(target, source, offset, ratio)
        for target, source, offset, ratio in zip(geometry.shape_zyx, volume.array.shape, offsets, ratios, strict=True)
    ]
    # Slices are cut across the axis that is slowest in memory: across any other one, every slice of a scan that is
    # stored sagittally would touch all of its memory.
    slow = int(np.argmax(np.abs(volume.array.strides)))
    source = np.moveaxis(volume.array, slow, 0)
    outer = weights.pop(slow)
    planes = _resample_planes(source, outer, weights[0], weights[1], clip_hu)
    return Volume(np.ascontiguousarray(np.moveaxis(planes, 0, slow)), geometry)


def linear_weights(target: int, source: int, offset: float, ratio: float) -> Weights:
    """Triangular weights of ``source`` voxels for ``target`` voxels along one axis.

    Target voxel j lies at source index ``offset + ratio * j``. The triangle's half width is ``max(1, ratio)`` source
    voxels; what it covers beyond the edges counts for the voxels at the edges.
    """
    half_width = max(1.0, ratio)
    # a target far outside is the same as one just outside: only the edge voxel counts
    centre = np.clip(offset + ratio * np.arange(target), -half_width - 1, source + half_width)
    taps = np.floor(centre - half_width).astype(np.intp)[:, None] + np.arange(int(np.ceil(2 * half_width)) + 2)
    share = np.maximum(0.0, 1.0 - np.abs(centre[:, None] - taps) / half_width)
    weights = np.zeros((target, source))
    rows = np.broadcast_to(np.arange(target)[:, None], taps.shape)
    np.add.at(weights, (rows, np.clip(taps, 0, source - 1)), share)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _resample_planes(
    source: npt.NDArray[np.generic],
    outer: Weights,
    inner_rows: Weights,
    inner_columns: Weights,
    clip_hu: tuple[float, float] | None,
) -> npt.NDArray[np.float32]:
    """The source (plane, row, column) on the target's planes, rows and columns, plane by plane."""
    need_buffer()
    rows, columns = _used(inner_rows), _used(inner_columns)
    planes = _used(outer)
    bands = _bands(inner_rows[:, rows])
    column_weights = np.ascontiguousarray(inner_columns[:, columns].T)
    values = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    between = np.empty((len(inner_rows), values.shape[1]), dtype=np.float32)
    halfway = np.empty((planes.stop - planes.start, len(inner_rows), len(inner_columns)), dtype=np.float32)
    for index, plane in enumerate(source[planes]):
        values[...] = plane[rows, columns]
        if clip_hu is not None:
            np.clip(values, np.float32(clip_hu[0]), np.float32(clip_hu[1]), out=values)
        for target, used, weights in bands:
            np.matmul(weights, values[used], out=between[target])
        np.matmul(between, column_weights, out=halfway[index])
    result = np.empty((len(outer), *halfway.shape[1:]), dtype=np.float32)
    for target, used, weights in _bands(outer[:, planes]):
        flat = weights @ halfway[used].reshape(weights.shape[1], -1)
        result[target] = flat.reshape(-1, *halfway.shape[1:])
    return result


def _bands(weights: Weights) -> list[tuple[slice, slice, Weights]]:
    """The weights in blocks of target voxels, each with the few source voxels that count there."""
    starts = range(0, len(weights), _TARGETS_A_BAND)
    blocks = [(slice(start, start + _TARGETS_A_BAND), weights[start : start + _TARGETS_A_BAND]) for start in starts]
    return [(target, _used(block), np.ascontiguousarray(block[:, _used(block)])) for target, block in blocks]


def _used(weights: Weights) -> slice:
    """The source voxels that count at all: a target that covers part of the scan reads only that part."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)


def along_axes(source: Geometry, target: Geometry) -> tuple[Triple, Triple]:
    """Source index of the target's first voxel, and source voxels per target voxel, along each axis."""
    if not np.allclose(source.axes_lps, target.axes_lps, rtol=0, atol=_SAME_DIRECTION_TOLERANCE):
        raise GeometryError(
            f"cannot resample from axes {source.axes_lps} to axes {target.axes_lps}; bring both to the same axes first"
        )
    z, y, x = (new / old for new, old in zip(target.spacing_zyx, source.spacing_zyx, strict=True))
    return source.index_zyx(target.origin_lps), (z, y, x)
