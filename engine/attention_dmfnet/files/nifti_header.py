"""The header of a NIfTI file, version 1 or 2 (nifti1.h, nifti2.h), as it stands: nothing is judged here."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from attention_dmfnet.geometry import Index, NiftiForms

Affine = npt.NDArray[np.float64]
"""(3, 4): from voxel (x, y, z, 1) to RAS, in the header's own unit."""

LONGEST_HEADER_BYTES: Final = 540
TYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""The ``datatype`` codes with one number per voxel, as NumPy names them."""

_UNITS: Final = {1: 1000.0, 3: 0.001}
_HALF_A_TURN: Final = 1e-7
"""Where 1 - b^2 - c^2 - d^2 is below this, a is 0 and b, c, d are rounded: as nifti1_io.c has it."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a version keeps what, and in which type."""

    header_bytes: int
    magic: tuple[int, bytes]
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    voxel_offset: tuple[int, str]
    scaling: tuple[int, str]
    codes: tuple[int, str]
    numbers: tuple[int, str]
    units: tuple[int, str]


_VERSION_1 = _Layout(
    348, (344, b"n+1\0"), (40, "8h"), 70, (76, "8f"), (108, "f"), (112, "2f"), (252, "2h"), (256, "18f"), (123, "B")
)
_VERSION_2 = _Layout(
    540,
    (4, b"n+2\0\r\n\x1a\n"),
    (16, "8q"),
    12,
    (104, "8d"),
    (168, "q"),
    (176, "2d"),
    (344, "2i"),
    (352, "18d"),
    (500, "i"),
)


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What a single-file NIfTI says. ``sizes`` are along x, y, z, time and so on; ``pixdim`` has qfac first.

    ``dtype`` is None for types with more than one number per voxel. ``voxel_offset`` is where the voxels begin,
    ``forms`` where they are in the patient, ``unit_mm`` how long the header's unit is.
    """

    header_bytes: int
    sizes: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    pixdim: tuple[float, ...]
    voxel_offset: float
    slope: float
    intercept: float
    forms: NiftiForms

    @property
    def version(self) -> int:
        """1 or 2."""
        return 1 if self.header_bytes == _VERSION_1.header_bytes else 2

    @property
    def first_byte(self) -> int:
        """Where a file of this version has its first voxel at the earliest."""
        return self.header_bytes + 4

    @property
    def shape_zyx(self) -> Index | None:
        """The grid, or None where there are fewer axes, none at all, or several frames."""
        if len(self.sizes) < 3 or min(self.sizes) < 1 or set(self.sizes[3:]) - {1}:
            return None
        x, y, z = self.sizes[:3]
        return (z, y, x)

    @property
    def unit_mm(self) -> float:
        """1 where the header does not say: every program takes it for millimetres."""
        return _UNITS.get(self.forms.units & 7, 1.0)

    @property
    def qform(self) -> Affine | None:
        """What the quaternion says, or None if its code is 0."""
        if self.forms.qform_code <= 0:
            return None
        b, c, d = self.forms.quaternion
        squares = b * b + c * c + d * d
        if 1 - squares < _HALF_A_TURN:
            b, c, d = (number / math.sqrt(squares) for number in (b, c, d))
            a = 0.0
        else:
            a = math.sqrt(1 - squares)
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        steps = np.array(self.pixdim[1:4]) * (1, 1, -1 if self.pixdim[0] < 0 else 1)
        return np.column_stack([rotation * steps, self.forms.offset])

    @property
    def sform(self) -> Affine | None:
        """What the matrix says, or None if its code is 0."""
        return np.array(self.forms.rows).reshape(3, 4) if self.forms.sform_code > 0 else None


def parse_header(head: bytes) -> NiftiHeader | None:
    """The header that the first bytes of an (unpacked) file are, or None if they are none of a single-file NIfTI."""
    for layout in (_VERSION_1, _VERSION_2):
        at, magic = layout.magic
        if len(head) < layout.header_bytes or head[at : at + len(magic)] != magic:
            continue
        for order in "<>":
            if struct.unpack_from(f"{order}i", head)[0] == layout.header_bytes:
                return _parse(head, layout, order)
    return None


def _parse(head: bytes, layout: _Layout, order: str) -> NiftiHeader:
    def read(field: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + field[1], head, field[0])

    count, *sizes = struct.unpack_from(order + layout.dim[1], head, layout.dim[0])
    code = struct.unpack_from(f"{order}h", head, layout.datatype)[0]
    q_code, s_code = struct.unpack_from(order + layout.codes[1], head, layout.codes[0])
    numbers = read(layout.numbers)
    pixdim = read(layout.pixdim)
    slope, intercept = read(layout.scaling)
    # nifti1.h: a slope of zero means that the values are not scaled
    scaled = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    units = struct.unpack_from(order + layout.units[1], head, layout.units[0])[0]
    forms = NiftiForms(q_code, s_code, pixdim[:4], numbers[:3], numbers[3:6], numbers[6:], units)
    return NiftiHeader(
        layout.header_bytes,
        tuple(sizes[: max(0, min(count, 7))]),
        np.dtype(order + TYPES[code]) if code in TYPES else None,
        pixdim[:4],
        read(layout.voxel_offset)[0],
        slope if scaled else 1.0,
        intercept if scaled else 0.0,
        forms,
    )
