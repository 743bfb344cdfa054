"""NIfTI-1 files (nifti1.h) of an array and its grid, packed with gzip where the name says so."""

from __future__ import annotations

import importlib
import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.files.nifti_header import TYPES
from attention_dmfnet.geometry import Geometry, NiftiForms

try:
    # Intel's ISA-L packs a label map in a thirtieth of zlib's time, to 1.6 times its size
    _deflate: Any = importlib.import_module("isal.isal_zlib")
except ImportError:
    _deflate = zlib

LONGEST_AXIS: Final = 32767
"""Voxels: the header's numbers are of 16 bits."""

_CODES: Final = {name: code for code, name in TYPES.items()}
_SCANNER: Final = 1
_MM_AND_SECONDS: Final = 10
_FASTEST: Final = 1


class NotForNiftiError(Exception):
    """An array that the format cannot hold, as a clause."""


def write_nifti(array: npt.NDArray[Any], geometry: Geometry, path: Path, packed: bool, extension: bytes = b"") -> None:
    """Write ``array`` (z, y, x) in its own type, with a header that says of its place what ``geometry`` says.

    Labels of a scan whose header contradicts itself repeat what that header says. ``extension`` is a whole one
    (nifti1.h) that stands between header and voxels. Raises ``OSError``, and ``NotForNiftiError`` for a type or size
    that the format does not have.
    """
    if max(array.shape) > LONGEST_AXIS:
        raise NotForNiftiError(f"NIfTI has no axis of {max(array.shape)} voxels")
    name = array.dtype.str[1:]
    if name not in _CODES:
        raise NotForNiftiError(f"NIfTI has no voxels of type {array.dtype}")
    repeated = geometry.nifti_forms if array.dtype == np.uint8 else None
    head = nifti_header(repeated or forms_of(geometry), array, extension)
    planes: Iterator[bytes | memoryview] = (
        np.ascontiguousarray(plane, dtype=f"<{name}").reshape(-1).view(np.uint8).data for plane in array
    )
    pieces: Iterator[bytes | memoryview] = _packed(head, planes) if packed else itertools.chain((head,), planes)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)


def nifti_header(
    forms: NiftiForms, array: npt.NDArray[Any], extension: bytes = b"", slope: float = 1.0, intercept: float = 0.0
) -> bytes:
    """What precedes ``array`` and says of its place what ``forms`` say: 352 bytes, and ``extension``.

    The array's values times ``slope``, plus ``intercept``, are those meant. NIfTI-2 has longer numbers; what does not
    fit becomes the largest that does.
    """
    head = bytearray(352)
    z, y, x = array.shape
    struct.pack_into("<i", head, 0, 348)
    head[38] = ord("r")
    struct.pack_into("<8h", head, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, _CODES[array.dtype.str[1:]], 8 * array.itemsize)
    struct.pack_into("<4f", head, 76, *_floats(forms.pixdim))
    struct.pack_into("<3f", head, 108, len(head) + len(extension), slope, intercept)
    head[123] = forms.units & 0xFF
    codes = (max(-32768, min(32767, code)) for code in (forms.qform_code, forms.sform_code))
    struct.pack_into("<2h", head, 252, *codes)
    struct.pack_into("<18f", head, 256, *_floats((*forms.quaternion, *forms.offset, *forms.rows)))
    head[344:348] = b"n+1\0"
    head[348] = bool(extension)
    return bytes(head) + extension


def _floats(numbers: tuple[float, ...]) -> tuple[float, ...]:
    # struct refuses what 32 bits cannot hold, but for the infinite
    most = float(np.finfo(np.float32).max)
    return tuple(max(-most, min(most, n)) if math.isfinite(n) else n for n in numbers)


def forms_of(geometry: Geometry) -> NiftiForms:
    """``geometry`` as a quaternion and as a matrix, both as from a scanner, as ITK writes them."""
    to_ras = np.diag([-1.0, -1.0, 1.0])
    axes = to_ras @ np.array(geometry.axes_lps[::-1]).T
    spacing = geometry.spacing_zyx[::-1]
    x, y, z = (float(mm) + 0.0 for mm in to_ras @ geometry.origin_lps)
    # a quaternion turns and does not mirror: that is what qfac is for
    qfac = math.copysign(1.0, np.linalg.det(axes))
    rows = np.column_stack([axes * spacing, (x, y, z)])
    quaternion = _quaternion(axes * (1, 1, qfac))
    return NiftiForms(
        _SCANNER, _SCANNER, (qfac, *spacing), quaternion, (x, y, z), tuple((rows + 0.0).ravel()), _MM_AND_SECONDS
    )


def _quaternion(turn: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """b, c, d of a rotation (3, 3), with a at least 0; an inexact rotation gives the nearest one's.

    The eigenvector of the largest eigenvalue (Bar-Itzhack, Journal of Guidance, Control, and Dynamics 23, 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    products = [
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]
    b, c, d, a = np.linalg.eigh(products)[1][:, -1].round(12)
    sign = -1.0 if (a, b, c, d) < (0, 0, 0, 0) else 1.0
    return (b * sign + 0.0, c * sign + 0.0, d * sign + 0.0)


def _packed(head: bytes, planes: Iterator[bytes | memoryview]) -> Iterator[bytes]:
    packer = _deflate.compressobj(_FASTEST, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield packer.compress(head)
    for plane in planes:
        yield packer.compress(plane)
    yield packer.flush()
