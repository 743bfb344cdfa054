"""Whether a NIfTI header's statements agree with each other, and what is believed where they do not.

A header says up to three times where the voxels are: by a quaternion (qform), by a matrix (sform) and by the spacing
alone. Programs differ in which one they read. What cannot be is refused; where two statements differ the matrix is
believed, as most readers do, and the label map repeats all of them, so that it lies on the scan for every reader.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from attention_dmfnet.files.nifti_header import Affine, NiftiHeader
from attention_dmfnet.geometry import Geometry, GeometryError, Index, Triple
from attention_dmfnet.notes import Note

LONGEST_MM = 2500.0
WIDEST_MM = 1200.0
SHORTEST_MM = 50.0
"""No scan of a body has a longest side beyond the first or below the last, or its second longest beyond ``WIDEST_MM``.

Scanners reach 2.0 to 2.2 m along the table and 0.85 m across. The bounds keep the work of a case within what a body
can need, whatever number a header holds.
"""

FURTHEST_MM = 1e5
"""No origin is further off: a NIfTI file keeps it as a 32-bit number, which is exact to 0.01 mm up to here."""

WIDEST_MM = 800.0
"""No scanner's field of view is wider, however it is extended."""

LONGEST_PIXEL = 1.5
"""A pixel's longer side to its shorter one. Scanners make square ones, as many both ways."""

SPACING_MM = (0.2, 12.0)
LEAST_EXTENT_MM_ZYX = (60.0, 150.0, 150.0)
"""What an abdominal CT has: voxels of such sizes, and at least so much of the body."""

_RIGHT_ANGLES = 1e-3
_SKEW_OF_ROUNDING = 1e-5
_SPACING_TOLERANCE = 0.01
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"


class HeaderError(Exception):
    """A header that cannot be right, as a clause with the remedy."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is made of a header: the grid, or None where ITK has to be asked for it."""

    geometry: Geometry | None
    notes: tuple[Note, ...]


# a header may hold any number; what overflows is judged below, as what it became
@np.errstate(over="ignore", invalid="ignore")
def settle(header: NiftiHeader) -> Settled | None:
    """Compare the statements of ``header``; None if it is not one of a three-dimensional scan.

    Raises ``HeaderError``.
    """
    shape = header.shape_zyx
    if shape is None:
        return None
    if not all(math.isfinite(mm) and mm > 0 for mm in header.pixdim[1:4]):
        raise HeaderError(
            f"the header has a voxel spacing (pixdim) of {_by(header.pixdim[1:4])}, which must be finite and above 0; "
            "correct it, or convert the scan from DICOM again"
        )
    affine, notes, ours = _believed(header)
    scale, of_unit = _unit(header, affine, shape)
    notes += of_unit
    # NIfTI-2 is unknown to ITK's reader
    if not ours and not notes and header.version == 1:
        return Settled(_as_itk_reads(header, shape), ())
    if "header-axes-sheared" in {note.code for note in notes}:
        return Settled(None, tuple(notes))
    geometry = _geometry(affine * scale, shape)
    return Settled(replace(geometry, nifti_forms=header.forms) if notes else geometry, tuple(notes))


def check_size(geometry: Geometry) -> list[Note]:
    """What is unusual about the size of a scan. Raises ``HeaderError`` for what no scan of a body has."""
    z, y, x = geometry.extent_mm_zyx
    if not _possible([x, y, z], 1.0):
        raise HeaderError(
            f"the scan would be {_length(x)} x {_length(y)} x {_length(z)} in size, with voxels of "
            f"{_by(geometry.spacing_zyx[::-1])} mm, which no scan of a body is; correct the spacing or its unit in "
            "the header"
        )
    if max(map(abs, geometry.origin_lps)) > FURTHEST_MM:
        raise HeaderError(
            f"the scan's first voxel would be at {_by(geometry.origin_lps)} mm, further off than any scanner is long; "
            "correct the origin in the header"
        )
    low, high = SPACING_MM
    if not all(low <= mm <= high for mm in geometry.spacing_zyx):
        text = f"voxels of {_by(geometry.spacing_zyx[::-1])} mm are unusual; is the spacing in the header right?"
        return [Note("spacing-unusual", text)]
    canonical = geometry.canonical()
    _, deep, wide = canonical.extent_mm_zyx
    if max(deep, wide) > WIDEST_MM:
        mm, how = max((deep, "deep"), (wide, "wide"))
        text = f"the scan is {mm:.0f} mm {how}, more than any scanner sees; is the spacing in the header right?"
        return [Note("spacing-too-wide", text)]
    (_, rows, columns), (_, dy, dx) = canonical.shape_zyx, canonical.spacing_zyx
    if rows == columns and max(dy, dx) > LONGEST_PIXEL * min(dy, dx):
        pixel = _by((dx, dy))
        text = f"axial slices of {columns} x {rows} voxels have them {pixel} mm large; are the spacing's axes right?"
        return [Note("spacing-axes", text)]
    return []


def _believed(header: NiftiHeader) -> tuple[Affine, list[Note], bool]:
    """The matrix that counts, notes on why, and whether ITK's own reading is to be replaced by it."""
    qform, sform = header.qform, header.sform
    notes = []
    if qform is None and sform is None:
        text = (
            "the header does not say where right and left are (its qform and sform codes are 0); "
            "x was taken to run to the patient's left, y to the back, z to the head"
        )
        return _plain(header), [Note("header-no-orientation", text)], False
    if sform is not None and not _usable(sform):
        if qform is None or not _usable(qform):
            raise HeaderError("the header's orientation holds impossible numbers; convert the scan from DICOM again")
        return qform, [Note("header-sform-unusable", "the header's sform is impossible; its qform was read")], True
    if qform is not None and not _usable(qform):
        if sform is None:
            raise HeaderError("the header's orientation holds impossible numbers; convert the scan from DICOM again")
        notes.append(Note("header-qform-unusable", "the header's qform is impossible; its sform was read"))
        qform = None
    if sform is None:
        assert qform is not None
        return qform, notes, False
    apart = None if qform is None else _furthest_mm(qform, sform, header)
    if qform is not None and apart is not None and apart <= _tolerance_mm(header):
        return qform if _sheared(sform) else sform, notes, False
    if _sheared(sform):
        if os.environ.get(_PERMISSIVE, "").upper() in ("1", "ON", "TRUE", "YES"):
            text = "the axes in the header's sform are not at right angles; the nearest right angles were taken"
            return sform, [*notes, Note("header-axes-sheared", text)], False
        beside = "" if apart is None else f" (its qform hides that, and lies up to {apart:.0f} mm off)"
        raise HeaderError(
            f"the axes in the header's sform are not at right angles{beside}, as with a tilted gantry; "
            "resample the scan to a grid at right angles, "
            f"or set {_PERMISSIVE}=1 to take the nearest right angles"
        )
    if qform is not None:
        notes.append(_difference(qform, sform, apart or 0.0))
    spacing = np.linalg.norm(sform[:, :3], axis=0)
    if qform is None and not np.allclose(spacing, header.pixdim[1:4], rtol=_SPACING_TOLERANCE, atol=0):
        text = f"the header's pixdim says voxels of {_by(header.pixdim[1:4])}, its sform {_by(spacing)}, which was read"
        notes.append(Note("header-spacing-differs", text))
    return sform, notes, bool(notes)


def _difference(qform: Affine, sform: Affine, apart_mm: float) -> Note:
    q_hand, s_hand = (np.linalg.det(form[:, :3]) > 0 for form in (qform, sform))
    if q_hand != s_hand:
        text = "the header's qform and sform are mirror images of each other; the sform was read: check right and left"
        return Note("header-forms-mirrored", text)
    text = f"the header's qform and sform lie up to {apart_mm:.0f} mm apart; the sform was read"
    return Note("header-forms-differ", text)


def _unit(header: NiftiHeader, affine: Affine, shape: Index) -> tuple[float, list[Note]]:
    """How many mm the header's unit really is, by the size of the grid."""
    stated = header.unit_mm
    if stated == 1:
        return 1.0, []
    name = "metres" if stated > 1 else "microns"
    extent = [mm * size for mm, size in zip(np.linalg.norm(affine[:, :3], axis=0), shape[::-1], strict=True)]
    if _possible(extent, stated):
        return stated, [Note("units-converted", f"the header's unit is {name}; they were converted to mm")]
    if _possible(extent, 1.0):
        longest = _length(max(extent) * stated)
        text = f"the header's unit is {name}, in which the longest side would be {longest}; mm were taken"
        return 1.0, [Note("units-doubtful", text)]
    return stated, [Note("units-converted", f"the header's unit is {name}; they were converted to mm")]


def _possible(extent: list[float], scale: float) -> bool:
    _, middle, longest = sorted(length * scale for length in extent)
    return middle <= WIDEST_MM and SHORTEST_MM <= longest <= LONGEST_MM


def _as_itk_reads(header: NiftiHeader, shape: Index) -> Geometry | None:
    """The grid that ITK's reader (5.4) makes of forms that agree, bit for bit; None where it has to be asked.

    Labels on it have the scan's very numbers, whichever program compares them.
    """
    # in the precision of the file
    forms = (header.qform, header.sform)
    qform, sform = (None if form is None else form.astype(np.float32).astype(np.float64) for form in forms)
    if sform is not None and _sheared(sform, _SKEW_OF_ROUNDING):
        return None
    # of two forms it takes the matrix if that is the scanner's own; of two that are the same, either
    of_scanner = header.forms.sform_code == 1
    form = sform if qform is None or (sform is not None and (of_scanner or np.allclose(qform, sform))) else qform
    lengths = header.pixdim[1:4]
    return _geometry(np.asarray(form), shape, _triple(np.asarray(lengths)))


def _plain(header: NiftiHeader) -> Affine:
    """The matrix without any orientation, as ITK has it: LPS axes from the origin."""
    x, y, z = header.pixdim[1:4]
    return np.array([[-x, 0, 0, 0], [0, -y, 0, 0], [0, 0, z, 0]], dtype=np.float64)


def _usable(affine: Affine) -> bool:
    return bool(np.isfinite(affine).all() and (np.linalg.norm(affine[:, :3], axis=0) > 0).all())


def _sheared(affine: Affine, tolerance: float = _RIGHT_ANGLES) -> bool:
    axes = affine[:, :3] / np.linalg.norm(affine[:, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=tolerance)


def _furthest_mm(first: Affine, second: Affine, header: NiftiHeader) -> float:
    x, y, z = ((0, size - 1) for size in header.sizes[:3])
    corners = np.array([(*corner, 1) for corner in itertools.product(x, y, z)]).T
    return float(np.linalg.norm((first - second) @ corners, axis=0).max()) * header.unit_mm


def _tolerance_mm(header: NiftiHeader) -> float:
    """Half of the smallest voxel: headers are rounded, and no reader of either form would see the labels elsewhere."""
    return 0.5 * min(header.pixdim[1:4]) * header.unit_mm


def _geometry(affine: Affine, shape_zyx: Index, spacing_xyz: Triple | None = None) -> Geometry:
    """The grid of ``affine``, in mm; its own lengths are the spacing where none is given."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine
    lengths = [math.sqrt(sum(along * along for along in axis)) for axis in lps[:, :3].T.tolist()]
    if not all(lengths):  # the square of 1e-200 is 0
        raise HeaderError("an axis of its grid has no length; correct its header")
    along_x, along_y, along_z = (_triple(axis / length) for axis, length in zip(lps[:, :3].T, lengths, strict=True))
    spacing = _triple((spacing_xyz or lengths)[::-1])
    try:
        return Geometry(shape_zyx, spacing, _triple(lps[:, 3]), (along_z, along_y, along_x))
    except GeometryError as error:
        raise HeaderError(f"{error}; correct its header") from error


def _triple(values: Iterable[float]) -> Triple:
    a, b, c = (float(value) + 0.0 for value in values)
    return (a, b, c)


def _by(numbers: object) -> str:
    return " x ".join(f"{number:.3g}" for number in numbers)  # type: ignore[attr-defined]


def _length(mm: float) -> str:
    return f"{mm / 1000:.3g} m" if mm >= 1000 else f"{mm:.3g} mm"
