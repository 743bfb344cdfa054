"""Smooth solids in the patient, as signed distances, and the canvas that they are painted on.

Every solid is a function of the position in the patient (LPS millimetres), negative inside and about a distance near
its surface, so that a voxel's share of it (the partial volume) follows from the function's value.
"""

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Triple

Field = npt.NDArray[np.float32]
"""(z, y, x) one number per voxel; for a solid, mm outside (> 0) or inside (< 0) of its surface."""

Region = tuple[slice, slice, slice]
"""An index of a (z, y, x) array."""

Knot = tuple[float, float, float, float]
"""x, y, z of a point on a path (LPS, mm) and the radius there (mm)."""

Curve = npt.NDArray[np.float64]
"""(point, 4) x, y, z (mm) of the points of a path, and the radii there (mm)."""

Found = tuple[Region, Field]
"""A solid, and the region of the canvas that it was looked for on."""

FAR_MM = 1e3


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers for the structure ``name`` of patient ``seed``; a new structure leaves all others as they were."""
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """A smooth random function of the position: a sum of plane waves, about ``amplitude`` in size."""

    wave_vectors: npt.NDArray[np.float32]
    phases: npt.NDArray[np.float32]
    amplitude: float

    @staticmethod
    def draw(rng: np.random.Generator, wavelength_mm: tuple[float, float], amplitude: float, count: int = 5) -> "Waves":
        """Waves in random directions, with lengths between the two of ``wavelength_mm``."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelength_mm, size=(count, 1))
        return Waves(
            (2 * np.pi * directions / lengths).astype(np.float32),
            rng.uniform(0, 2 * np.pi, count).astype(np.float32),
            amplitude * math.sqrt(2 / count),
        )

    def at(self, x: Field, y: Field, z: Field) -> Field:
        """The function's values at these positions (mm)."""
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
        for (along_x, along_y, along_z), phase in zip(self.wave_vectors, self.phases, strict=True):
            total += np.sin(along_x * x + along_y * y + along_z * z + phase)
        return total * np.float32(self.amplitude)


@dataclass(slots=True, eq=False)
class Canvas:
    """A slab of the scan that is being painted.

    ``x``, ``y`` and ``z`` are the positions of its voxels in the patient (mm), ``ct`` its HU and ``labels`` its organ
    labels, all (z, y, x). ``edge_mm`` is the width over which a surface fades (the partial volume).
    """

    x: Field
    y: Field
    z: Field
    ct: Field
    labels: npt.NDArray[np.uint8]
    edge_mm: float
    _ranges: tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ...]

    @staticmethod
    def blank(x: Field, y: Field, z: Field, edge_mm: float, hu: float) -> "Canvas":
        """A canvas of ``hu`` everywhere and no label."""
        ranges = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            low = np.stack([position.min(axis=others) for position in (x, y, z)])
            high = np.stack([position.max(axis=others) for position in (x, y, z)])
            ranges.append((low, high))
        labels = np.zeros(x.shape, np.uint8)
        return Canvas(x, y, z, np.full(x.shape, hu, np.float32), labels, edge_mm, tuple(ranges))

    @property
    def everywhere(self) -> Region:
        """The whole slab."""
        return (slice(None), slice(None), slice(None))

    def region(self, low_mm: Triple, high_mm: Triple) -> Region | None:
        """The voxels that may lie in this box of the patient, or None. Works for any axes: it looks, plane by plane."""
        slices = []
        bottom, top = np.array(low_mm)[:, None], np.array(high_mm)[:, None]
        for low, high in self._ranges:
            touched = np.flatnonzero(((high >= bottom) & (low <= top)).all(axis=0))
            if not touched.size:
                return None
            slices.append(slice(int(touched[0]), int(touched[-1]) + 1))
        return (slices[0], slices[1], slices[2])

    def positions(self, region: Region) -> tuple[Field, Field, Field]:
        """x, y and z of the voxels of ``region``."""
        return self.x[region], self.y[region], self.z[region]

    def paint(self, region: Region, solid: Field, hu: float | Field, label: int | None = None) -> None:
        """Lay ``hu`` over the inside of ``solid``, fading at its surface; ``label`` (0 erases) goes where it is < 0."""
        cover = np.clip(0.5 - solid / np.float32(self.edge_mm), 0, 1)
        ct = self.ct[region]
        ct += cover * (hu - ct)
        if label is not None:
            self.labels[region][solid < 0] = label


def smooth_max(a: Field, b: Field | float, round_mm: float) -> Field:
    """The intersection of two solids, its edge rounded over ``round_mm``."""
    overlap = np.maximum(round_mm - np.abs(a - b), 0)
    rounded: Field = np.maximum(a, b) + overlap * overlap * np.float32(0.25 / round_mm)
    return rounded


def smooth_min(a: Field, b: Field | float, round_mm: float) -> Field:
    """The union of two solids, the crease between them filled over ``round_mm``."""
    overlap = np.maximum(round_mm - np.abs(a - b), 0)
    rounded: Field = np.minimum(a, b) - overlap * overlap * np.float32(0.25 / round_mm)
    return rounded


def ellipsoid(x: Field, y: Field, z: Field, centre: Triple, radii_mm: Triple) -> Field:
    """About the distance to an ellipsoid whose axes are x, y and z; turn the positions first for another one."""
    u, v, w = (x - centre[0]) / radii_mm[0], (y - centre[1]) / radii_mm[1], (z - centre[2]) / radii_mm[2]
    near = np.sqrt(u * u + v * v + w * w) + np.float32(1e-6)
    u, v, w = u / radii_mm[0], v / radii_mm[1], w / radii_mm[2]
    steep = np.sqrt(u * u + v * v + w * w) + np.float32(1e-6)
    distance: Field = near * (near - 1) / steep
    return distance


def turned(a: Field, b: Field, degrees: float) -> tuple[Field, Field]:
    """The coordinates (a, b) in axes that are turned by ``degrees`` in their plane."""
    cos, sin = np.float32(math.cos(math.radians(degrees))), np.float32(math.sin(math.radians(degrees)))
    return a * cos + b * sin, b * cos - a * sin


def smooth_path(knots: Sequence[Knot], step_mm: float = 5.0) -> Curve:
    """A smooth (Catmull-Rom) curve through ``knots``, with a point about every ``step_mm``."""
    points = np.array(knots, dtype=np.float64)
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    padded = np.vstack([before, points, after])
    pieces = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        steps = max(1, math.ceil(float(np.linalg.norm(c[:3] - b[:3])) / step_mm))
        t = np.arange(steps)[:, None] / steps
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack([*pieces, points[-1:]])


def tube(canvas: Canvas, path: Curve, margin_mm: float = 0.0, stretch: Triple = (1.0, 1.0, 1.0)) -> Found | None:
    """The solid around a path of positions and radii, as far as ``margin_mm`` outside, on the region that it touches.

    ``stretch`` widens the cross-section along x, y or z. Returns None if the canvas does not reach it.
    """
    centres, radii = path[:, :3], path[:, 3]
    pad = (float(radii.max()) + margin_mm + canvas.edge_mm) * np.array(stretch)
    region = canvas.region(_triple(centres.min(axis=0) - pad), _triple(centres.max(axis=0) + pad))
    if region is None:
        return None
    solid = np.full(canvas.x[region].shape, FAR_MM, np.float32)
    starts = [part.start for part in region]
    for (a, b), (r0, r1) in zip(itertools.pairwise(centres), itertools.pairwise(radii), strict=True):
        pad = (max(r0, r1) + margin_mm + canvas.edge_mm) * np.array(stretch)
        part = canvas.region(_triple(np.minimum(a, b) - pad), _triple(np.maximum(a, b) + pad))
        if part is None:
            continue
        inner = solid[
            part[0].start - starts[0] : part[0].stop - starts[0],
            part[1].start - starts[1] : part[1].stop - starts[1],
            part[2].start - starts[2] : part[2].stop - starts[2],
        ]
        np.minimum(inner, _round_cone(canvas.positions(part), a, b, r0, r1, stretch), out=inner)
    return region, solid


def paint_tube(
    canvas: Canvas,
    knots: Sequence[Knot],
    hu: float,
    label: int | None = None,
    step_mm: float = 6.0,
    stretch: Triple = (1.0, 1.0, 1.0),
) -> None:
    """Paint a smooth tube through ``knots``, if the canvas reaches it."""
    found = tube(canvas, smooth_path(knots, step_mm), 1.0, stretch)
    if found is not None:
        canvas.paint(*found, hu, label)


def seen_from(region: Region, found: Found | None) -> Field:
    """A solid that was found on its own region, on the voxels of another ``region``; far away outside its own."""
    shape = tuple(part.stop - part.start for part in region)
    solid = np.full(shape, FAR_MM, np.float32)
    if found is None:
        return solid
    here, there = [], []
    for wanted, own in zip(region, found[0], strict=True):
        start, stop = max(wanted.start, own.start), min(wanted.stop, own.stop)
        if stop <= start:
            return solid
        here.append(slice(start - wanted.start, stop - wanted.start))
        there.append(slice(start - own.start, stop - own.start))
    solid[tuple(here)] = found[1][tuple(there)]
    return solid


def _round_cone(
    positions: tuple[Field, Field, Field],
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    r0: float,
    r1: float,
    stretch: Triple,
) -> Field:
    narrow = [1 / s for s in stretch]
    along = [float((end - start) * k) for start, end, k in zip(a, b, narrow, strict=True)]
    u, v, w = ((p - np.float32(start)) * np.float32(k) for p, start, k in zip(positions, a, narrow, strict=True))
    length_squared = sum(d * d for d in along) or 1e-6
    t = np.clip((u * along[0] + v * along[1] + w * along[2]) * np.float32(1 / length_squared), 0, 1)
    u, v, w = u - t * along[0], v - t * along[1], w - t * along[2]
    distance: Field = np.sqrt(u * u + v * v + w * w) - np.float32(r0) - t * np.float32(r1 - r0)
    return distance


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    a, b, c = (float(value) for value in values)
    return (a, b, c)
