"""The slices of a series as they are stored, and the labels of a scan laid back on them.

A label map lies on one rectangular grid. The slices that it was read from may be stored in any order, flipped, sagittal
or tilted against each other's line: DICOM's objects refer to them, so the labels go back to each slice's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from attention_dmfnet.files.image_io import ImageError
from attention_dmfnet.geometry import Geometry, Triple, Volume

_ON_GRID = 0.05
"""Voxels: where all pixels are within this of voxels, nothing is resampled, and every labelled voxel has a pixel."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One stored image, or frame of one (``frame`` from 1, else None).

    ``position_lps`` is the centre of its first pixel. ``along_column_lps`` is one pixel's way when the column number
    grows by one, ``along_row_lps`` when the row number does, in mm. ``shape`` is (rows, columns).
    """

    source: Dataset
    frame: int | None
    position_lps: Triple
    along_row_lps: Triple
    along_column_lps: Triple
    shape: tuple[int, int]

    def points_lps(self, rows_columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """LPS positions (n, 3) in mm of (fractional) row and column numbers (n, 2)."""
        steps = np.array([self.along_row_lps, self.along_column_lps])
        points: npt.NDArray[np.float64] = np.asarray(self.position_lps) + rows_columns @ steps
        return points


def slices_of(sources: Sequence[Dataset], name: str) -> list[Slice]:
    """The slices of a series, single images or one multi-frame image, in the order of ``sources``.

    Raises ``ImageError``, which calls the series ``name``, where a slice does not say where it is.
    """
    if not sources:
        raise ImageError(f"{name}: the series has no image")
    frames = {source.get("FrameOfReferenceUID") for source in sources}
    if not all(frames):
        raise ImageError(f"{name}: the series has no Frame of Reference UID, so nothing can be laid over it")
    if len(frames) > 1:
        raise ImageError(f"{name}: the images of the series have different Frame of Reference UIDs")
    return [one for source in sources for one in _slices_of_image(source, name)]


def _slices_of_image(source: Dataset, name: str) -> list[Slice]:
    frames = source.get("PerFrameFunctionalGroupsSequence")
    try:
        if frames is None:
            return [_slice(source, None, source, source, source)]
        shared = source.SharedFunctionalGroupsSequence[0]
        return [
            _slice(
                source,
                number,
                frame.PlanePositionSequence[0],
                _group("PlaneOrientationSequence", frame, shared),
                _group("PixelMeasuresSequence", frame, shared),
            )
            for number, frame in enumerate(frames, start=1)
        ]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ImageError(f"{name}: a slice does not say where it is ({error})") from error


def _group(keyword: str, frame: Dataset, shared: Dataset) -> Dataset:
    group: Dataset = getattr(frame if keyword in frame else shared, keyword)[0]
    return group


def _slice(source: Dataset, frame: int | None, position: Dataset, orientation: Dataset, measures: Dataset) -> Slice:
    # ImageOrientation: first the direction along a row of pixels, in which the column number grows
    across = [float(value) for value in orientation.ImageOrientationPatient]
    between_rows, between_columns = (float(mm) for mm in measures.PixelSpacing)
    x, y, z = (float(mm) for mm in position.ImagePositionPatient)
    return Slice(
        source,
        frame,
        (x, y, z),
        _scaled(across[3:], between_rows),
        _scaled(across[:3], between_columns),
        (int(source.Rows), int(source.Columns)),
    )


def _scaled(direction: list[float], mm: float) -> Triple:
    x, y, z = direction
    return (x * mm, y * mm, z * mm)


def labels_on_slices(labels: Volume, slices: Sequence[Slice], name: str) -> npt.NDArray[np.uint8]:
    """``labels`` at the pixels of ``slices``: (slice, row, column), 0 outside the grid of the labels.

    Exact where the pixels are the grid's voxels, in whatever order; of a tilted series each pixel gets the label of the
    voxel that it lies in. Raises ``ImageError`` if the labels cannot be of this series, which it calls ``name``.
    """
    rows, columns = slices[0].shape
    if any(one.shape != (rows, columns) for one in slices):
        raise ImageError(f"{name}: the slices differ in size")
    laid = np.zeros((len(slices), rows, columns), np.uint8)
    furthest = 0.0
    for number, one in enumerate(slices):
        furthest = max(furthest, _lay(labels, one, laid[number]))
    labelled = np.count_nonzero(labels.array)
    # of a tilted series the grid is larger than the slices
    if laid.size == labels.array.size and furthest <= _ON_GRID and np.count_nonzero(laid) != labelled:
        raise ImageError(f"{name}: the labels do not lie on this series")
    if labelled and not laid.any():
        raise ImageError(f"{name}: the labels lie outside this series")
    return laid


def spacing_along_mm(geometry: Geometry, one: Slice) -> float:
    """How far apart the grid's voxels are along the axis that crosses the slice."""
    normal = np.cross(one.along_row_lps, one.along_column_lps)
    return geometry.spacing_zyx[int(np.abs(np.asarray(geometry.axes_lps) @ normal).argmax())]


def _lay(labels: Volume, one: Slice, into: npt.NDArray[np.uint8]) -> float:
    """Fill ``into`` (row, column); returns how far in voxels the pixels are from voxel centres."""
    geometry = labels.geometry
    first = _index(geometry, np.asarray(one.position_lps) - geometry.origin_lps)
    down, right = (_index(geometry, np.asarray(step)) for step in (one.along_row_lps, one.along_column_lps))
    row, column = np.arange(one.shape[0])[:, None], np.arange(one.shape[1])[None]
    furthest = 0.0
    inside: npt.NDArray[np.bool_] = np.ones((1, 1), bool)
    indices = []
    for axis, size in enumerate(geometry.shape_zyx):
        # a coordinate that does not change along the rows, or the columns, stays a vector
        place = first[axis] + _grown(row, down[axis]) + _grown(column, right[axis])
        index = np.rint(place).astype(np.intp)
        furthest = max(furthest, float(np.abs(place - index).max()))
        inside = inside & (index >= 0) & (index < size)
        indices.append(index.clip(0, size - 1))
    into[...] = np.where(inside, labels.array[tuple(indices)], 0)
    return furthest


def _grown(count: npt.NDArray[Any], step: float) -> npt.NDArray[np.float64] | float:
    # what rounding leaves of a step that is none must not make a plane of a vector
    return 0.0 if abs(step) * count.size < _ON_GRID / 10 else count * step


def _index(geometry: Geometry, way_lps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A way in mm as voxels along z, y and x of the array."""
    voxels: npt.NDArray[np.float64] = np.asarray(geometry.axes_lps) @ way_lps / geometry.spacing_zyx
    return voxels
