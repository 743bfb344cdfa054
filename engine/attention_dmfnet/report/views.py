"""A scan and its labels for the viewer in a page: a coarser grid, 7 bits of grey, packed."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.nifti_writing import forms_of, nifti_header
from attention_dmfnet.geometry import Box, Geometry, Triple, Volume
from attention_dmfnet.steps.resample import along_axes, resample_linear

WINDOW_HU: Final = (-200.0, 308.0)
"""What the page can show. Air and lungs are one value, which packs to nothing."""

_GREYS: Final = 127
_FINEST_MM: Final = 2.0
_LEAST_OF_BODY: Final = 0.06
_MARGIN_MM: Final = 10.0
_MOST_BYTES: Final = 1_400_000
"""Of the packed CT: with the viewer, the pictures and base64 a page stays below 4 MB."""

_BYTES_PER_BODY_VOXEL: Final = 0.56
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Views:
    """Two NIfTI files, gzipped, in base64, and the grid of both."""

    ct: str
    labels: str
    grid: Geometry


def packed_views(ct: Volume, labels: Volume) -> Views:
    """A canonical ``ct`` (HU) and its ``labels`` on one coarser grid.

    The grid is as fine as ``_MOST_BYTES`` allows, but not finer than 2 mm or the scan. It covers the body: a scan that
    is half air and table would show it at half the size.
    """
    body = _body(ct, labels)
    ct, labels = ct.crop(body), labels.crop(body)
    spacing_mm = _spacing_for(ct)
    while True:
        grid = ct.geometry.with_spacing(_at_least(spacing_mm, ct.geometry.spacing_zyx))
        grey = _as_grey(resample_linear(ct, grid, WINDOW_HU).array)
        low, high = WINDOW_HU
        packed = _packed(_nifti(grey, grid, (high - low) / _GREYS, low))
        if len(packed) <= _MOST_BYTES or max(grid.shape_zyx) < 2:
            return Views(_base64(packed), _base64(_packed(_nifti(_nearest(labels, grid), grid))), grid)
        spacing_mm = max(spacing_mm * (len(packed) / _MOST_BYTES) ** (1 / 3), spacing_mm + 0.1)


def _body(ct: Volume, labels: Volume) -> Box:
    """The scan's whole height, and of its width and depth what holds tissue, with a margin; every label is inside."""
    # every second voxel is enough to see where a body ends
    tissue = ct.array[::2, ::2, ::2] > WINDOW_HU[0]
    start, stop = [0], [ct.array.shape[0]]
    for axis in (1, 2):
        others = tuple(other for other in range(3) if other != axis)
        count = np.count_nonzero(tissue, axis=others)
        # a table and its edges are thin; a body is at least so much of its thickest plane
        filled = 2 * np.flatnonzero(count > _LEAST_OF_BODY * count.max())
        labelled = np.flatnonzero(labels.array.any(axis=others))
        size, margin = ct.array.shape[axis], math.ceil(_MARGIN_MM / ct.geometry.spacing_zyx[axis])
        ends = [int(found[at]) for found in (filled, labelled) if len(found) for at in (0, -1)] or [0, size - 1]
        start.append(max(min(ends) - margin, 0))
        stop.append(min(max(ends) + 1 + margin, size))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _spacing_for(ct: Volume) -> float:
    """About the finest spacing in mm that fits, from how much of the scan is not air."""
    body = float(np.mean(ct.array[::4, ::8, ::8] > WINDOW_HU[0])) * math.prod(ct.geometry.extent_mm_zyx)
    spacing_mm = _FINEST_MM
    while True:
        voxel_mm3 = math.prod(_at_least(spacing_mm, ct.geometry.spacing_zyx))
        if body / voxel_mm3 * _BYTES_PER_BODY_VOXEL <= _MOST_BYTES:
            return spacing_mm
        spacing_mm += 0.1


def _at_least(mm: float, spacing_zyx: Triple) -> Triple:
    z, y, x = (max(mm, own) for own in spacing_zyx)
    return (z, y, x)


def _as_grey(hu: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    low, high = WINDOW_HU
    hu -= np.float32(low)
    hu *= np.float32(_GREYS / (high - low))
    grey: npt.NDArray[np.uint8] = np.rint(hu, out=hu).astype(np.uint8)
    return grey


def _nearest(labels: Volume, grid: Geometry) -> npt.NDArray[np.uint8]:
    first, step = along_axes(labels.geometry, grid)
    z, y, x = (
        np.clip(np.rint(f + s * np.arange(size)).astype(np.intp), 0, most - 1)
        for f, s, size, most in zip(first, step, grid.shape_zyx, labels.array.shape, strict=True)
    )
    nearest: npt.NDArray[np.uint8] = labels.array[np.ix_(z, y, x)].astype(np.uint8)
    return nearest


def _nifti(values: npt.NDArray[np.uint8], grid: Geometry, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    return nifti_header(forms_of(grid), values, slope=slope, intercept=intercept) + values.tobytes()


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(5, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
