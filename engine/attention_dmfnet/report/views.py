"""A scan and its labels for the viewer in a page: a coarser grid, 7 bits of grey, packed."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Geometry, Triple, Volume
from attention_dmfnet.steps.resample import along_axes, resample_linear

WINDOW_HU: Final = (-200.0, 308.0)
"""What the page can show. Air and lungs are one value, which packs to nothing."""

_GREYS: Final = 127
_FINEST_MM: Final = 2.0
_MOST_BYTES: Final = 1_400_000
"""Of the packed CT: with the viewer, the pictures and base64 a page stays below 4 MB."""

_BYTES_PER_BODY_VOXEL: Final = 0.56
_NIFTI_UINT8: Final = 2
_SCANNER: Final = 1
_MM: Final = 2
_GZIP: Final = 31


@dataclass(frozen=True, slots=True)
class Views:
    """Two NIfTI files, gzipped, in base64, and the grid of both."""

    ct: str
    labels: str
    grid: Geometry


def packed_views(ct: Volume, labels: Volume) -> Views:
    """A canonical ``ct`` (HU) and its ``labels`` on one coarser grid.

    The grid is as fine as ``_MOST_BYTES`` allows, but not finer than 2 mm or the scan.
    """
    spacing_mm = _spacing_for(ct)
    while True:
        grid = ct.geometry.with_spacing(_at_least(spacing_mm, ct.geometry.spacing_zyx))
        grey = _as_grey(resample_linear(ct, grid, WINDOW_HU).array)
        low, high = WINDOW_HU
        packed = _packed(nifti(grey, grid, (high - low) / _GREYS, low))
        if len(packed) <= _MOST_BYTES or max(grid.shape_zyx) < 2:
            return Views(_base64(packed), _base64(_packed(nifti(_nearest(labels, grid), grid))), grid)
        spacing_mm = max(spacing_mm * (len(packed) / _MOST_BYTES) ** (1 / 3), spacing_mm + 0.1)


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


def nifti(values: npt.NDArray[np.uint8], grid: Geometry, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    """A NIfTI-1 file of ``values`` (z, y, x): in memory, which SimpleITK cannot do."""
    z, y, x = grid.shape_zyx
    dz, dy, dx = grid.spacing_zyx
    # columns are the steps along x, y, z; NIfTI's patient is RAS
    steps = np.array([np.asarray(axis) * mm for axis, mm in zip(grid.axes_lps, grid.spacing_zyx, strict=True)])[::-1].T
    affine: Any = np.column_stack([steps, grid.origin_lps]) * np.array([[-1.0], [-1.0], [1.0]])
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _NIFTI_UINT8, 8)
    struct.pack_into("<8f", header, 76, 1.0, dx, dy, dz, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, slope, intercept)
    header[123] = _MM
    struct.pack_into("<2h", header, 252, 0, _SCANNER)
    struct.pack_into("<12f", header, 280, *affine.ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + values.tobytes()


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(5, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
