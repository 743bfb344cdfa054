"""What is in a scan and its label map, measured once: checks, fingerprint and selection all work from these numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import cc3d
import msgspec
import numpy as np
import numpy.typing as npt
from attention_dmfnet.geometry import Geometry, Index, Triple, Volume
from attention_dmfnet.steps.resample import resample_linear

from training.arrays import UNKNOWN

HU_EDGES = np.arange(-1000, 1501, 5)
"""Edges of the bins of ``OrganFacts.histogram``; what is beyond them is counted in the outermost bins."""

PERCENTILES = (0.5, 50.0, 99.5)

_THUMB_SIDE = 12
_THUMB_WINDOW_HU = (-200.0, 300.0)
_MM3_PER_ML = 1000.0


class ImageFacts(msgspec.Struct, frozen=True):
    """Of a scan in canonical axes. ``content`` is a hash of its voxels, which a new header or axis order keeps.

    ``thumb`` is the whole scan in 12x12x12 voxels, one byte each: two that hardly differ show the same body.
    """

    shape_zyx: Index
    spacing_zyx: Triple
    min_hu: float
    max_hu: float
    empty_voxels: int
    content: str
    thumb: bytes


class OrganFacts(msgspec.Struct, frozen=True):
    """Of one organ in one scan. ``centre_lps`` in mm; ``cut`` says whether it reaches the first or last slice.

    ``hu`` are the ``PERCENTILES`` of its voxels, ``histogram`` the number of voxels in each bin of ``HU_EDGES``.
    """

    volume_ml: float
    centre_lps: Triple
    cut: bool
    hu: tuple[float, float, float]
    histogram: tuple[int, ...]


class LabelFacts(msgspec.Struct, frozen=True):
    """Of a label map: its organs by FLARE22's label, and the size of the box around all of them in mm."""

    content: str
    organs: dict[int, OrganFacts]
    box_mm_zyx: Triple


class CaseFacts(msgspec.Struct, frozen=True):
    """Of a case; ``labels`` is None for an unlabelled one. ``geometry`` is a hash of the scan's grid.

    ``header_notes`` are the engine's, on headers that contradict themselves, with the file's name.
    """

    image: ImageFacts
    labels: LabelFacts | None
    geometry: str
    header_notes: tuple[str, ...] = ()


def measure_image(scan: Volume, empty_voxels: int) -> ImageFacts:
    """Of a canonical ``scan``, in which so many voxels had no value."""
    array = scan.array
    return ImageFacts(
        array.shape,
        scan.geometry.spacing_zyx,
        float(array.min()),
        float(array.max()),
        empty_voxels,
        hash_array(array),
        thumb(scan),
    )


def measure_labels(labels: Volume, scan: Volume) -> LabelFacts:
    """Of FLARE22's ``labels`` (uint8) of ``scan``, both canonical and on one grid."""
    statistics = cc3d.statistics(labels.array)
    organs: dict[int, OrganFacts] = {}
    first, last = np.array(labels.array.shape), np.zeros(3, int)
    for label in range(1, len(statistics["voxel_counts"])):
        voxels = int(statistics["voxel_counts"][label])
        if voxels == 0 or label == UNKNOWN:
            continue
        box = statistics["bounding_boxes"][label]
        first = np.minimum(first, [part.start for part in box])
        last = np.maximum(last, [part.stop for part in box])
        hu = scan.array[box][labels.array[box] == label]
        bins = np.clip(np.searchsorted(HU_EDGES, hu, side="right") - 1, 0, len(HU_EDGES) - 2)
        low, middle, high = (float(value) for value in np.percentile(hu, PERCENTILES))
        z, y, x = (float(index) for index in statistics["centroids"][label])
        organs[label] = OrganFacts(
            voxels * labels.geometry.voxel_volume_mm3 / _MM3_PER_ML,
            labels.geometry.point_lps((z, y, x)),
            box[0].start == 0 or box[0].stop == labels.array.shape[0],
            (low, middle, high),
            tuple(np.bincount(bins, minlength=len(HU_EDGES) - 1).tolist()),
        )
    z_mm, y_mm, x_mm = (max(0.0, float(mm)) for mm in (last - first) * np.array(labels.geometry.spacing_zyx))
    return LabelFacts(hash_array(labels.array), organs, (z_mm, y_mm, x_mm))


def renumber(labels: npt.NDArray[Any], label_of_value: Mapping[int, int], kept: frozenset[int]) -> npt.NDArray[Any]:
    """``labels`` (whole numbers) in FLARE22's numbers as uint8; labels that are not ``kept`` become 0.

    ``UNKNOWN`` is always kept.
    Every value but 0 must be in ``label_of_value``.
    """
    table = np.zeros(max(label_of_value, default=0) + 1, np.uint8)
    for value, label in label_of_value.items():
        table[value] = label if label in kept or label == UNKNOWN else 0
    # slice by slice: a map of 64-bit numbers must not be held twice
    renumbered = np.empty(labels.shape, np.uint8)
    for source, target in zip(labels, renumbered, strict=True):
        target[:] = table[source]
    return renumbered


def hash_array(array: npt.NDArray[Any]) -> str:
    """A hash of an array's values and shape, slice by slice, so that no copy of a flipped scan is made."""
    digest = hashlib.sha256(repr((array.shape, array.dtype.name)).encode())
    for plane in array:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def hash_geometry(geometry: Geometry) -> str:
    """A hash of a grid, to a thousandth of a mm."""
    numbers = (geometry.spacing_zyx, geometry.origin_lps, *geometry.axes_lps)
    rounded = [[round(number, 3) + 0.0 for number in numbers_] for numbers_ in numbers]
    return hashlib.sha256(repr((geometry.shape_zyx, rounded)).encode()).hexdigest()


def thumb(scan: Volume) -> bytes:
    """The whole of a canonical ``scan`` in 12x12x12 voxels, HU -200 to 300 as 0 to 255."""
    z, y, x = (mm / _THUMB_SIDE for mm in scan.geometry.extent_mm_zyx)
    grid = scan.geometry.with_grid((_THUMB_SIDE,) * 3, (z, y, x))
    low, high = _THUMB_WINDOW_HU
    small = resample_linear(scan, grid, _THUMB_WINDOW_HU).array
    return np.rint((small - low) / (high - low) * 255).astype(np.uint8).tobytes()
