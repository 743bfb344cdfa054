"""Where voxels are in the patient: grids, boxes on them, and volumes that know their grid."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Triple = tuple[float, float, float]
Index = tuple[int, int, int]
Axes = tuple[Triple, Triple, Triple]

CANONICAL_AXES_LPS: Axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Array axes z, y, x that increase towards the patient's head (+S), back (+P) and left (+L)."""

# The looser of what scanners and NIfTI's float32 quaternions leave; ITK itself refuses anything worse.
_ORTHONORMAL_TOLERANCE = 1e-3


class GeometryError(ValueError):
    """A grid that cannot exist, or two grids that do not fit each other."""


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels: ``start_zyx`` is inside, ``stop_zyx`` is the first index outside."""

    start_zyx: Index
    stop_zyx: Index

    def __post_init__(self) -> None:
        if any(start < 0 or stop <= start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True)):
            raise GeometryError(f"a box from {self.start_zyx} to {self.stop_zyx} is empty or starts below zero")

    @property
    def shape_zyx(self) -> Index:
        """Size in voxels."""
        z, y, x = (stop - start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return (z, y, x)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index of a (z, y, x) array."""
        z, y, x = (slice(start, stop) for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return (z, y, x)


def box_of_labels(labels: npt.NDArray[np.integer[Any]]) -> Box | None:
    """The least box that holds all ``labels`` (z, y, x) but 0; None if there are none."""
    front = np.bitwise_or.reduce(labels, axis=0)
    z, y, x = map(np.flatnonzero, (labels.max(axis=(1, 2)), front.max(axis=1), front.max(axis=0)))
    if not len(z):
        return None
    return Box((int(z[0]), int(y[0]), int(x[0])), (int(z[-1]) + 1, int(y[-1]) + 1, int(x[-1]) + 1))


@dataclass(frozen=True, slots=True)
class NiftiForms:
    """What a NIfTI header says about the place of its voxels, word for word, in RAS and its own unit.

    ``pixdim`` begins with qfac, ``quaternion`` is b, c, d; ``offset`` goes with it, and ``rows`` are the sform's.
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    rows: tuple[float, ...]
    units: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """A regular grid of voxels in the patient.

    ``shape_zyx`` counts voxels and ``spacing_zyx`` is in mm, both in array order. ``origin_lps`` is the centre of
    voxel [0, 0, 0] in ITK's LPS millimetres (x, y, z order). Row i of ``axes_lps`` is the unit LPS direction in which
    array axis i (z, y, x) increases; it is column 2 - i of ITK's direction matrix.

    ``nifti_forms`` are there where the scan's header contradicts itself: what is written on this grid repeats them.

    Raises ``GeometryError`` for an empty grid, a spacing that is not a positive number, or axes that are not
    orthonormal.
    """

    shape_zyx: Index
    spacing_zyx: Triple
    origin_lps: Triple
    axes_lps: Axes
    nifti_forms: NiftiForms | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.shape_zyx) != 3 or any(size < 1 for size in self.shape_zyx):
            raise GeometryError(f"a grid of {self.shape_zyx} voxels is empty; every axis needs at least one voxel")
        if len(self.spacing_zyx) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in self.spacing_zyx):
            raise GeometryError(f"a voxel spacing of {self.spacing_zyx} mm is impossible; it must be finite and > 0")
        if len(self.origin_lps) != 3 or not all(math.isfinite(mm) for mm in self.origin_lps):
            raise GeometryError(f"an origin at {self.origin_lps} mm is impossible; it must be finite")
        axes = np.asarray(self.axes_lps, dtype=np.float64)
        # no part of a direction is longer than 1; squares of very long ones have no number
        if (
            axes.shape != (3, 3)
            or not (np.abs(axes) <= 2).all()
            or not np.allclose(axes @ axes.T, np.eye(3), rtol=0, atol=_ORTHONORMAL_TOLERANCE)
        ):
            raise GeometryError(f"the axes {self.axes_lps} are not three directions at right angles")

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3."""
        return math.prod(self.spacing_zyx)

    @property
    def extent_mm_zyx(self) -> Triple:
        """Size in mm from the outer edge of the first voxel to the outer edge of the last one."""
        z, y, x = (size * mm for size, mm in zip(self.shape_zyx, self.spacing_zyx, strict=True))
        return (z, y, x)

    def point_lps(self, index_zyx: Triple) -> Triple:
        """The LPS position in mm of a (fractional) voxel index; whole numbers are voxel centres."""
        x, y, z = (
            start
            + sum(i * mm * axis[k] for i, mm, axis in zip(index_zyx, self.spacing_zyx, self.axes_lps, strict=True))
            for k, start in enumerate(self.origin_lps)
        )
        return (x, y, z)

    def index_zyx(self, point_lps: Triple) -> Triple:
        """The fractional voxel index of an LPS position in mm; the inverse of ``point_lps``."""
        offset = tuple(to - start for to, start in zip(point_lps, self.origin_lps, strict=True))
        z, y, x = (
            sum(o * a for o, a in zip(offset, axis, strict=True)) / mm
            for axis, mm in zip(self.axes_lps, self.spacing_zyx, strict=True)
        )
        return (z, y, x)

    def crop(self, box: Box) -> "Geometry":
        """The grid of the voxels inside ``box``, which must lie within this grid."""
        if any(stop > size for stop, size in zip(box.stop_zyx, self.shape_zyx, strict=True)):
            raise GeometryError(f"a box up to {box.stop_zyx} reaches outside a grid of {self.shape_zyx} voxels")
        return Geometry(box.shape_zyx, self.spacing_zyx, self.point_lps(box.start_zyx), self.axes_lps)

    def with_spacing(self, spacing_zyx: Triple) -> "Geometry":
        """The grid with the same centre and axes, exactly ``spacing_zyx`` mm apart, that covers about the same extent.

        The number of voxels is the extent divided by the spacing, rounded, and at least one: the two extents differ
        by at most half a new voxel, a quarter at either end.
        """
        extent = self.extent_mm_zyx
        z, y, x = (max(1, round(mm / step)) for mm, step in zip(extent, spacing_zyx, strict=True))
        return self.with_grid((z, y, x), spacing_zyx)

    def with_grid(self, shape_zyx: Index, spacing_zyx: Triple) -> "Geometry":
        """The grid of ``shape_zyx`` voxels, ``spacing_zyx`` mm apart, with the same centre and axes."""
        middle = tuple(
            (old_size - 1) / 2 - (size - 1) / 2 * mm / old_mm
            for old_size, size, mm, old_mm in zip(self.shape_zyx, shape_zyx, spacing_zyx, self.spacing_zyx, strict=True)
        )
        return Geometry(shape_zyx, spacing_zyx, self.point_lps((middle[0], middle[1], middle[2])), self.axes_lps)

    def canonical(self) -> "Geometry":
        """The same voxels, with the array axes permuted and flipped to be as near +S, +P, +L as they can be."""
        return _reordered(self, _reordering(self.axes_lps, CANONICAL_AXES_LPS))

    def matches(self, other: "Geometry", tolerance_mm: float = 1e-3) -> bool:
        """Whether both have the same shape and every corner voxel at the same point, within ``tolerance_mm``."""
        if self.shape_zyx != other.shape_zyx:
            return False
        z, y, x = ((0, size - 1) for size in self.shape_zyx)
        corners = itertools.product(z, y, x)
        return all(math.dist(self.point_lps(corner), other.point_lps(corner)) <= tolerance_mm for corner in corners)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An array (z, y, x) of intensities or labels, and the grid it lies on.

    Raises ``GeometryError`` if their shapes differ.
    """

    array: npt.NDArray[Any]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape_zyx:
            raise GeometryError(f"an array of {self.array.shape} does not fit a grid of {self.geometry.shape_zyx}")

    def crop(self, box: Box) -> "Volume":
        """The part inside ``box``, as a view."""
        return Volume(self.array[box.slices], self.geometry.crop(box))


def canonicalise(volume: Volume) -> Volume:
    """A view of ``volume`` whose array axes run as near +S, +P, +L as they can: exact, nothing is interpolated."""
    return with_axes(volume, CANONICAL_AXES_LPS)


def with_axes(volume: Volume, axes_lps: Axes) -> Volume:
    """A view of ``volume`` with its array axes permuted and flipped to run as near ``axes_lps`` as they can."""
    order, flipped = reordering = _reordering(volume.geometry.axes_lps, axes_lps)
    steps = tuple(slice(None, None, -1) if flip else slice(None) for flip in flipped)
    return Volume(volume.array.transpose(order)[steps], _reordered(volume.geometry, reordering))


Reordering = tuple[Index, tuple[bool, bool, bool]]
"""Which old axis becomes each new axis, and whether it is flipped."""


def _reordering(axes_lps: Axes, wanted_lps: Axes) -> Reordering:
    along = np.asarray(wanted_lps) @ np.asarray(axes_lps).T
    orders: list[Index] = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    # rounding: a patient lying at exactly 45 degrees must not flip its axes on the last bit of a float
    order = max(orders, key=lambda old: round(sum(abs(float(along[new, old[new]])) for new in range(3)), 6))
    z, y, x = (bool(along[new, order[new]] < 0) for new in range(3))
    return order, (z, y, x)


def _reordered(geometry: Geometry, reordering: Reordering) -> Geometry:
    order, flipped = reordering
    first = [0, 0, 0]
    axes = list(geometry.axes_lps)
    for old, flip in zip(order, flipped, strict=True):
        if flip:
            first[old] = geometry.shape_zyx[old] - 1
            axes[old] = _opposite(axes[old])
    shape, spacing = geometry.shape_zyx, geometry.spacing_zyx
    a, b, c = order
    return Geometry(
        (shape[a], shape[b], shape[c]),
        (spacing[a], spacing[b], spacing[c]),
        geometry.point_lps((first[0], first[1], first[2])),
        (axes[a], axes[b], axes[c]),
    )


def _opposite(direction: Triple) -> Triple:
    # 0 - a, not -a, so that no direction carries a negative zero
    x, y, z = (0.0 - along for along in direction)
    return (x, y, z)
