"""The scan: a grid is painted slab by slab, noise is added, both files are written."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.geometry import CANONICAL_AXES_LPS, Axes, Geometry, Index, Triple, Volume, with_axes

from evaluation.phantom.body import paint_body
from evaluation.phantom.bowel import paint_bowel
from evaluation.phantom.organs import paint_organs
from evaluation.phantom.patient import Patient
from evaluation.phantom.shapes import Canvas, Field

CASE_NAME = "Phantom_0001"

_SLAB_VOXELS = 1_500_000
_BEND_STEP_MM = 8.0
_NOISE_HU = (8.0, 18.0)
_CENTRE_LPS: Triple = (0.0, -22.0, 6.0)


def phantom_geometry(
    shape_zyx: Index = (110, 256, 256), spacing_zyx: Triple = (3.0, 1.5, 1.5), axes_lps: Axes = CANONICAL_AXES_LPS
) -> Geometry:
    """A grid around the phantom's abdomen; the default one reaches from the heart to the pelvis."""
    around = Geometry((1, 1, 1), spacing_zyx, _CENTRE_LPS, axes_lps)
    return around.with_grid(shape_zyx, spacing_zyx)


def make_phantom(geometry: Geometry, seed: int) -> tuple[Volume, Volume]:
    """The CT (int16, HU) and the reference labels (uint8) of patient ``seed`` on ``geometry``.

    The patient lies between the table and the ceiling around LPS (0, -22, 6) mm whatever the grid, so a grid placed
    elsewhere shows air. The axis order and flips of the grid change no voxel: the same place has the same HU.
    """
    patient = Patient.from_seed(seed)
    # painted on canonical axes, so that even the noise does not depend on the order in which voxels are stored
    grid = geometry.canonical()
    ct = np.empty(grid.shape_zyx, np.int16)
    labels = np.empty(grid.shape_zyx, np.uint8)
    z_size, y_size, x_size = grid.shape_zyx
    edge_mm = max(1.2, math.sqrt(sum(mm * mm for mm in grid.spacing_zyx) / 3))
    bends = _coarse_bends(grid, patient)
    noise = patient.stream("noise")
    noise_hu = noise.uniform(*_NOISE_HU)
    thick = max(1, _SLAB_VOXELS // (y_size * x_size))
    for start in range(0, z_size, thick):
        planes = slice(start, min(start + thick, z_size))
        canvas = Canvas.blank(*_anatomy(grid, bends, planes), edge_mm, patient.hu["air"])
        body = paint_body(canvas, patient)
        paint_bowel(canvas, patient, body)
        paint_organs(canvas, patient, body)
        _add_noise(canvas.ct, noise, noise_hu)
        ct[planes] = np.clip(np.rint(canvas.ct), -1024, 3071)
        labels[planes] = canvas.labels
    return reorient_like(Volume(ct, grid), geometry), reorient_like(Volume(labels, grid), geometry)


def reorient_like(volume: Volume, geometry: Geometry) -> Volume:
    """A view of ``volume`` with its array axes permuted and flipped on to those of ``geometry``.

    Where the result covers the very voxels of ``geometry``, it carries ``geometry`` itself, free of rounding.
    """
    turned = with_axes(volume, geometry.axes_lps)
    return Volume(turned.array, geometry) if turned.geometry.matches(geometry) else turned


def write_phantom(folder: Path, seed: int, geometry: Geometry | None = None) -> tuple[Path, Path]:
    """Write a phantom as ``images/Phantom_0001_0000.nii.gz`` and ``labels/Phantom_0001.nii.gz``; returns both paths."""
    ct, labels = make_phantom(geometry or phantom_geometry(), seed)
    image_path = folder / "images" / f"{CASE_NAME}_0000.nii.gz"
    labels_path = folder / "labels" / f"{CASE_NAME}.nii.gz"
    for path in (image_path, labels_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(ct, image_path)
    write_labels(labels, labels_path)
    return image_path, labels_path


def _grid_positions(
    grid: Geometry, index_z: npt.NDArray[np.float64], index_y: npt.NDArray[np.float64], index_x: npt.NDArray[np.float64]
) -> tuple[Field, Field, Field]:
    positions = []
    for k in range(3):
        along_z, along_y, along_x = (
            index * mm * axis[k]
            for index, mm, axis in zip((index_z, index_y, index_x), grid.spacing_zyx, grid.axes_lps, strict=True)
        )
        total = grid.origin_lps[k] + along_z[:, None, None] + along_y[None, :, None] + along_x[None, None, :]
        positions.append(total.astype(np.float32))
    return positions[0], positions[1], positions[2]


def _coarse_bends(grid: Geometry, patient: Patient) -> tuple[Field, tuple[npt.NDArray[np.float64], ...]]:
    """(3, z, y, x) anatomical x, y and z minus the scan's, on a coarse lattice of the grid, and the lattice's indices.

    The bends are so smooth that interpolating between points 8 mm apart saves nearly all their sines.
    """
    lattice = tuple(
        np.linspace(0, size - 1, max(2, math.ceil((size - 1) * mm / _BEND_STEP_MM) + 1))
        for size, mm in zip(grid.shape_zyx, grid.spacing_zyx, strict=True)
    )
    positions = _grid_positions(grid, *lattice)
    bent = patient.anatomy(*positions)
    return np.stack([b - p for b, p in zip(bent, positions, strict=True)]), lattice


def _anatomy(
    grid: Geometry, bends: tuple[Field, tuple[npt.NDArray[np.float64], ...]], planes: slice
) -> tuple[Field, Field, Field]:
    """The anatomical x, y and z of the voxels of some z planes."""
    coarse, lattice = bends
    size_z, size_y, size_x = (np.arange(size, dtype=np.float64) for size in grid.shape_zyx)
    indices = (size_z[planes], size_y, size_x)
    positions = _grid_positions(grid, *indices)
    for axis, (index, marks) in enumerate(zip(indices, lattice, strict=True), start=1):
        coarse = _interpolated(coarse, axis, index, marks)
    x, y, z = (position + bend for position, bend in zip(positions, coarse, strict=True))
    return x, y, z


def _interpolated(values: Field, axis: int, index: npt.NDArray[np.float64], marks: npt.NDArray[np.float64]) -> Field:
    step = (marks[-1] - marks[0]) / (len(marks) - 1) or 1.0
    place = (index - marks[0]) / step
    below = np.clip(place.astype(np.intp), 0, len(marks) - 2)
    shape = [1] * values.ndim
    shape[axis] = -1
    t = (place - below).astype(np.float32).reshape(shape)
    low, high = values.take(below, axis), values.take(below + 1, axis)
    mixed: Field = low + t * (high - low)
    return mixed


def _add_noise(ct: Field, rng: np.random.Generator, noise_hu: float) -> None:
    """Noise with the grain of a soft reconstruction: neighbours in the plane share a part of it."""
    for plane in ct:
        white = rng.standard_normal(plane.shape, dtype=np.float32)
        grain = white + 0.6 * (np.roll(white, 1, 0) + np.roll(white, 1, 1)) + 0.4 * np.roll(white, (1, 1), (0, 1))
        # the root of the summed squares of the four weights
        plane += grain * np.float32(noise_hu / math.sqrt(1 + 2 * 0.6**2 + 0.4**2))
